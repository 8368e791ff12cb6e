"""The model that finetuning starts from: a pretraining run's, that of a Hugging Face folder, or one with random weights.

Weights are read once a process when seeds run in a row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Self

from tokenizers import Tokenizer
from torch import Tensor

from roberta_lab.axes.input_format import format_of
from roberta_lab.axes.tokenizer import Encoding
from roberta_lab.config import Config, ConfigError, ModelConfig
from roberta_lab.config.paths import user_path
from roberta_lab.data import tokenizer_files
from roberta_lab.model import checkpoint
from roberta_lab.model.encoder import Encoder, initialize
from roberta_lab.model.huggingface import model_folder
from roberta_lab.model.huggingface.names import join_names


@dataclass(frozen=True)
class InitialModel:
    """The encoder that finetuning starts from: its sizes and weights, its tokenizer, and how it joins two texts."""

    model: ModelConfig
    weights: dict[str, Tensor] | None  # of `Encoder`; None: random ones
    tokenizer: Tokenizer
    vocab_size: int  # rows of the embedding: as many as the tokenizer has ids, or more
    max_length: int  # tokens of the longest input
    token_types: int  # rows of the token-type table; 0 without one
    kind: str | None = None  # the folder's architecture, roberta or bert; None: whichever can hold the model
    note: str = ""  # what of the folder is not used

    def __post_init__(self) -> None:
        if self.encoding.vocab_size > self.vocab_size:
            ids = f"the tokenizer has ids up to {self.encoding.vocab_size - 1:,}"
            raise ConfigError(f"{ids}, but the embedding has {self.vocab_size:,} rows: they are not of one model.")
        if odd := {name for name, tensor in (self.weights or {}).items() if not tensor.isfinite().all()}:
            raise ConfigError(f"the pretrained weights have NaN or infinite values: {join_names(odd)}.")

    @classmethod
    def from_run(cls, config: Config, run: Path | None, tokenizer: Path) -> Self:
        """Return the final model of a complete pretraining run; None: random weights, for what finetuning alone can do.

        `tokenizer` is the prepared folder.
        """
        weights = None if run is None else _run_weights(run, config.batch_size.steps, _file_times(run / "checkpoints"))
        spec = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
        token_types = 2 if format_of(config.input_format).pairs else 0
        vocab_size = Encoding(spec).vocab_size if weights is None else len(weights["embeddings.tokens.weight"])
        return cls(config.model, weights, spec, vocab_size, config.input_format.max_length, token_types)

    @classmethod
    def from_folder(cls, path: str) -> Self:
        """Return the encoder of a Hugging Face folder of RoBERTa or BERT type, with its own tokenizer and sizes."""
        folder = user_path(path)
        found = _folder(folder, _file_times(folder))
        try:
            tokenizer, weights = tokenizer_files.load_of_model(folder), encoder_weights(found.state, "encoder.")
            sizes = (found.vocab_size, found.max_length, found.token_types)
            model = cls(found.config, weights, tokenizer, *sizes, found.kind, found.note)
            if (pad_id := model.encoding.pad_id) != found.pad_id:
                raise ConfigError(f"the tokenizer pads with id {pad_id}, config.json with {found.pad_id}.")
        except ConfigError as error:
            raise ConfigError(f"pretrained.path={path}: {error}") from None
        return model

    @cached_property
    def encoding(self) -> Encoding:
        """Return the tokenizer with its special ids."""
        return Encoding(self.tokenizer)

    @property
    def paired(self) -> bool:
        """Return whether pairs are joined as in BERT: one separator, and token types."""
        return self.token_types > 1

    def encoder(self, dropout: float, key: int = 0) -> Encoder:
        """Return a new encoder with these weights, or random ones of the key. Raises ConfigError if they do not fit it."""
        model = ModelConfig(**{**vars(self.model), "dropout": dropout, "attention_dropout": dropout})
        pad_id = self.encoding.pad_id
        encoder = Encoder(model, self.vocab_size, self.max_length, self.token_types, pad_id)
        if self.weights is None:
            initialize(encoder, model.init_std, key)
        else:
            own, given = ({k: t.shape for k, t in state.items()} for state in (encoder.state_dict(), self.weights))
            if wrong := {name for name in own.keys() | given.keys() if own.get(name) != given.get(name)}:
                raise ConfigError(f"the pretrained weights do not fit the model: {join_names(wrong)}.")
            encoder.load_state_dict(self.weights, strict=True)
        return encoder


def _file_times(folder: Path) -> tuple[tuple[str, int], ...]:
    """Return the files of a folder and when they changed: what was read before a change is read again."""
    return tuple(sorted((file.name, file.stat().st_mtime_ns) for file in folder.glob("[!.]*")))


@lru_cache(maxsize=1)
def _folder(folder: Path, files: tuple[tuple[str, int], ...]) -> model_folder.Pretrained:
    return model_folder.read(folder, heads=False)


@lru_cache(maxsize=1)
def _run_weights(run: Path, steps: int, files: tuple[tuple[str, int], ...]) -> dict[str, Tensor]:
    return encoder_weights(checkpoint.final(run, steps)["state_dict"], "model.encoder.")


def encoder_weights(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the encoder's part of a state, under the encoder's own names."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
