"""Train and use the two text encodings (RoBERTa, Section 4.4): byte-level BPE and WordPiece.

Trained here, both have RoBERTa's ids for the special tokens; published ones keep their own (`tokenizer_files`). Input formats
add special tokens. They are never recognised in text: `<mask>` in a corpus is six ordinary characters.
"""

import hashlib
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from roberta_lab.axes import Ints
from roberta_lab.axes.examples import Vocabulary
from roberta_lab.axes.spelling import BPE, INSIDE, WORDPIECE, Spelling
from roberta_lab.axes.word_encoder import WordEncoder
from roberta_lab.config import ConfigError, Damaged

BOS, PAD, EOS, UNK, MASK = "<s>", "<pad>", "</s>", "<unk>", "<mask>"
FIRST_SPECIALS = (BOS, PAD, EOS, UNK)  # ids 0 to 3; <mask> has the last id
SPECIALS = ((BOS, "[CLS]"), (PAD, "[PAD]"), (EOS, "[SEP]"), (UNK, "[UNK]"), (MASK, "[MASK]"))  # RoBERTa's names, BERT's
NUM_BYTES = 256


def bytelevel_bpe(model: models.BPE, space_first: bool = False) -> Tokenizer:
    """Return a tokenizer that splits text as GPT-2 does, with or without a space before it. No text is unknown to it."""
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space_first)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def wordpiece(
    model: models.WordPiece, lowercase: bool = True, strip_accents: bool | None = None, split_chinese: bool = True
) -> Tokenizer:
    """Return a tokenizer that splits text as BERT does: at white space, punctuation and around Chinese characters.

    `strip_accents` is as `lowercase` if it is None. Pieces inside a word begin with `##`. A word with a character that
    training never saw is `<unk>`.
    """
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=lowercase, strip_accents=strip_accents, handle_chinese_chars=split_chinese
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix=INSIDE)
    return tokenizer


def train_bytelevel_bpe(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Train byte-level BPE with `vocab_size` ids, special tokens included. The same texts give the same tokenizer."""
    if vocab_size < (least := NUM_BYTES + len(FIRST_SPECIALS) + 1):
        raise ConfigError(f"tokenizer.vocab_size={vocab_size}: a byte-level vocabulary has {least} ids or more.")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1, special_tokens=list(FIRST_SPECIALS), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer = bytelevel_bpe(models.BPE())
    tokenizer.train_from_iterator(texts, trainer)
    return _complete(tokenizer, vocab_size)


def train_wordpiece(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Train BERT's WordPiece with `vocab_size` ids, special tokens included. The same texts give the same tokenizer.

    `texts` is read twice. The library gives the characters inside words their ids in the order of a hash map, another one
    in each process, and breaks ties between pieces by ids (tokenizers, issue 1794). Named beforehand, in order, they keep theirs.
    """
    learning = wordpiece(models.WordPiece(unk_token=UNK))
    inside = [INSIDE + character for character in _inside_words(learning, texts)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size - 1,
        special_tokens=[*FIRST_SPECIALS, *inside],
        continuing_subword_prefix=INSIDE,
        show_progress=False,
    )
    learning.train_from_iterator(texts, trainer)
    tokenizer = wordpiece(models.WordPiece(learning.get_vocab(), unk_token=UNK))  # `inside` are not special in this one
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in FIRST_SPECIALS])
    return _complete(tokenizer, vocab_size)


def _inside_words(tokenizer: Tokenizer, texts: Iterable[str]) -> list[str]:
    """Return in order all characters that stand in a word of these texts, and not only at its start."""
    normalized, words = tokenizer.normalizer.normalize_str, tokenizer.pre_tokenizer.pre_tokenize_str
    inside: set[str] = set()
    never: set[str] = set()  # these part words: white space, punctuation, Chinese characters
    for text in map(normalized, texts):
        if open_ones := {*text} - inside - never:
            inside.update(*(word[1:] for word, _ in words(text)))
            never.update(character for character in open_ones if len(words(f"a{character}b")) != 1)
    return sorted(inside)


def _complete(tokenizer: Tokenizer, vocab_size: int) -> Tokenizer:
    """Give `<mask>` the last id. Raise ConfigError for a vocabulary of another size than the config's."""
    if (found := tokenizer.get_vocab_size() + 1) != vocab_size:
        limit = "no more" if found < vocab_size else "no fewer"
        fits = f"the data mix yields {found} pieces and {limit}; tokenizer.vocab_size={found} fits"
        raise ConfigError(f"tokenizer.vocab_size={vocab_size}: {fits}.")
    tokenizer.add_special_tokens([AddedToken(MASK, lstrip=True, special=True)])
    return tokenizer


KINDS: dict[str, Callable[[Iterable[str], int], Tokenizer]] = {
    BPE: train_bytelevel_bpe,
    WORDPIECE: train_wordpiece,
}


class Encoding:
    """A tokenizer for inputs; ConfigError if it lacks one of SPECIALS, or reads its name in a text as the token."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        # In text, special tokens are plain characters: only their ids are special.
        self._tokenizer.encode_special_tokens = True
        self.vocab_size: int = 1 + max(tokenizer.get_vocab().values())  # published ids may have gaps
        self.bos_id, self.pad_id, self.eos_id, self.unk_id, self.mask_id = map(self._id, SPECIALS)
        self._refuse_if_text_can_be_special()

    def _id(self, names: tuple[str, ...]) -> int:
        found = [i for i in map(self._tokenizer.token_to_id, names) if i is not None]
        if not found:
            raise ConfigError(f"the tokenizer has no special token {' or '.join(names)}.")
        return found[0]

    def _refuse_if_text_can_be_special(self) -> None:
        for token in sorted({*self.special_ids} - {self.unk_id}):
            name = self._tokenizer.id_to_token(token)
            if token in self.encode_batch([f"a {name} b"])[0]:
                raise ConfigError(f"the tokenizer reads {name} in a text as its special token, not as characters.")

    @cached_property
    def special_ids(self) -> tuple[int, ...]:
        """Return the ids that stand for no text: the five that inputs use, then others that the vocabulary declares."""
        known = (self.bos_id, self.pad_id, self.eos_id, self.unk_id, self.mask_id)
        declared = [i for i, token in self._added.items() if token.special]
        return (*known, *sorted(set(declared) - set(known)))

    @cached_property
    def _added(self) -> dict[int, AddedToken]:
        return self._tokenizer.get_added_tokens_decoder()

    @cached_property
    def _spelling(self) -> Spelling:
        return Spelling.of(self._tokenizer)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Return what masking must know: which tokens go on in a word, and the bytes of each, by the tokenizer's own spelling.

        White space is not counted, since WordPiece drops it. An added token is counted as the text that it stands for.
        """
        spelling, pieces = self._spelling, [self._tokenizer.id_to_token(i) or "" for i in range(self.vocab_size)]
        continues = np.array([spelling.continues(piece) for piece in pieces])
        num_bytes = np.array([spelling.num_bytes(piece) for piece in pieces])
        for i, token in self._added.items():
            continues[i] = spelling.continues_with(token)
            num_bytes[i] = len("".join(token.content.split()).encode())
        continues[list(self.special_ids)] = False
        num_bytes[list(self.special_ids)] = 0
        ids = (self.bos_id, self.pad_id, self.eos_id)
        return Vocabulary(self.vocab_size, self.mask_id, self.special_ids, continues, num_bytes, *ids)

    @cached_property
    def fingerprint(self) -> str:
        """Return the SHA-256 of the tokenizer's file."""
        return hashlib.sha256(self._tokenizer.to_str().encode()).hexdigest()

    @cached_property
    def _by_words(self) -> WordEncoder:
        return WordEncoder(self._tokenizer)

    def encode(self, texts: list[str]) -> tuple[Ints, Ints]:
        """Return the ids of the texts, joined, uint32 (N,), and the length of each, int64 (len(texts),); for much text."""
        return self._by_words(texts)

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Return the ids of each text, without special tokens."""
        return [e.ids for e in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def encode_with_offsets(self, texts: list[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """Return the ids of each text and, for each id, its characters (start, end)."""
        return [(e.ids, e.offsets) for e in self._tokenizer.encode_batch(texts, add_special_tokens=False)]

    def encode_with_words(self, texts: list[str]) -> list[tuple[list[int], list[int]]]:
        """Return the ids of each text and, for each id, the number of its word in the text.

        Words are what the tokenizer cuts a text into before it looks at its vocabulary: punctuation is a word of its own.
        """
        found = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        return [(e.ids, [word for word in e.word_ids if word is not None]) for e in found]

    def decode(self, ids: list[int]) -> str:
        """Return the text of the ids, special tokens with their names."""
        return self._tokenizer.decode(ids, skip_special_tokens=False)

    def spelled(self, token: int) -> str:
        """Return one token as it stands in running text: with the space before it, without WordPiece's mark."""
        if self._spelling.in_bytes or token in self.special_ids:
            return self.decode([token])
        piece = self._tokenizer.id_to_token(token) or ""
        return f" {piece}" if token in self._added else self._spelling.shown(piece)


def load(path: Path) -> Encoding:
    """Return the encoding of a folder with a `tokenizer.json`. Raises Damaged for one that cannot be read."""
    file = path / "tokenizer.json"
    try:
        return Encoding(Tokenizer.from_file(str(file)))
    except ConfigError:
        raise
    except Exception as error:  # `tokenizers` raises nothing narrower
        said = " ".join(str(error).split())
        raise Damaged.at(
            file, f"cannot be read ({said})", f"delete the folder {path}, and the same command makes it again"
        ) from None
