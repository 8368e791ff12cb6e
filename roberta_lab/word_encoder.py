"""Text -> ids, word by word, each distinct word encoded once: several times faster than encoding every text anew.

Byte-level BPE and WordPiece both split a text before they look at their vocabulary, so its ids are those of its parts,
joined. Here it is cut twice. First into words, at every space that has no white space after it: what a tokenizer does inside
a word is its own affair, and no split of its own joins two of them. (One could only where white space meets white space;
a text with such a place is encoded whole.) A word that is new is cut again if it is printable ASCII, for which the
tokenizer's own rule is one line (`PIECES`): so `word,` and `word.` cost one encoding of `word`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import islice

import numpy as np
from tokenizers import Tokenizer

from roberta_lab.token_store import ranges

MAX_WORDS = 1 << 18  # that are remembered, some 80 MB with their pieces; then the later half is forgotten
PIECES: dict[str, Callable[[str], list[str]]] = {
    "ByteLevel": re.compile(r"'(?:s|t|re|ve|m|ll|d)| ?[A-Za-z]+| ?[0-9]+| ?[^A-Za-z0-9 ]+").findall,  # GPT-2's pattern
    "BertPreTokenizer": re.compile(r"[A-Za-z0-9]+|[^A-Za-z0-9 ]").findall,
}
_is_ascii = re.compile(r"[ -~]*").fullmatch
_WHOLE = -1  # the number of a word that the text before it could change


class _Words(dict[str, int]):
    """word -> its number, given when it is first asked for; `new` has the words that nobody has encoded yet."""

    def __init__(self, space: str, new: list[str], known: Callable[[], int]) -> None:
        super().__init__()
        self._space, self._new, self._known = space, new, known

    def __missing__(self, word: str) -> int:
        number = self._known() + len(self._new)
        self._new.append(self._space + word)
        self[word] = number
        return number


class _InnerWords(_Words):
    """Words behind a space."""

    def __missing__(self, word: str) -> int:
        if word and not word[0].isspace():
            return super().__missing__(word)
        self[word] = _WHOLE
        return _WHOLE


class _Runs:
    """Runs of ids: run i is `ids[starts[i] : starts[i] + lengths[i]]`."""

    def __init__(self) -> None:
        self.starts, self.lengths, self.ids = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint32)

    def __len__(self) -> int:
        return len(self.starts)

    def first(self, number: int) -> _Runs:
        """The first so many runs."""
        kept = _Runs()
        kept.starts, kept.lengths = self.starts[:number], self.lengths[:number]
        kept.ids = self.ids[: kept.starts[-1] + kept.lengths[-1]]
        return kept

    def and_more(self, runs: list[list[int]]) -> _Runs:
        """These runs and those behind them; what was there keeps its number."""
        lengths = np.fromiter(map(len, runs), np.int64, len(runs))
        joined = np.fromiter((i for run in runs for i in run), np.uint32, int(lengths.sum()))
        more = _Runs()
        more.starts = np.concatenate([self.starts, len(self.ids) + np.cumsum(lengths) - lengths])
        more.lengths = np.concatenate([self.lengths, lengths])
        more.ids = np.concatenate([self.ids, joined])
        return more


class WordEncoder:
    """Ids of texts through a memory of words, equal to those of the tokenizer it is made of."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        spec = json.loads(tokenizer.to_str())
        kind = (spec["pre_tokenizer"] or {}).get("type")
        self._pieces_of = PIECES.get(kind) if _splits_as_expected(spec) else None
        self._space = " " if kind == "ByteLevel" else ""
        self._new: list[str] = []
        self._runs, self._pieces = _Runs(), dict[str, list[int]]()
        self._first = _Words("", self._new, lambda: len(self._runs))
        self._inner = _InnerWords(self._space, self._new, lambda: len(self._runs))

    def _forget(self) -> None:
        """Drops the words that came later: frequent ones come early."""
        kept = MAX_WORDS // 2
        for words in (self._first, self._inner):
            for word in [word for word, number in words.items() if number >= kept]:
                del words[word]
        self._runs = self._runs.first(kept)
        self._pieces = dict(islice(self._pieces.items(), kept))

    def _encode(self, texts: list[str]) -> list[list[int]]:
        return [found.ids for found in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def __call__(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Ids of the texts, joined, uint32 (N,), and how many each of them has, int64 (len(texts),). No special tokens."""
        if self._pieces_of is None:
            runs = _Runs().and_more(self._encode(texts))
            return runs.ids, runs.lengths
        if len(self._runs) > MAX_WORDS or len(self._pieces) > MAX_WORDS:
            self._forget()
        numbers, counts = list[int](), list[int]()
        for text in texts:
            first, *inner = text.split(" ")
            numbers.append(self._first[first])
            numbers.extend(map(self._inner.__getitem__, inner))
            counts.append(1 + len(inner))
        if self._new:
            self._learn()
        return self._joined(texts, np.array(numbers, np.int64), np.repeat(np.arange(len(texts)), counts))

    def _learn(self) -> None:
        """Encodes the words that are new, by their pieces."""
        assert self._pieces_of is not None
        words = [self._pieces_of(word) if _is_ascii(word) else [word] for word in self._new]
        new = list(dict.fromkeys(piece for pieces in words for piece in pieces if piece not in self._pieces))
        self._pieces.update(zip(new, self._encode(new), strict=True))
        self._runs = self._runs.and_more([[i for piece in pieces for i in self._pieces[piece]] for pieces in words])
        self._new.clear()

    def _joined(self, texts: list[str], numbers: np.ndarray, text_of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The runs of the numbered words, (W,), joined; texts that cannot be told by words count as one word each."""
        runs, whole = self._runs, np.unique(text_of[numbers == _WHOLE])
        if len(whole):
            is_first, in_whole = np.diff(text_of, prepend=-1) > 0, np.isin(text_of, whole)
            numbers[is_first & in_whole] = len(runs) + np.arange(len(whole))
            kept = is_first | ~in_whole
            numbers, text_of = numbers[kept], text_of[kept]
            runs = runs.and_more(self._encode([texts[i] for i in whole]))
        lengths = runs.lengths[numbers]
        ids = runs.ids[ranges(runs.starts[numbers], lengths)]
        return ids, np.bincount(text_of, weights=lengths, minlength=len(texts)).astype(np.int64)


def _splits_as_expected(spec: dict) -> bool:
    """Whether words can be encoded one by one: the tokenizer splits as its kind does, and nothing else joins or drops."""
    pre, normalizer = spec["pre_tokenizer"] or {}, spec["normalizer"] or {}
    by_rule = {
        "ByteLevel": not normalizer and pre.get("use_regex", True),
        "BertPreTokenizer": normalizer.get("type", "BertNormalizer") == "BertNormalizer",
    }
    plain = all(token["special"] for token in spec["added_tokens"])
    drops = spec["model"].get("dropout")
    return bool(by_rule.get(pre.get("type", ""), False) and plain and not drops)
