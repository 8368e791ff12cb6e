"""A model that fills masks, with its tokenizer: a pretraining run's, that of a Hugging Face folder, or one with random weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from roberta_lab.axes import tokenizer
from roberta_lab.axes.tokenizer import Encoding
from roberta_lab.config import Config, ConfigError
from roberta_lab.config.paths import user_path
from roberta_lab.data import tokenizer_files
from roberta_lab.model import checkpoint
from roberta_lab.model.encoder import PretrainingModel
from roberta_lab.model.huggingface import model_folder
from roberta_lab.model.huggingface.model_folder import Pretrained
from roberta_lab.training.module import PretrainingModule


@dataclass(frozen=True)
class MaskedModel:
    """A pretrained model with its MLM head, in evaluation mode, and its tokenizer."""

    model: PretrainingModel
    encoding: Encoding
    max_length: int  # tokens of the longest input, `<s>` and `</s>` included
    note: str = ""  # what of a folder is not used

    @property
    def device(self) -> torch.device:
        """Return where the weights lie."""
        return self.model.mlm_bias.device

    @classmethod
    def from_run(cls, config: Config, run: Path, prepared: Path) -> Self:
        """Return the final model of a complete pretraining run; `prepared` is the folder of its tokenizer."""
        encoding = tokenizer.load(prepared)
        saved = checkpoint.final(run, config.batch_size.steps)
        found = Pretrained.from_checkpoint(config.model, saved, encoding.pad_id)
        return cls(found.model().eval(), encoding, found.max_length)

    @classmethod
    def from_folder(cls, path: str) -> Self:
        """Return the model of a Hugging Face folder of RoBERTa or BERT type. Raises ConfigError."""
        folder = user_path(path)
        found = model_folder.read(folder)
        try:
            encoding = Encoding(tokenizer_files.load_of_model(folder))
            if encoding.vocab_size > found.vocab_size:
                ids = f"the tokenizer has ids up to {encoding.vocab_size - 1:,}"
                raise ConfigError(f"{ids}, but the embedding has {found.vocab_size:,} rows: they are not of one model.")
        except ConfigError as error:
            raise ConfigError(f"pretrained.path={path}: {error}") from None
        return cls(found.model().eval(), encoding, found.max_length, found.note)

    @classmethod
    def random(cls, config: Config, prepared: Path) -> Self:
        """Return the weights that pretraining with these settings and this seed starts from."""
        encoding = tokenizer.load(prepared)
        model = PretrainingModule(config, encoding.vocab_size, encoding.pad_id).model.eval()
        return cls(model, encoding, config.input_format.max_length)
