"""Encode text word by word, and each distinct word only once: several times faster than encoding every text anew.

Byte-level BPE and WordPiece split a text before they look at their vocabulary, so its ids are those of its parts, joined.
A text is cut into words at every space with no white space after it: no tokenizer joins two such words. (Where white
space meets white space it could, so such a text is encoded as a whole.) A new word of printable ASCII is cut again, by the
tokenizer's own rule (`PIECES`). A counting `defaultdict` gives words their numbers without a loop in Python.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import count, islice
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from roberta_lab.axes import Ints
from roberta_lab.axes.sentence_store import ranges

MAX_WORDS = 1 << 18  # remembered at most, some 80 MB with their pieces; then the later half is forgotten
MAX_CHARACTERS = 1 << 22  # of all words together, which are long in scripts without spaces
END = "\0"  # after each of the words that are cut in one call; no word has it
PIECES: dict[str, Callable[[str], list[str]]] = {
    "ByteLevel": re.compile(r"'(?:s|t|re|ve|m|ll|d)| ?[A-Za-z]+| ?[0-9]+| ?[^A-Za-z0-9 \0]+|\0").findall,  # GPT-2's
    "BertPreTokenizer": re.compile(r"[A-Za-z0-9]+|[^A-Za-z0-9 ]").findall,
}
_FIRST = "\0"  # marks the word at the start of a text, which has no space before it
_WHOLE = -1  # in place of a length: the text before this word could change its ids


class WordEncoder:
    """An encoder with a memory of words. Its ids equal those of the tokenizer that it is made of."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        spec = json.loads(tokenizer.to_str())
        kind = (spec["pre_tokenizer"] or {}).get("type", "")
        self._pieces_of = PIECES.get(kind) if _splits_as_expected(spec) else None
        self._space = " " if kind == "ByteLevel" else ""
        self._words, self._pieces = _Memory(), _Memory()

    def __call__(self, texts: list[str]) -> tuple[Ints, Ints]:
        """Return the ids of the texts, joined, uint32 (N,), and the length of each, int64 (len(texts),). No special tokens."""
        joined = _FIRST + f" {_FIRST}".join(texts)
        if self._pieces_of is None or not texts or joined.count(_FIRST) > len(texts):
            return _flat(self._encode(texts))
        for memory in (self._words, self._pieces):
            memory.forget_beyond(MAX_WORDS, MAX_CHARACTERS)
        numbers, new = self._words.look_up(joined.split(" "))
        self._learn(new)
        text_of = np.repeat(np.arange(len(texts)), [1 + text.count(" ") for text in texts])
        return self._joined(texts, numbers, text_of)

    def _encode(self, texts: list[str]) -> list[list[int]]:
        return [found.ids for found in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def _learn(self, new: list[str]) -> None:
        """Encode new words by their pieces: printable ASCII is cut by the rule, other words are one piece each."""
        assert self._pieces_of is not None
        words = [word[1:] if word[:1] == _FIRST else self._space + word for word in new]
        by_rule = [word.isascii() and word.isprintable() for word in words]
        cut = self._pieces_of("".join(word + END for word, is_cut in zip(words, by_rule, strict=True) if is_cut))
        numbers, pieces = self._pieces.look_up(
            [*cut, *(word for word, is_cut in zip(words, by_rule, strict=True) if not is_cut)]
        )
        self._pieces.learn(*_flat(self._encode([piece if piece != END else "" for piece in pieces])))
        is_end = np.array([piece == END for piece in cut] + [True] * (len(numbers) - len(cut)), bool)
        lengths = self._pieces.lengths[numbers]
        ids = self._pieces.ids[ranges(self._pieces.starts[numbers], lengths)]
        sizes = np.diff(np.cumsum(lengths)[is_end], prepend=0)  # first of the words that were cut, then of the others
        order = np.argsort(np.argsort(~np.array(by_rule, bool), kind="stable"), kind="stable")
        starts, sizes = (np.cumsum(sizes) - sizes)[order], sizes[order]
        sizes[[_depends_on_text_before(word) for word in new]] = _WHOLE
        self._words.learn(ids, sizes, starts)

    def _joined(self, texts: list[str], numbers: Ints, text_of: Ints) -> tuple[Ints, Ints]:
        """Return the ids of the numbered words, (W,), joined; texts that cannot be encoded by words are encoded as a whole."""
        words = self._words
        lengths = words.lengths[numbers]
        whole = np.unique(text_of[lengths == _WHOLE])
        if len(whole):
            lengths[np.isin(text_of, whole)] = 0
        ids = words.ids[ranges(words.starts[numbers], lengths)]
        sizes = np.bincount(text_of, weights=lengths, minlength=len(texts)).astype(np.int64)
        if len(whole):
            extra, extra_sizes = _flat(self._encode([texts[i] for i in whole]))
            ids = np.insert(ids, np.repeat(np.cumsum(sizes)[whole], extra_sizes), extra)
            sizes[whole] = extra_sizes
        return ids, sizes


def _depends_on_text_before(word: str) -> bool:
    """Return whether white space meets white space where a word begins."""
    return not word or word[0].isspace()


class _Memory:
    """Words with their numbers and, once learnt, their ids: those of word i are `ids[starts[i]:][:lengths[i]]`."""

    def __init__(self) -> None:
        self._numbers: defaultdict[str, int] = defaultdict(count().__next__)
        self._characters = 0
        self.starts, self.lengths, self.ids = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint32)

    def look_up(self, words: list[str]) -> tuple[Ints, list[str]]:
        """Return the numbers of the words, int64, and the new words in the order of their numbers, to be learnt next."""
        known = len(self._numbers)
        numbers = np.fromiter(map(self._numbers.__getitem__, words), np.int64, len(words))
        new = list(islice(reversed(self._numbers), len(self._numbers) - known))
        self._characters += sum(map(len, new))
        return numbers, new[::-1]

    def learn(self, ids: Ints, lengths: Ints, starts: Ints | None = None) -> None:
        """Add the ids of the new words; without `starts`, they follow each other."""
        starts = np.cumsum(lengths) - lengths if starts is None else starts
        self.starts = np.concatenate([self.starts, len(self.ids) + starts])
        self.lengths = np.concatenate([self.lengths, lengths])
        self.ids = np.concatenate([self.ids, ids])

    def forget_beyond(self, words: int, characters: int) -> None:
        """Drop the later words if there are more; the first ones are the frequent ones."""
        if len(self._numbers) <= words and self._characters <= characters:
            return
        kept = len(self._numbers) // 2 if self._characters > characters else words // 2
        first = dict(islice(self._numbers.items(), kept))
        self._numbers = defaultdict(count(kept).__next__, first)
        self._characters = sum(map(len, first))
        self.starts, self.lengths = self.starts[:kept], self.lengths[:kept]
        self.ids = self.ids[: int((self.starts + self.lengths).max(initial=0))]


def _flat(runs: Iterable[list[int]]) -> tuple[Ints, Ints]:
    """Return runs of ids, joined, uint32, and their lengths, int64."""
    runs = list(runs)
    lengths = np.fromiter(map(len, runs), np.int64, len(runs))
    return np.fromiter((i for run in runs for i in run), np.uint32, int(lengths.sum())), lengths


def _splits_as_expected(spec: dict[str, Any]) -> bool:
    """Return whether words can be encoded one by one: the tokenizer splits as its kind does and joins or drops nothing."""
    pre, normalizer = spec["pre_tokenizer"] or {}, spec["normalizer"] or {}
    by_rule = {
        "ByteLevel": not normalizer and pre.get("use_regex", True) and not pre.get("add_prefix_space"),
        "BertPreTokenizer": normalizer.get("type", "BertNormalizer") == "BertNormalizer",
    }
    plain = all(token["special"] for token in spec["added_tokens"])
    drops = spec["model"].get("dropout")
    return bool(by_rule.get(pre.get("type", ""), False) and plain and not drops)
