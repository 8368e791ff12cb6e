"""Rename weights to and from Hugging Face's names: RoBERTa's (no token types, no NSP, pad 1) or BERT's (all other models).

Most tensors only change their name. The others:
- query, key and value are one matrix here and three at Hugging Face;
- RoBERTa's position table has two unused rows before the first position, as here; BERT's has none, so it is ours[2:];
- Hugging Face's models always have token types. A model without gets one row of zeros, which is left out when it is read;
  rows that are not zeros stay token types, so nothing is rounded;
- the output matrix is the embedding matrix: it is written once, and a folder with another output matrix is refused.
A tensor of the encoder that is missing or has no use is an error with its name. Other heads than those for pretraining are left
over, and where only the encoder is wanted, so are these.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from roberta_lab.config import ConfigError, ModelConfig
from roberta_lab.model.encoder import PAD_ID, POSITION_OFFSET, PretrainingModel

TYPES = {"roberta": "roberta", "bert": "bert", "xlm-roberta": "roberta", "camembert": "roberta"}  # model_type -> kind
_ENCODER = {
    "encoder.embeddings.tokens": "{kind}.embeddings.word_embeddings",
    "encoder.embeddings.norm": "{kind}.embeddings.LayerNorm",
}
_LAYER = {  # under encoder.layers.N here, KIND.encoder.layer.N at Hugging Face
    "attention_out": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "ffn_in": "intermediate.dense",
    "ffn_out": "output.dense",
    "ffn_norm": "output.LayerNorm",
}
_HEADS = {
    "roberta": {"mlm_dense": "lm_head.dense", "mlm_norm": "lm_head.layer_norm"},
    "bert": {"mlm_dense": "cls.predictions.transform.dense", "mlm_norm": "cls.predictions.transform.LayerNorm"},
}
_NSP = {"nsp_pooler": "bert.pooler.dense", "nsp_classifier": "cls.seq_relationship"}
_HEAD = {"roberta": "lm_head", "bert": "cls.predictions"}  # has the bias, and `decoder`: second names of tied tensors
_PARTS = ("embeddings", "encoder", "pooler")  # of a model without a head, whose tensors lack the first part of the name
POSITIONS, TOKEN_TYPES = "encoder.embeddings.positions.weight", "encoder.embeddings.token_types.weight"


def kind_of(state: Mapping[str, Tensor], pad_id: int) -> str:
    """Return the architecture that can hold this model, `roberta` or `bert`.

    RoBERTa's has no NSP head and no token types, and counts positions from pad + 1, which is 2 only if pad is 1.
    """
    plain = TOKEN_TYPES not in state and "nsp_classifier.weight" not in state
    return "roberta" if plain and pad_id == PAD_ID else "bert"


def table_name(table: str, kind: str) -> str:
    """Return Hugging Face's name of an embedding table: word, position or token_type."""
    return f"{kind}.embeddings.{table}_embeddings.weight"


def _names(layers: int, kind: str, mlm: bool, nsp: bool) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each parameter that is only renamed, and its names at Hugging Face: three for queries, keys and values."""
    modules: dict[str, tuple[str, ...]] = {ours: (theirs.format(kind=kind),) for ours, theirs in _ENCODER.items()}
    for i in range(layers):
        own, layer = f"encoder.layers.{i}", f"{kind}.encoder.layer.{i}"
        modules[f"{own}.qkv"] = tuple(f"{layer}.attention.self.{part}" for part in ("query", "key", "value"))
        modules.update({f"{own}.{ours}": (f"{layer}.{theirs}",) for ours, theirs in _LAYER.items()})
    heads = (_HEADS[kind] if mlm else {}) | (_NSP if nsp else {})
    modules.update({ours: (theirs,) for ours, theirs in heads.items()})
    for module, names in modules.items():
        for part in ("weight", "bias") if module != "encoder.embeddings.tokens" else ("weight",):
            yield f"{module}.{part}", tuple(f"{name}.{part}" for name in names)
    if mlm:
        yield "mlm_bias", (f"{_HEAD[kind]}.bias",)


def state_to_huggingface(state: Mapping[str, Tensor], config: ModelConfig, kind: str) -> dict[str, Tensor]:
    """Return the tensors of a state of PretrainingModel, with its heads or without, under Hugging Face's names.

    Each has memory of its own. For BERT the two rows before the first position, which nothing reads, are left out.
    """
    names = dict(_names(config.layers, kind, "mlm_bias" in state, "nsp_classifier.weight" in state))
    assert set(state) - {TOKEN_TYPES} == {*names, POSITIONS}, "every parameter goes somewhere"
    found: dict[str, Tensor] = {}
    for ours, theirs in names.items():
        found |= zip(theirs, state[ours].chunk(len(theirs)), strict=True)
    positions = state[POSITIONS]
    found[table_name("position", kind)] = positions if kind == "roberta" else positions[POSITION_OFFSET:]
    found[table_name("token_type", kind)] = state.get(TOKEN_TYPES, torch.zeros_like(positions[:1]))
    return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in found.items()}


def state_from_huggingface(
    tensors: Mapping[str, Tensor], config: ModelConfig, kind: str, heads: bool = True
) -> dict[str, Tensor]:
    """Return the state of PretrainingModel of Hugging Face's tensors: the exact inverse of `state_to_huggingface`.

    Without `heads`, it is the encoder's part alone, which is in a model with any head or none. Before BERT's positions come
    rows of zeros, as at initialization.

    Raises: ConfigError with the names of tensors that are missing, have no use, or contradict each other.
    """
    left = _without_second_names(tensors, kind, heads)
    nsp = heads and _has_nsp(left)
    positions, types = table_name("position", kind), table_name("token_type", kind)
    names = dict(_names(config.layers, kind, heads, nsp))
    wanted = {positions, types, *(name for theirs in names.values() for name in theirs)}
    unused = {name for name in left if name.startswith(_read_parts(kind, heads, nsp))} - wanted
    what = f"a {kind} model {'for pretraining' if heads else 'of these sizes'}"
    for verb, odd in (("lacks", wanted - set(left)), ("has, with no use for them,", unused)):
        if odd:
            raise ConfigError(f"{what} {verb} {join_names(odd)}.")
    _check_shapes({name: left[name] for name in wanted}, config, kind, nsp)
    state = {ours: torch.cat([left[name] for name in theirs]) for ours, theirs in names.items()}
    if kind == "bert":
        front = left[positions].new_zeros(POSITION_OFFSET, left[positions].shape[1])
        left[positions] = torch.cat([front, left[positions]])
    state[POSITIONS] = left[positions].clone()
    if len(left[types]) > 1 or left[types].any():
        state[TOKEN_TYPES] = left[types].clone()
    return state


def left_over(tensors: Mapping[str, Tensor], kind: str, heads: bool = True) -> set[str]:
    """Return the names of the tensors that are not read: other heads and, without `heads`, also those for pretraining."""
    names = _full_names(tensors, kind)
    parts = _read_parts(kind, heads, _has_nsp(names))
    return {name for name, full in zip(tensors, names, strict=True) if not full.startswith(parts)}


def has_mlm_head(tensors: Mapping[str, Tensor], kind: str) -> bool:
    """Return whether tensors with Hugging Face's names have the head that fills masks."""
    return f"{_HEAD[kind]}.bias" in tensors


def _read_parts(kind: str, heads: bool, nsp: bool) -> tuple[str, ...]:
    """Return how the names of tensors begin that have a use here."""
    modules = (
        f"{kind}.embeddings",
        f"{kind}.encoder",
        *((_HEAD[kind], *(_NSP.values() if nsp else ())) if heads else ()),
    )
    return tuple(f"{module}." for module in modules)


def _has_nsp(names: Mapping[str, object]) -> bool:
    return any(name.startswith(f"{_NSP['nsp_classifier']}.") for name in names)


def _full_names(tensors: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    """Return the tensors under the names that they have in a model with a head."""
    if any(name.startswith(f"{kind}.") for name in tensors):
        return dict(tensors)
    return {f"{kind}.{name}" if name.partition(".")[0] in _PARTS else name: tensor for name, tensor in tensors.items()}


def _without_second_names(tensors: Mapping[str, Tensor], kind: str, heads: bool) -> dict[str, Tensor]:
    """Return the tensors under today's names, with `heads` tied ones once."""
    left = _full_names(tensors, kind)
    for old, new in {"gamma": "weight", "beta": "bias"}.items():  # BERT's names, until 2019
        left = {name.replace(f"LayerNorm.{old}", f"LayerNorm.{new}"): tensor for name, tensor in left.items()}
    for part, name in (("weight", table_name("word", kind)), ("bias", f"{_HEAD[kind]}.bias")):
        second = f"{_HEAD[kind]}.decoder.{part}"
        copy = left.pop(second, None) if heads else None
        if copy is not None and not torch.equal(left.setdefault(name, copy), copy):
            raise ConfigError(f"{second} is not {name}: models here have tied embeddings.")
    return left


def _check_shapes(tensors: dict[str, Tensor], config: ModelConfig, kind: str, nsp: bool) -> None:
    """Raise ConfigError when a shape is not that of a model of these sizes, built on the meta device without memory.

    The lengths of the three embedding tables are taken as they are.
    """
    words, positions, types = (
        tensors[table_name(name, kind)].shape[:1].numel() for name in ("word", "position", "token_type")
    )
    offset = POSITION_OFFSET if kind == "roberta" else 0
    with torch.device("meta"):
        model = PretrainingModel(config, words, max(0, positions - offset), types, nsp, pad_id=0)
    for name, expected in state_to_huggingface(model.state_dict(), config, kind).items():
        if name in tensors and (shape := tuple(tensors[name].shape)) != tuple(expected.shape):
            raise ConfigError(f"{name} is of shape {shape}; config.json makes it {tuple(expected.shape)}.")


def join_names(names: set[str]) -> str:
    """Return the first four names and the number of the others, for a message in one line."""
    first = sorted(names)[:4]
    return ", ".join(first) + (f" and {len(names) - len(first)} more" if len(names) > len(first) else "")
