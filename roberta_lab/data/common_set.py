"""Make the common held-out set, on which runs of all formats, masks and tokenizers compare.

A run's own held-out inputs depend on its format, and its masks on its tokens. The common set is the same text for all, as
inputs of `full_sentences`, with the same words masked whatever the tokenizer: each word (between white space) with probability
0.15, by a hash of its document and place. All tokens of such a word are `<mask>`. Perplexity compares between rows with one
tokenizer, bits per byte between all.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from roberta_lab.axes import Bools, input_format
from roberta_lab.axes.batch_size import ALONE, Rank
from roberta_lab.axes.examples import IGNORED, Vocabulary, gather
from roberta_lab.axes.rng import hashed, stream_key, uniform
from roberta_lab.axes.sentence_store import TokenStore
from roberta_lab.axes.tokenizer import Encoding
from roberta_lab.config import DataMixConfig, InputFormatConfig
from roberta_lab.data.batch import Batch
from roberta_lab.data.corpus import parts
from roberta_lab.data.datamodule import VALIDATION_BATCH, pack, to_batch

MASKED_SHARE = 0.15  # of the words
OF_ONE_DOCUMENT = 1 << 14  # from its start: else a few books would be all of the text
CHARACTERS_PER_TOKEN = 4  # of `validation_tokens`: the text is about as long under any tokenizer
FLAGS = Vocabulary(2, 0, (0,), bos_id=0, pad_id=0, eos_id=0)  # by which flags are gathered as tokens are


@dataclass(frozen=True)
class Word:
    """A word between white space, and whether it is masked."""

    text: str
    masked: bool


Sentences = list[list[Word]]  # of a document


@dataclass(frozen=True)
class CommonText:
    """The text of the common set, before any tokenizer."""

    documents: tuple[Sentences, ...]

    @property
    def num_bytes(self) -> int:
        """Return the UTF-8 bytes of the masked words."""
        return sum(len(word.text.encode()) for word in self._words() if word.masked)

    @cached_property
    def digest(self) -> str:
        """Return a hash of the text and of what is masked in it, 16 hex digits."""
        content = hashlib.sha256()
        for document in self.documents:
            for sentence in document:
                content.update("".join(f"{word.text}{' *'[word.masked]}" for word in sentence).encode() + b"\n")
            content.update(b"\n")
        return content.hexdigest()[:16]

    def _words(self) -> Iterator[Word]:
        return (word for document in self.documents for sentence in document for word in sentence)


def common_text(corpus: Path, mix: DataMixConfig) -> CommonText:
    """Return the common text of a prepared corpus: held-out documents of the mix's `common_sources`, in the order of a hash.

    Mixes that share these sources share the text.
    """
    places = [place for place, name in enumerate(mix.sources) if name in (mix.common_sources or mix.sources)]
    left = CHARACTERS_PER_TOKEN * mix.validation_tokens
    chosen = _first_documents(corpus, places, left)
    texts: dict[int, list[list[str]]] = {}  # by the hash of a name, which several documents may have
    for stem in parts.names(corpus):
        for document in parts.lines(corpus, stem, "validation", chosen):
            texts.setdefault(parts.document_hash(document["id"]), []).append(document["sentences"])
    documents = []
    for name in chosen:
        sentences, characters = [], 0
        for sentence in texts[name].pop(0):
            if characters >= min(OF_ONE_DOCUMENT, left):
                break
            sentences.append(sentence)
            characters += len(sentence)
        left -= characters
        documents.append(masked_words(sentences))
    return CommonText(tuple(documents))


def _first_documents(corpus: Path, places: Sequence[int], wanted: int) -> list[int]:
    """Return the hashes of the names of the first held-out documents that have the characters wanted."""
    hashes, sizes = [], []
    for stem in parts.names(corpus):
        found = parts.records(corpus, stem)[parts.kept(corpus, stem)]
        found = found[found["held_out"] & np.isin(found["source"], places)]
        hashes.append(found["name"])
        sizes.append(np.minimum(found["characters"], OF_ONE_DOCUMENT).astype(np.int64))
    names, characters = np.concatenate(hashes), np.concatenate(sizes)
    order = np.argsort(names, kind="stable")
    enough = int(np.searchsorted(np.cumsum(characters[order]), wanted)) + 1
    first: list[int] = names[order[:enough]].tolist()
    return first


def masked_words(sentences: list[str]) -> Sentences:
    """Return the words of a document's sentences; what is masked depends on its text and each word's place in it alone."""
    words = [sentence.split() for sentence in sentences]
    text = hashlib.blake2b("\n".join(map(" ".join, words)).encode(), digest_size=8).digest()
    number = sum(map(len, words))
    draws = uniform(hashed(stream_key(int.from_bytes(text, "little"), "common set"), np.arange(number)))
    masked = iter((draws < MASKED_SHARE).tolist())
    return [[Word(word, next(masked)) for word in sentence] for sentence in words]


class CommonSet:
    """The common text as inputs of one tokenizer and length."""

    def __init__(self, text: CommonText, encoding: Encoding, max_length: int) -> None:
        """`max_length` is that of the run's inputs, special tokens counted in."""
        self.num_bytes, self.vocabulary, self.max_length = text.num_bytes, encoding.vocabulary, max_length
        self.digest = hashlib.sha256(f"{text.digest} {max_length}".encode()).hexdigest()[:16]
        self._tokens, flags = _encoded(text, encoding)
        self._flags = replace(self._tokens, shards=(flags.astype(np.uint8),))
        self._plan = input_format.plan(self._tokens, InputFormatConfig("full_sentences", max_length), key=0)

    def batches(self, rank: Rank = ALONE) -> Iterator[Batch]:
        """Yield the inputs in order, packed, with their masks. Several ranks take the batches in turn."""
        size = VALIDATION_BATCH
        for start in range(rank.number * size, self._plan.num_examples, rank.world_size * size):
            numbers = np.arange(start, min(start + size, self._plan.num_examples))
            rows = gather(self._tokens, self._plan, numbers, self.vocabulary)
            masked = gather(self._flags, self._plan, numbers, FLAGS).input_ids == 1
            seen = np.where(masked, self.vocabulary.mask_id, rows.input_ids)
            yield pack(to_batch(rows, seen, np.where(masked, rows.input_ids, IGNORED)), self.max_length)


def _encoded(text: CommonText, encoding: Encoding) -> tuple[TokenStore, Bools]:
    """Return the tokens of the text, word by word, as the preparation encodes sentences, and which of them are masked."""
    words: list[str] = []
    masked, sentence_words, sizes = [], [], []
    for document in text.documents:
        first = len(words)
        for sentence in document:
            words += [f" {word.text}" for word in sentence]
            masked += [word.masked for word in sentence]
            sentence_words.append(len(sentence))
        words[first : first + 1] = [word[1:] for word in words[first : first + 1]]
        sizes.append(len(document))
    ids, lengths = encoding.encode(words)
    ends = np.cumsum(sentence_words)
    before = np.concatenate([[0], np.cumsum(lengths)])
    sentence_lengths = np.diff(before[np.concatenate([[0], ends])])
    zeros = np.zeros(len(sizes), np.uint64)
    store = TokenStore.whole(
        (ids,),
        sentence_lengths,
        np.cumsum(sizes),
        zeros,
        zeros,
        {"dtype": ids.dtype.name, "shards": [], "sources": []},
    )
    return store, np.repeat(np.array(masked, bool), lengths)
