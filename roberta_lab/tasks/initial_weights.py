"""What finetuning starts from: weights, their sizes, and the tokenizer and pair format that belong to them.

A pretraining run, a Hugging Face folder, or nothing. Weights are read once a process when seeds run in a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from torch import Tensor

from roberta_lab.axes.input_format import format_of
from roberta_lab.axes.tokenizer import Encoding
from roberta_lab.config import Config, ConfigError, ModelConfig
from roberta_lab.data import tokenizer_files
from roberta_lab.model import checkpoint
from roberta_lab.model.encoder import Encoder
from roberta_lab.model.huggingface import model_folder
from roberta_lab.model.huggingface.names import join_names


@dataclass(frozen=True)
class Start:
    """An encoder to be, and how it reads."""

    model: ModelConfig
    weights: dict[str, Tensor] | None  # of `Encoder`; None: random ones
    tokenizer: Tokenizer
    vocab_size: int  # rows of the embedding: as many as the tokenizer has ids, or more
    max_length: int  # tokens of the longest input
    token_types: int  # rows of the token-type table; 0 without one

    def __post_init__(self) -> None:
        if self.encoding.vocab_size > self.vocab_size:
            ids = f"the tokenizer has ids up to {self.encoding.vocab_size - 1:,}"
            raise ConfigError(f"{ids}, but the embedding has {self.vocab_size:,} rows: they are not of one model.")

    @cached_property
    def encoding(self) -> Encoding:
        """The tokenizer as the project sees it."""
        return Encoding(self.tokenizer)

    @property
    def paired(self) -> bool:
        """Whether pairs are joined as in BERT: one separator, and token types."""
        return self.token_types > 1

    def encoder(self, dropout: float) -> Encoder:
        """A new encoder with these weights, or random ones. Raises ConfigError if they do not all load where they should."""
        model = ModelConfig(**{**vars(self.model), "dropout": dropout, "attention_dropout": dropout})
        pad_id = self.encoding.pad_id
        encoder = Encoder(model, self.vocab_size, self.max_length, self.token_types, pad_id)
        if self.weights is not None:
            load(encoder, self.weights)
        return encoder


def load(encoder: Encoder, weights: dict[str, Tensor]) -> None:
    """Raises ConfigError, in one line, for weights that are missing, that have no place, or that are of another shape."""
    own = {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    wrong = {name for name in own.keys() | given.keys() if own.get(name) != given.get(name)}
    if wrong:
        raise ConfigError(f"the pretrained weights do not fit the model: {join_names(wrong)}.")
    encoder.load_state_dict(weights, strict=True)


def of_run(config: Config, run: Path, tokenizer: Path) -> Start:
    """The final weights of a complete pretraining run.

    Args:
        tokenizer: the prepared folder with its `tokenizer.json`.
    """
    weights = _run_weights(run, config.batch_size.steps, _state_of(run / "checkpoints"))
    return _of_config(config, weights, tokenizer)


def of_nothing(config: Config, tokenizer: Path) -> Start:
    """Random weights of the model that the config describes: what finetuning alone can do."""
    return _of_config(config, None, tokenizer)


def _of_config(config: Config, weights: dict[str, Tensor] | None, tokenizer: Path) -> Start:
    spec = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    token_types = 2 if format_of(config.input_format).pairs else 0
    vocab_size = Encoding(spec).vocab_size if weights is None else len(weights["embeddings.tokens.weight"])
    return Start(config.model, weights, spec, vocab_size, config.input_format.max_length, token_types)


def of_folder(path: str) -> Start:
    """A Hugging Face folder of RoBERTa or BERT type, with its own tokenizer and sizes."""
    folder = Path(path).expanduser()
    found = _folder(folder, _state_of(folder))
    try:
        tokenizer = tokenizer_files.load_of_model(folder)
        weights = encoder_weights(found.state, "encoder.")
        start = Start(found.config, weights, tokenizer, found.vocab_size, found.max_length, found.token_types)
        if start.encoding.pad_id != found.pad_id:
            raise ConfigError(f"the tokenizer pads with id {start.encoding.pad_id}, config.json with {found.pad_id}.")
    except ConfigError as error:
        raise ConfigError(f"pretrained.path={path}: {error}") from None
    return start


def _state_of(folder: Path) -> tuple[tuple[str, int], ...]:
    """The files of a folder and when they changed: what was read of others is not taken for what it holds."""
    return tuple(sorted((file.name, file.stat().st_mtime_ns) for file in folder.glob("[!.]*")))


@lru_cache(maxsize=1)
def _folder(folder: Path, state: tuple[tuple[str, int], ...]) -> model_folder.Pretrained:
    return model_folder.read(folder)


@lru_cache(maxsize=1)
def _run_weights(run: Path, steps: int, state: tuple[tuple[str, int], ...]) -> dict[str, Tensor]:
    return encoder_weights(checkpoint.final(run, steps)["state_dict"], "model.encoder.")


def encoder_weights(state: dict[str, Any], prefix: str) -> dict[str, Tensor]:
    """The encoder's part of a state, under the encoder's own names."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
