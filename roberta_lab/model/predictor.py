"""What a pretrained model says of texts: tokens for a mask with their probabilities, a vector per text (RoBERTa, Section 2).

Computed in float32 without dropout, in batches of texts of like length; padding changes nothing but the last bits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from roberta_lab.axes.tokenizer import MASK, Encoding
from roberta_lab.config import ConfigError
from roberta_lab.model.pretraining_model import PretrainingModel

BATCH_TOKENS = 4096  # of a batch, padding counted in
LOGIT_ROWS = 256  # masks whose logits over the vocabulary are held at once


class Candidate(NamedTuple):
    """A token in the place of a mask."""

    token: str  # as it stands in running text, with the space before it
    id: int
    probability: float  # softmax over the whole vocabulary


class Embeddings(NamedTuple):
    """A vector per text, and which of the texts were cut to the model's length."""

    vectors: np.ndarray  # float32 (N, H)
    cut: np.ndarray  # bool (N,)


class Predictor:
    """A pretrained model with its tokenizer. The model is put into evaluation mode, on `device`.

    Raises: ConfigError if the tokenizer has ids that the model has no rows for.
    """

    def __init__(self, model: PretrainingModel, encoding: Encoding, max_length: int, device: str = "cpu") -> None:
        rows, self.hidden = model.encoder.embeddings.tokens.weight.shape
        if encoding.vocab_size > rows:
            raise ConfigError(
                f"the tokenizer has {encoding.vocab_size} ids and the model {rows}: they do not belong together."
            )
        self.model, self.encoding, self.max_length, self.device = model.eval().to(device), encoding, max_length, device
        self._mask = re.compile("|".join(map(re.escape, {MASK, encoding.spelled(encoding.mask_id)})))

    @torch.inference_mode()
    def fill_mask(self, texts: list[str], top_k: int, first: int = 1) -> list[list[list[Candidate]]]:
        """For each text, for each mask in it, the `top_k` likeliest tokens, likeliest first. An empty text has no masks.

        A mask is `<mask>` or what the tokenizer calls it; any other special token in a text is plain characters.

        Args:
            first: the number of the first text, for messages.

        Raises: ConfigError, which says which text, if it has no mask or is too long for the model.
        """
        rows = [self._masked(text, number) for number, text in enumerate(texts, first)]
        found: list[list[list[Candidate]]] = [[] for _ in texts]
        for numbers, ids, real in self._batches(rows):
            hidden = self.model.encoder(ids, real)
            where, position = (ids == self.encoding.mask_id).nonzero(as_tuple=True)  # text by text, from left to right
            owners = where.tolist()
            for start in range(0, len(owners), LOGIT_ROWS):
                part = slice(start, start + LOGIT_ROWS)
                for owner, candidates in zip(
                    owners[part], self._top(hidden[where[part], position[part]], top_k), strict=True
                ):
                    found[numbers[owner]].append(candidates)
        return found

    def _top(self, hidden: Tensor, top_k: int) -> list[list[Candidate]]:
        """(M, H) -> M times the likeliest tokens."""
        shares = self.model.mlm_logits(hidden).float().softmax(1)  # (M, V)
        best = shares.topk(min(top_k, shares.shape[1]))
        return [
            [Candidate(self._spelled(token), token, share) for token, share in zip(tokens, likely, strict=True)]
            for tokens, likely in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]

    def _spelled(self, token: int) -> str:
        """Models may have rows for ids that their tokenizer does not use: these spell nothing."""
        return self.encoding.spelled(token) if self.encoding.decode([token]) else ""

    def _masked(self, text: str, number: int) -> list[int]:
        """The input of a text with masks; none of an empty text. As in training, a mask has the space before it inside."""
        if not text.strip():
            return []
        *before, last = self._mask.split(text)
        if not before:
            raise ConfigError(f"text {number} has no {MASK}: {shown(text, 60)}")
        parts = self.encoding.encode_batch([*(part.rstrip() for part in before), last])
        ids = parts[0]
        for part in parts[1:]:
            ids = [*ids, self.encoding.mask_id, *part]
        if (length := len(ids) + 2) > self.max_length:
            raise ConfigError(f"text {number} has {length} tokens; the model reads {self.max_length} at most.")
        return [self.encoding.bos_id, *ids, self.encoding.eos_id]

    @torch.inference_mode()
    def embed(self, texts: list[str], pooling: str) -> Embeddings:
        """The final hidden state of each text: of `<s>` (`bos`), or the mean over all its tokens, `<s>` and `</s>` among them
        (`mean`). Special tokens in a text are plain characters, `<mask>` too; what is beyond the model's length is cut off."""
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
        """Rows that are not empty, the longest first: their numbers, ids int64 (B, T), real tokens bool (B, T); None if all are."""
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
    """(N, H), (M, H) -> float32 (N, M): cosines of the angles between vectors; 0 where one of the vectors is 0."""
    a, b = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(np.float32).tiny) for x in (a, b))
    return np.clip(a @ b.T, -1, 1)


def nearest(vectors: np.ndarray, rows_at_once: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    """For each of N > 1 vectors the most similar other one: its index, int64 (N,), and the cosine, float32 (N,)."""
    index, cosine = np.empty(len(vectors), np.int64), np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), rows_at_once):
        found = cosine_similarities(vectors[start : start + rows_at_once], vectors)
        own = np.arange(len(found))
        found[own, start + own] = -np.inf
        index[start : start + len(found)] = found.argmax(1)
        cosine[start : start + len(found)] = found.max(1)
    return index, cosine


def shown(text: str, width: int | None = None) -> str:
    """A text in one line, of at most `width` characters if given, without what a terminal would obey."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return line if width is None or len(line) <= width else line[: width - 1] + "…"
