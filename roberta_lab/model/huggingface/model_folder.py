"""Read and write Hugging Face's model folders: config.json, model.safetensors, tokenizer.json.

A written folder loads with `AutoModelForMaskedLM` (with NSP: `AutoModelForPreTraining`) and `AutoTokenizer`. A folder that is
read is of type RoBERTa (XLM-R and CamemBERT are that too) or BERT, with any head or none, from this project, from
`save_pretrained`, or as published. `names` renames the tensors.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from roberta_lab.axes.tokenizer import Encoding
from roberta_lab.config import ConfigError, ModelConfig, ranges
from roberta_lab.config.paths import user_path
from roberta_lab.data import tokenizer_files
from roberta_lab.data.foreign import expect_regular, json_of
from roberta_lab.data.storage import replacing_folder
from roberta_lab.model.encoder import PAD_ID, POSITION_OFFSET, PretrainingModel
from roberta_lab.model.huggingface import names
from roberta_lab.model.huggingface.names import POSITIONS, TOKEN_TYPES, TYPES

_EXACT_IN_FLOAT32 = (torch.float32, torch.float16, torch.bfloat16)
_SIZES = {  # fields of ModelConfig and their names in config.json
    **{"layers": "num_hidden_layers", "hidden": "hidden_size"},
    **{"heads": "num_attention_heads", "ffn": "intermediate_size"},
}
FILES = (
    *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("README.md", "roberta_lab.json"),  # the last says that the folder is an export
)


class Pretrained(NamedTuple):
    """A pretrained model as a folder holds it."""

    config: ModelConfig
    state: dict[str, Tensor]  # of PretrainingModel, float32; of its encoder alone if that is what was read
    pad_id: int
    vocab_size: int
    kind: str
    left_over: tuple[str, ...] = ()  # tensors of the folder that were not read

    @classmethod
    def from_checkpoint(cls, config: ModelConfig, saved: Mapping[str, Any], pad_id: int = PAD_ID) -> Self:
        """Return the model of a pretraining checkpoint.

        `pad_id` is the tokenizer's. It changes no prediction: it only says which row of the embeddings has no gradient.
        """
        state = model_weights(saved)
        return cls(config, state, pad_id, len(state["encoder.embeddings.tokens.weight"]), "run")

    @property
    def max_length(self) -> int:
        """Return the most tokens that the model can read, special tokens included."""
        return len(self.state[POSITIONS]) - POSITION_OFFSET

    @property
    def token_types(self) -> int:
        """Return the number of token types; 0 without a table of them."""
        return len(self.state.get(TOKEN_TYPES, ()))

    def model(self) -> PretrainingModel:
        """Return the model with these weights; with an NSP head if they have one. An encoder alone gets a random MLM head."""
        nsp = "nsp_classifier.weight" in self.state
        model = PretrainingModel(self.config, self.vocab_size, self.max_length, self.token_types, nsp, self.pad_id)
        lacking = model.load_state_dict(self.state, strict="mlm_bias" in self.state).missing_keys
        assert all(name.startswith("mlm_") for name in lacking), "an encoder is whole"
        return model

    @property
    def note(self) -> str:
        """Return a line for the console about what was not read; empty when all was."""
        return f"not used: {names.join_names({*self.left_over})}" if self.left_over else ""


# ---------------------------------------------------------------- reading
def read(folder: Path, heads: bool = True) -> Pretrained:
    """Return the model of a folder of type RoBERTa or BERT; without `heads` its encoder alone, whatever head it has.

    Raises: ConfigError in one line, with the folder's name, when it is of another type or its parts do not fit together.
    """
    try:
        values = _read_config(folder)
        config, kind = _model_config(values), TYPES[values["model_type"]]
        pad_id = values.get("pad_token_id", {"roberta": PAD_ID, "bert": 0}[kind])
        if kind == "roberta" and pad_id != PAD_ID:
            raise ConfigError(f"pad_token_id={pad_id} would move RoBERTa's positions; allowed is {PAD_ID}.")
        tensors = _read_tensors(folder)
        state = names.state_from_huggingface(tensors, config, kind, heads)
        vocab_size = len(state["encoder.embeddings.tokens.weight"])
        if not isinstance(pad_id, int) or not 0 <= pad_id < vocab_size:
            raise ConfigError(f"pad_token_id={pad_id} is no id of a vocabulary of {vocab_size}.")
        tokenizer_files.find(str(folder))
    except ConfigError as error:
        raise ConfigError(f"{folder}: {error}") from None
    return Pretrained(config, state, pad_id, vocab_size, kind, tuple(sorted(names.left_over(tensors, kind, heads))))


def model_config(folder: Path) -> ModelConfig:
    """Return the sizes of a folder's model. Raises ConfigError."""
    return _model_config(_read_config(folder))


def _read_config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    if not (folder / name).is_file():
        _expect_nothing(folder / name)
        raise ConfigError(f"there is no {name}. Allowed: a folder with config.json and model.safetensors.")
    return json_of(folder / name)


def _expect_nothing(path: Path) -> None:
    """Raise ConfigError for a pipe, a device, a folder or a link that leads nowhere: something is there, but no file."""
    if os.path.lexists(path):
        expect_regular(path)


def _model_config(values: Mapping[str, Any]) -> ModelConfig:
    """Return the sizes of a config.json. Raises ConfigError for a model that computes something else."""
    if str(values.get("model_type")) not in TYPES:
        raise ConfigError(f"model_type={values.get('model_type')} is not read. Allowed: {', '.join(TYPES)}.")
    for key, value in {"hidden_act": "gelu", "position_embedding_type": "absolute", "is_decoder": False}.items():
        if values.get(key, value) != value:
            raise ConfigError(f"config.json has {key}={values[key]}; allowed is {value}.")
    for key in _SIZES.values():
        if not isinstance(values.get(key), int) or values[key] < 1:
            raise ConfigError(f"config.json has {key}={values.get(key)}; allowed is 1 or more.")
    if values["hidden_size"] % values["num_attention_heads"]:
        raise ConfigError("config.json has a hidden_size that does not divide by num_attention_heads.")
    found = ModelConfig(
        **{ours: values[key] for ours, key in _SIZES.items()},
        dropout=values.get("hidden_dropout_prob", 0.1),
        attention_dropout=values.get("attention_probs_dropout_prob", 0.1),
        layer_norm_eps=values.get("layer_norm_eps", 1e-12),  # Hugging Face's default
        init_std=values.get("initializer_range", 0.02),
    )
    ranges.check(found, "config.json")
    return found


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    """Return all tensors of the safetensors file, or of several files that an index lists, as float32."""
    index = "model.safetensors.index.json"
    files = ["model.safetensors"]
    if not (folder / files[0]).is_file() and (folder / index).is_file():
        listed = _read_config(folder, index).get("weight_map", {})
        if not isinstance(listed, dict) or not all(isinstance(name, str) for name in listed.values()):
            raise ConfigError(f"{index}: weight_map is no object of names of files.")
        files = sorted({Path(name).name for name in listed.values()})
    tensors: dict[str, Tensor] = {}
    for name in files:
        if not (folder / name).is_file():
            pickled = " A pickle, pytorch_model.bin, could run code and is not read." if _has_pickle(folder) else ""
            raise ConfigError(f"there is no {name}; transformers' save_pretrained writes it.{pickled}")
        expect_regular(folder / name)
        try:
            tensors |= load_file(folder / name)
        except (SafetensorError, OSError, ValueError, OverflowError, TypeError, KeyError) as error:
            raise ConfigError(f"{name} cannot be read: {error}.") from None
    weights = {name: tensor for name, tensor in tensors.items() if not name.endswith("position_ids")}
    if odd := {name for name, tensor in weights.items() if tensor.dtype not in _EXACT_IN_FLOAT32}:
        raise ConfigError(f"{names.join_names(odd)}: no float32, float16 or bfloat16.")
    if odd := {name for name, tensor in weights.items() if not tensor.isfinite().all()}:
        raise ConfigError(
            f"{names.join_names(odd)}: NaN or infinite values, so the model is of no use; copy or export it again."
        )
    return {name: tensor.float() for name, tensor in weights.items()}


def _has_pickle(folder: Path) -> bool:
    return any(folder.glob("*.bin")) or any(folder.glob("*.pt"))


# ---------------------------------------------------------------- writing
def model_weights(saved: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the state of PretrainingModel in a pretraining checkpoint, without the heads of other objectives."""
    state = {k.removeprefix("model."): v for k, v in saved["state_dict"].items() if k.startswith("model.")}
    return {name: tensor for name, tensor in state.items() if not name.startswith("heads.")}


def write(
    folder: Path,
    state: dict[str, Tensor],
    config: ModelConfig,
    tokenizer: Path,
    card: str,
    facts: Mapping[str, object],
    kind: str | None = None,
) -> str:
    """Write a folder that Auto classes of transformers load, whole or not at all, and return its kind.

    Args:
        state: of PretrainingModel, or of its encoder alone.
        tokenizer: a folder with `tokenizer.json`.
        card: README.md, what the model is and how it is loaded.
        facts: roberta_lab.json, the same for programs.
        kind: the architecture; None for the one that can hold the model.

    Raises: ConfigError when `folder` holds anything but an earlier export.
    """
    folder = user_path(folder)
    if folder.exists() and not _may_be_replaced(folder):
        raise ConfigError(f"export.path={folder} exists and is no export; choose a folder that is new or empty.")
    spec = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    encoding = Encoding(spec)
    kind = kind or names.kind_of(state, encoding.pad_id)
    tensors = names.state_to_huggingface(state, config, kind)
    with replacing_folder(folder) as beside:
        _write_json(beside / "config.json", _config_json(tensors, config, kind, encoding))
        save_file(tensors, beside / "model.safetensors", metadata={"format": "pt"})
        shutil.copymode(beside / "config.json", beside / "model.safetensors")  # save_file lets only the owner read it
        _write_tokenizer(beside, spec, encoding, len(state.get(TOKEN_TYPES, ())) > 1, len(state[POSITIONS]))
        (beside / "README.md").write_text(card, encoding="utf-8")
        _write_json(beside / "roberta_lab.json", facts)
    return kind


def _may_be_replaced(folder: Path) -> bool:
    """Return whether a folder is empty or an earlier export."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {""}
    return not names or (FILES[-1] in names and names <= set(FILES))


def _write_json(file: Path, value: Mapping[str, object]) -> None:
    file.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _write_tokenizer(folder: Path, spec: Tokenizer, encoding: Encoding, paired: bool, positions: int) -> None:
    """Write the tokenizer's three files, with the special tokens that this project's inputs have around them."""
    ids = (encoding.bos_id, encoding.pad_id, encoding.eos_id, encoding.unk_id, encoding.mask_id)
    bos, pad, eos, unk, mask = map(spec.id_to_token, ids)
    tokenizer_files.make_inputs(spec, encoding, paired)
    spec.save(str(folder / "tokenizer.json"))
    special = {"bos_token": bos, "eos_token": eos, "cls_token": bos, "sep_token": eos}
    special |= {"pad_token": pad, "unk_token": unk, "mask_token": mask}
    _write_json(folder / "special_tokens_map.json", special)
    rest = {
        "tokenizer_class": "PreTrainedTokenizerFast",  # tokenizer.json as it is, not rebuilt from its vocabulary
        "model_max_length": positions - POSITION_OFFSET,
        "model_input_names": ["input_ids", *(["token_type_ids"] if paired else []), "attention_mask"],
        "clean_up_tokenization_spaces": False,
    }
    _write_json(folder / "tokenizer_config.json", special | rest)


def _config_json(
    tensors: Mapping[str, Tensor], config: ModelConfig, kind: str, encoding: Encoding
) -> dict[str, object]:
    words, positions, types = (len(tensors[names.table_name(t, kind)]) for t in ("word", "position", "token_type"))
    head = "Model"
    if names.has_mlm_head(tensors, kind):
        head = "ForPreTraining" if "cls.seq_relationship.weight" in tensors else "ForMaskedLM"
    return {
        "architectures": [f"{kind.capitalize()}{head}"],
        "model_type": kind,
        "vocab_size": words,
        **{key: getattr(config, ours) for ours, key in _SIZES.items()},
        "hidden_act": "gelu",
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": config.attention_dropout,
        "max_position_embeddings": positions,
        "type_vocab_size": types,
        "initializer_range": config.init_std,
        "layer_norm_eps": config.layer_norm_eps,
        "bos_token_id": encoding.bos_id,
        "pad_token_id": encoding.pad_id,
        "eos_token_id": encoding.eos_id,
    }
