"""Text encodings (RoBERTa, Section 4.4): byte-level BPE and WordPiece, both with RoBERTa's ids for the special tokens.

Special tokens are added by whoever builds inputs, never recognised in text: a literal `<mask>` in a corpus is five ordinary
characters of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from roberta_lab.config import ConfigError
from roberta_lab.examples import Vocabulary

BOS, PAD, EOS, UNK, MASK = "<s>", "<pad>", "</s>", "<unk>", "<mask>"
FIRST_SPECIALS = (BOS, PAD, EOS, UNK)  # ids 0 to 3; <mask> has the last id
NUM_BYTES = 256
INSIDE = "##"  # WordPiece's mark of a piece inside a word
SPACE = "\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}"  # byte-level BPE's spelling of a space


def train_bytelevel_bpe(texts: Iterator[str], vocab_size: int) -> Tokenizer:
    """Byte-level BPE (GPT-2's pre-tokenization, no prefix space): every byte has a piece, so nothing is ever unknown."""
    if vocab_size < (least := NUM_BYTES + len(FIRST_SPECIALS) + 1):
        raise ConfigError(f"tokenizer.vocab_size={vocab_size}: a byte-level vocabulary has {least} ids or more.")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1,
        special_tokens=list(FIRST_SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _with_mask(tokenizer, vocab_size)


def train_wordpiece(texts: Iterator[str], vocab_size: int) -> Tokenizer:
    """BERT's WordPiece: accents and case are dropped, words split at white space and punctuation, pieces inside a word
    begin with `##`. A character that training never saw makes its word `<unk>`.
    """
    tokenizer = Tokenizer(models.WordPiece(unk_token=UNK))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix=INSIDE)
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size - 1,
        special_tokens=list(FIRST_SPECIALS),
        continuing_subword_prefix=INSIDE,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _with_mask(tokenizer, vocab_size)


def _with_mask(tokenizer: Tokenizer, vocab_size: int) -> Tokenizer:
    """Gives `<mask>` the last id, and refuses a vocabulary of another size than was asked for."""
    if (found := tokenizer.get_vocab_size() + 1) != vocab_size:
        some = "no more" if found < vocab_size else "no fewer"
        raise ConfigError(f"tokenizer.vocab_size={vocab_size}: the data mix yields {found} pieces and {some}.")
    tokenizer.add_special_tokens([AddedToken(MASK, lstrip=True, special=True)])
    return tokenizer


KINDS: dict[str, Callable[[Iterator[str], int], Tokenizer]] = {
    "bytelevel_bpe": train_bytelevel_bpe,
    "wordpiece": train_wordpiece,
}


class Encoding:
    """A trained tokenizer as the rest of the project sees it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        # In text, special tokens are plain characters: they are found by id only.
        self._tokenizer.encode_special_tokens = True
        self.vocab_size: int = tokenizer.get_vocab_size()
        self.bos_id, self.pad_id, self.eos_id, self.unk_id = (self._id(token) for token in FIRST_SPECIALS)
        self.mask_id = self._id(MASK)

    def _id(self, token: str) -> int:
        found = self._tokenizer.token_to_id(token)
        assert found is not None, f"the tokenizer has no {token}"
        return found

    @property
    def special_ids(self) -> tuple[int, ...]:
        """Ids that stand for no text."""
        return (self.bos_id, self.pad_id, self.eos_id, self.unk_id, self.mask_id)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What masking must know. A piece continues a word if it is marked so (WordPiece) or begins with no space (GPT-2)."""
        pieces = [self._tokenizer.id_to_token(i) for i in range(self.vocab_size)]
        marked = isinstance(self._tokenizer.model, models.WordPiece)
        continues = np.array([p.startswith(INSIDE) if marked else not p.startswith(SPACE) for p in pieces])
        continues[list(self.special_ids)] = False
        ids = (self.bos_id, self.pad_id, self.eos_id)
        return Vocabulary(self.vocab_size, self.mask_id, self.special_ids, continues, *ids)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the tokenizer's file."""
        return hashlib.sha256(self._tokenizer.to_str().encode()).hexdigest()

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Ids of each text, no special tokens added."""
        return [e.ids for e in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def encode_with_offsets(self, texts: list[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """Ids of each text and, for each id, the characters (start, end) it covers."""
        return [(e.ids, e.offsets) for e in self._tokenizer.encode_batch(texts, add_special_tokens=False)]

    def decode(self, ids: list[int]) -> str:
        """The text of the ids, special tokens spelled out."""
        return self._tokenizer.decode(ids, skip_special_tokens=False)

    def spelled(self, token: int) -> str:
        """One token as it stands in running text: with the space before it, without WordPiece's mark."""
        if not isinstance(self._tokenizer.model, models.WordPiece) or token in self.special_ids:
            return self.decode([token])
        piece = self._tokenizer.id_to_token(token)
        return piece.removeprefix(INSIDE) if piece.startswith(INSIDE) else f" {piece}"


def load(path: Path) -> Encoding:
    """The encoding of a folder with a `tokenizer.json`."""
    return Encoding(Tokenizer.from_file(str(path / "tokenizer.json")))
