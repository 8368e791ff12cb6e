"""Predictions of a pretrained model for texts: likely tokens for each mask, or one vector per text (RoBERTa, Section 2).

All is computed in float32 without dropout, in batches of texts of similar length; padding changes the last bits only.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from roberta_lab.axes.tokenizer import MASK, Encoding
from roberta_lab.config import ConfigError
from roberta_lab.config.formatting import visible
from roberta_lab.model.encoder import PretrainingModel

BATCH_TOKENS = 4096  # of a batch, with padding
LOGIT_ROWS = 256  # masks whose logits over the vocabulary are held at once


class Candidate(NamedTuple):
    """A token for the place of a mask."""

    token: str  # as in running text, with the space before it
    id: int
    probability: float  # softmax over the whole vocabulary


class Embeddings(NamedTuple):
    """One vector per text, and which texts were cut to the model's length."""

    vectors: np.ndarray  # float32 (N, H)
    cut: np.ndarray  # bool (N,)


class Predictor:
    """A pretrained model with its tokenizer, in evaluation mode on a device.

    Raises: ConfigError if the tokenizer has ids for which the model has no rows.
    """

    def __init__(self, model: PretrainingModel, encoding: Encoding, max_length: int, device: str = "cpu") -> None:
        rows, self.hidden = model.encoder.embeddings.tokens.weight.shape
        if encoding.vocab_size > rows:
            sizes = f"the tokenizer has {encoding.vocab_size} ids and the model {rows}"
            raise ConfigError(f"{sizes}: they do not belong together.")
        self.model, self.encoding, self.max_length, self.device = model.eval().to(device), encoding, max_length, device
        self._mask = re.compile("|".join(map(re.escape, {MASK, encoding.spelled(encoding.mask_id)})))

    @torch.inference_mode()
    def fill_mask(self, texts: list[str], top_k: int, first: int = 1) -> list[list[list[Candidate]]]:
        """Return for each text, for each mask in it, the `top_k` likeliest tokens, the likeliest first.

        A mask is `<mask>` or the tokenizer's own name of it; any other special token in a text is plain characters. An empty
        text has no masks.

        Raises: ConfigError, with the text's number counted from `first`, if it has no mask or is too long for the model.
        """
        rows = [self._encode_masked(text, number) for number, text in enumerate(texts, first)]
        found: list[list[list[Candidate]]] = [[] for _ in texts]
        for numbers, ids, real in self._batches(rows):
            hidden = self.model.encoder(ids, real)
            where, position = (ids == self.encoding.mask_id).nonzero(as_tuple=True)  # text by text, from left to right
            for owners, places in zip(where.split(LOGIT_ROWS), position.split(LOGIT_ROWS), strict=True):
                best = self._top(hidden[owners, places], top_k)
                for owner, candidates in zip(owners.tolist(), best, strict=True):
                    found[numbers[owner]].append(candidates)
        return found

    def fits(self, text: str) -> bool:
        """Return whether a text with masks is short enough for the model."""
        try:
            return bool(self._encode_masked(text, 1))
        except ConfigError:
            return False

    def _top(self, hidden: Tensor, top_k: int) -> list[list[Candidate]]:
        """Return for each of M masks the likeliest tokens, from hidden states (M, H)."""
        shares = self.model.mlm_logits(hidden).float().softmax(1)  # (M, V)
        best = shares.topk(min(top_k, shares.shape[1]))
        return [
            [Candidate(self._spelled(token), token, share) for token, share in zip(tokens, likely, strict=True)]
            for tokens, likely in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]

    def _spelled(self, token: int) -> str:
        """Return a token's text; empty for a row of the model that its tokenizer does not use."""
        return self.encoding.spelled(token) if self.encoding.decode([token]) else ""

    def _encode_masked(self, text: str, number: int) -> list[int]:
        """Return the input ids of a text with masks, none for an empty text. As in training, a mask holds the space before it."""
        if not text.strip():
            return []
        *before, last = self._mask.split(text)
        if not before:
            raise ConfigError(f"text {number} has no {MASK}: {printable(text, 60)}")
        first, *rest = self.encoding.encode_batch([*(part.rstrip() for part in before), last])
        ids = [*first, *(token for part in rest for token in (self.encoding.mask_id, *part))]
        if (length := len(ids) + 2) > self.max_length:
            raise ConfigError(f"text {number} has {length} tokens; the model reads {self.max_length} at most.")
        return [self.encoding.bos_id, *ids, self.encoding.eos_id]

    @torch.inference_mode()
    def embed(self, texts: list[str], pooling: str) -> Embeddings:
        """Return a vector per text, from the hidden states of the last layer.

        Special tokens in a text are plain characters, `<mask>` too; what is beyond the model's length is cut off. `pooling`
        is `bos`, the state of `<s>`, or `mean`, over all tokens with `<s>` and `</s>`.
        """
        room = self.max_length - 2
        encoded = self.encoding.encode_batch(texts)
        rows = [[self.encoding.bos_id, *ids[:room], self.encoding.eos_id] for ids in encoded]
        vectors = np.zeros((len(texts), self.hidden), np.float32)
        for numbers, ids, real in self._batches(rows):
            hidden = self.model.encoder(ids, real)  # (B, T, H)
            if pooling == "bos":
                pooled = hidden[:, 0]
            elif real is None:
                pooled = hidden.mean(1)
            else:
                pooled = (hidden * real[..., None]).sum(1) / real.sum(1, keepdim=True)
            vectors[numbers] = pooled.float().cpu().numpy()
        return Embeddings(vectors, np.array([len(ids) > room for ids in encoded], bool))

    def _batches(self, rows: list[list[int]]) -> Iterator[tuple[list[int], Tensor, Tensor | None]]:
        """Yield batches of the rows that are not empty, the longest first.

        A batch is the rows' numbers, ids int64 (B, T), and real tokens bool (B, T) or None if there is no padding.
        """
        order = sorted((n for n, row in enumerate(rows) if row), key=lambda n: -len(rows[n]))
        while order:
            longest = len(rows[order[0]])
            number = max(1, BATCH_TOKENS // longest)
            numbers, order = order[:number], order[number:]
            lengths = torch.tensor([len(rows[n]) for n in numbers])
            padded = [[*rows[n], *[self.encoding.pad_id] * (longest - len(rows[n]))] for n in numbers]
            real = (torch.arange(longest) < lengths[:, None]).to(self.device)
            yield numbers, torch.tensor(padded).to(self.device), None if lengths[-1] == longest else real


def cosine_similarities(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the cosines between the vectors (N, H) and (M, H), float32 (N, M); 0 where one of the vectors is 0."""
    a, b = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(np.float32).tiny) for x in (a, b))
    cosines: np.ndarray = np.clip(a @ b.T, -1, 1)
    return cosines


def nearest(vectors: np.ndarray, rows_at_once: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    """Return for each of N > 1 vectors the most similar other one: its index, int64 (N,), and the cosine, float32 (N,)."""
    index, cosine = np.empty(len(vectors), np.int64), np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), rows_at_once):
        found = cosine_similarities(vectors[start : start + rows_at_once], vectors)
        own = np.arange(len(found))
        found[own, start + own] = -np.inf
        index[start : start + len(found)] = found.argmax(1)
        cosine[start : start + len(found)] = found.max(1)
    return index, cosine


def printable(text: str, width: int | None = None) -> str:
    """Return a text in one line, of at most `width` characters if given, with control characters spelled out."""
    line = "".join(c if c.isprintable() else " " for c in visible(text))
    return line if width is None or len(line) <= width else line[: width - 1] + "…"
