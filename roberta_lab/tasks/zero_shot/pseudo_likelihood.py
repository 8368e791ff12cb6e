"""Pseudo-log-likelihoods of sentences under a masked language model (Salazar et al. 2020), batched and exact.

Each token is masked in turn, and the log-probability of the true token is taken; a sentence's score is the sum. `<s>` and `</s>`
are there, but not scored. A word of several tokens is easier than it should be, since its other tokens stay visible; `l2r`
(PLL-word-l2r, Kauf and Ivanova 2023) masks all later tokens of the same word too.

A batch is copies of sentences of one length, so there is no padding. Of the last layer and of the MLM head only the scored place
of each copy is computed. All is float32, whatever the precision of training.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from roberta_lab.axes import Ints
from roberta_lab.axes.tokenizer import Encoding
from roberta_lab.model.cross_entropy import log_likelihoods
from roberta_lab.tasks.zero_shot.masked_model import MaskedModel

BATCH_TOKENS = (1 << 11, 1 << 16)  # of a batch, on a CPU and on a GPU
WORD = {"original": False, "l2r": True}  # whether later tokens of the same word are masked too


class Sentences(NamedTuple):
    """S sentences in tokens, those of one sentence after those of another, N in all."""

    ids: Ints  # (N,) int64, without special tokens
    lengths: Ints  # (S,) int64
    words: Ints  # (N,) int64: tokens of a sentence with the same number are one word; those of `original` are words of their own


def encode(encoding: Encoding, texts: Sequence[str], within_word: str) -> Sentences:
    """Return the texts in tokens."""
    if not WORD[within_word]:
        ids, lengths = encoding.encode([*texts])
        return Sentences(ids.astype(np.int64), lengths, np.arange(len(ids)))
    found = encoding.encode_with_words([*texts])
    lengths = np.array([len(ids) for ids, _ in found], np.int64)
    ids, words = (np.array([i for one in found for i in one[part]], np.int64) for part in (0, 1))
    return Sentences(ids, lengths, words)


def pseudo_log_likelihoods(
    model: MaskedModel,
    sentences: Sentences,
    progress: Callable[[int, int], object] = lambda done, total: None,
    batch_tokens: int | None = None,
) -> np.ndarray:
    """Return the score of each sentence, float64 (S,), 0 for an empty one. Sentences of the same tokens are scored once.

    `progress` is told of scored tokens. Sentences must fit the model (`MaskedModel.max_length`).
    """
    size = batch_tokens or BATCH_TOKENS[model.device.type == "cuda"]
    ends = np.cumsum(sentences.lengths)
    numbers: dict[bytes, int] = {}
    same = [numbers.setdefault(run.tobytes(), len(numbers)) for run in np.split(sentences.ids, ends[:-1])]
    first = np.unique(np.array(same, np.int64), return_index=True)[1]  # the first sentence of each number
    starts, lengths = (ends - sentences.lengths)[first], sentences.lengths[first]
    total, found = int(lengths.sum()), np.zeros(len(first))
    for length in np.unique(lengths[lengths > 0])[::-1]:  # the longest first: what does not fit fails at once
        chosen = np.flatnonzero(lengths == length)
        places = starts[chosen, None] + np.arange(length)
        ids, words = (torch.from_numpy(part[places]).to(model.device) for part in (sentences.ids, sentences.words))
        found[chosen] = _of_one_length(model, ids, words, size, lambda done: progress(done, total))
    scores: np.ndarray = found[same]
    return scores


@torch.no_grad()
def _of_one_length(
    model: MaskedModel, ids: Tensor, words: Tensor, batch_tokens: int, progress: Callable[[int], object]
) -> np.ndarray:
    """Return the scores, float64 (S,), of sentences of n tokens, ids and words int64 (S, n)."""
    number, n = ids.shape
    encoding, columns = model.encoding, torch.arange(n, device=ids.device)
    bos, eos = ids.new_full((number, 1), encoding.bos_id), ids.new_full((number, 1), encoding.eos_id)
    rows, found = torch.cat([bos, ids, eos], 1), []
    with torch.autocast(ids.device.type, enabled=False):
        for copies in torch.arange(number * n, device=ids.device).split(max(1, batch_tokens // (n + 2))):
            sentence, place = copies // n, copies % n
            own = words[sentence]
            is_hidden = (own == own.gather(1, place[:, None])) & (columns >= place[:, None])
            inputs = rows[sentence]
            inputs[:, 1:-1].masked_fill_(is_hidden, encoding.mask_id)
            features = model.model.mlm_features(model.model.encoder.at(inputs, place + 1))
            found.append(log_likelihoods(features, *model.model.output_layer, ids[sentence, place]))
            progress(len(copies))
    scores: np.ndarray = torch.cat(found).double().view(number, n).sum(1).cpu().numpy()
    return scores
