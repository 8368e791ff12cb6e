"""Read off a tokenizer's own file how its pieces spell text: which begin a word, and which bytes of the text each stands for.

Two spellings exist. In one, each character of a piece is a byte, and a word begins with its space (GPT-2's byte-level BPE). In
the other, pieces are text without white space, and those inside a word begin with a mark (BERT's WordPiece: `##`). Model,
pre-tokenizer and mark say which it is: a WordPiece model over a byte-level alphabet is spelled in bytes.
"""

import json
from dataclasses import dataclass
from typing import Any, Self

from tokenizers import AddedToken, Tokenizer, models
from tokenizers.normalizers import Normalizer
from tokenizers.pre_tokenizers import PreTokenizer

from roberta_lab.config import ConfigError

SPACE = "\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}"  # byte-level BPE's spelling of a space
INSIDE = "##"  # BERT's mark of a piece inside a word
_WHITE_SPACE = {0x100 + byte: None for byte in b"\t\n\v\f\r "}  # as a byte-level alphabet spells ASCII's
BPE, WORDPIECE = "bytelevel_bpe", "wordpiece"  # the kinds of tokenizers that are read
_MARKS = ("continuing_subword_prefix", "end_of_word_suffix")


def kind_of(tokenizer: Tokenizer) -> str:
    """Return the kind of a tokenizer: `bytelevel_bpe` or `wordpiece`.

    Raises: ConfigError, which names what the tokenizer is and what is allowed, for every other one.
    """
    model = tokenizer.model
    if isinstance(model, models.WordPiece):
        return WORDPIECE
    if not isinstance(model, models.BPE):
        raise _refused(f"a {type(model).__name__} tokenizer")
    if not _is_in_bytes(tokenizer):
        raise _refused("a BPE tokenizer whose pre-tokenizer is not ByteLevel")
    for mark in _MARKS:
        if getattr(model, mark):
            raise _refused(f"a BPE tokenizer with {mark}={getattr(model, mark)}")
    return BPE


def steps(part: Normalizer | PreTokenizer | None) -> list[dict[str, Any]]:
    """Return the settings of a normalizer or pre-tokenizer as `tokenizer.json` has them, those of a sequence one by one."""
    return [] if part is None else _flat(json.loads(part.__getstate__()))


def _flat(step: dict[str, Any]) -> list[dict[str, Any]]:
    inner = step.get("pretokenizers") or step.get("normalizers")
    return [step] if inner is None else [part for one in inner for part in _flat(one)]


def _is_in_bytes(tokenizer: Tokenizer) -> bool:
    return any(step["type"] == "ByteLevel" for step in steps(tokenizer.pre_tokenizer))


def _refused(what: str) -> ConfigError:
    return ConfigError(f"{what} is not supported; allowed are byte-level BPE and WordPiece.")


@dataclass(frozen=True)
class Spelling:
    """How pieces spell text: in bytes, or as text with a mark before pieces inside a word."""

    in_bytes: bool
    inside: str  # the mark; empty where there is none

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Self:
        """Return the spelling of a tokenizer. Raises ConfigError if it is of no kind that is read, or hides where words begin."""
        inside = str(tokenizer.model.continuing_subword_prefix) if kind_of(tokenizer) == WORDPIECE else ""
        found = cls(_is_in_bytes(tokenizer), inside)
        if not found.in_bytes and not inside:
            raise _refused(
                "a WordPiece tokenizer without continuing_subword_prefix, whose pieces do not tell words apart,"
            )
        normalizer, pre_tokenizer, text = tokenizer.normalizer, tokenizer.pre_tokenizer, "a b"
        if normalizer is not None:
            text = normalizer.normalize_str(text)
        cut = [text] if pre_tokenizer is None else [word for word, _ in pre_tokenizer.pre_tokenize_str(text)]
        words = "".join(cut).split(SPACE)[-2:] if found.in_bytes else cut
        if words != ["a", "b"]:
            raise _refused(f"a tokenizer that cuts 'a b' into {cut}, which do not tell where a word begins,")
        return found

    def continues(self, piece: str) -> bool:
        """Return whether a piece goes on in the word of the piece before it."""
        if self.in_bytes:
            return not self._text(piece).startswith(SPACE)
        return piece.startswith(self.inside) and piece != self.inside

    def num_bytes(self, piece: str) -> int:
        """Return the UTF-8 bytes of a piece's text, white space left out: the other spelling has none."""
        return len(self._text(piece).translate(_WHITE_SPACE)) if self.in_bytes else len(self._text(piece).encode())

    def continues_with(self, token: AddedToken) -> bool:
        """Return whether an added token goes on in the word before it: in bytes it does, unless it takes the space itself."""
        return self.in_bytes and not token.lstrip and not token.content[:1].isspace()

    def shown(self, piece: str) -> str:
        """Return a piece that is not spelled in bytes as it stands in running text."""
        return self._text(piece) if self.continues(piece) else f" {piece}"

    def _text(self, piece: str) -> str:
        is_inside = self.inside and piece != self.inside and piece.startswith(self.inside)
        return piece.removeprefix(self.inside) if is_inside else piece
