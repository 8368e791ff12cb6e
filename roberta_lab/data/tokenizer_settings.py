"""Read what the small files beside a published vocabulary say of it: `tokenizer_config.json` and `added_tokens.json`.

A `tokenizer.json` has all of it inside, and these files may only say the same. For `vocab.txt` and `vocab.json` they are the only
place, and what they leave open the vocabulary's own words tell.
"""

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, fields
from operator import index
from pathlib import Path
from typing import Any, Self

from tokenizers import AddedToken, Tokenizer

from roberta_lab.axes.spelling import steps
from roberta_lab.axes.tokenizer import SPECIALS
from roberta_lab.config import ConfigError
from roberta_lab.data.foreign import json_of

CONFIG, ADDED, SPECIAL, MODEL = (
    *("tokenizer_config.json", "added_tokens.json"),
    *("special_tokens_map.json", "config.json"),
)
_BERT = ("Bert", "DistilBert", "Electra", "MobileBert", "ConvBert", "SqueezeBert", "LayoutLM")
_CLASSES = {"vocab.txt": _BERT, "vocab.json": ("Roberta", "GPT2", "Bart", "Longformer", "LED", "Deberta")}
_ANY_CLASS = ("PreTrainedTokenizer", "PreTrainedTokenizerFast", "TokenizersBackend")
GPT2_END = "<|endoftext|>"  # special in GPT-2's vocabulary, but not used in inputs here
_KNOWN = {name for role in SPECIALS for name in role} | {GPT2_END}  # special in every vocabulary that has them
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")  # of an added token
_STEPS = {"BertNormalizer": ("lowercase", "strip_accents", "handle_chinese_chars"), "ByteLevel": ("add_prefix_space",)}
_NAMES = {"lowercase": "do_lower_case", "handle_chinese_chars": "tokenize_chinese_chars"}  # of a setting in CONFIG


@dataclass(frozen=True)
class TokenizerSettings:
    """What the files beside a vocabulary say; None where they say nothing."""

    do_lower_case: bool | None = None
    strip_accents: bool | None = None
    tokenize_chinese_chars: bool | None = None
    add_prefix_space: bool | None = None
    tokenizer_class: str | None = None
    added: Mapping[int, AddedToken] | None = None  # by id

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the settings in a folder. Raises ConfigError for a value of the wrong type, with its file and key."""
        config, special = _read(folder / CONFIG), _read(folder / SPECIAL)
        found: dict[str, Any] = {}
        for key in (field.name for field in fields(cls) if field.type == bool | None):
            found[key] = config.get(key)
            if not isinstance(found[key], bool | None):
                raise ConfigError(f"{CONFIG} has {key}={found[key]!r}; allowed are true, false and null.")
        found["tokenizer_class"] = config.get("tokenizer_class")
        names = {_content(value) for key, value in {**special, **config}.items() if key.endswith("_token")}
        return cls(**found, added=_added(config, _read(folder / ADDED), names))

    def check_class(self, file: Path) -> None:
        """Raise ConfigError if the tokenizer is of a class that makes something else of this file than BERT or GPT-2 do."""
        allowed = _CLASSES.get(file.name, ())
        name = self.tokenizer_class or _read(file.with_name(MODEL)).get("tokenizer_class")
        bare = str(name).removesuffix("Fast").removesuffix("Tokenizer")
        if name is not None and allowed and bare not in allowed and name not in _ANY_CLASS:
            names = ", ".join(f"{one}Tokenizer" for one in allowed)
            raise ConfigError(
                f"tokenizer_class={name} is not supported with {file.name}; allowed are {names}, or a tokenizer.json."
            )

    def cases_of(self, pieces: list[str]) -> tuple[bool, bool | None]:
        """Return `lowercase` and `strip_accents` of a BERT vocabulary: as stated, else as its words have capitals and accents."""
        words = [
            piece for piece in pieces if not piece.startswith("[") and not (piece[:1] == "<" and piece[-1:] == ">")
        ]
        lowercase, strip_accents = self.do_lower_case, self.strip_accents
        if lowercase is None:
            lowercase = not any(word != word.lower() for word in words)
            if lowercase and strip_accents is None and any(_has_accent(word) for word in words):
                strip_accents = False
        return lowercase, strip_accents

    def check(self, tokenizer: Tokenizer) -> None:
        """Raise ConfigError if a `tokenizer.json` says something else."""
        for step in (*steps(tokenizer.normalizer), *steps(tokenizer.pre_tokenizer)):
            for key in _STEPS.get(step["type"], ()):
                name, own = _NAMES.get(key, key), step[key]
                stated = getattr(self, name)
                if key == "strip_accents" and own is None:
                    own = step["lowercase"]
                if stated is not None and stated != own:
                    said = f"{CONFIG} has {name}={json.dumps(stated)}, tokenizer.json {json.dumps(own)}"
                    raise ConfigError(f"{said}: they contradict each other; make them the same.")
        self._check_ids(tokenizer)

    def add_tokens(self, tokenizer: Tokenizer) -> None:
        """Add the tokens that the files add. Raises ConfigError for an id that they cannot have."""
        tokenizer.add_tokens([token for _, token in sorted((self.added or {}).items())])
        self._check_ids(tokenizer)

    def _check_ids(self, tokenizer: Tokenizer) -> None:
        for i, token in (self.added or {}).items():
            if (own := tokenizer.token_to_id(token.content)) != i:
                place = "is not in tokenizer.json" if own is None else f"has id {own} in the vocabulary"
                raise ConfigError(f"the added token {token.content!r} has id {i} in {CONFIG} or {ADDED} and {place}.")

    @property
    def changes(self) -> dict[str, object]:
        """Return what makes a vocabulary another one than its own files and `do_lower_case` tell; empty mostly."""
        stated = {"strip_accents": self.strip_accents, "add_prefix_space": self.add_prefix_space or None}
        stated["tokenize_chinese_chars"] = None if self.tokenize_chinese_chars in (None, True) else False
        found: dict[str, object] = {key: value for key, value in stated.items() if value is not None}
        added = {
            i: [token.content, *(getattr(token, flag) for flag in _FLAGS)]
            for i, token in sorted((self.added or {}).items())
            if token.content not in _KNOWN
        }
        return found | ({"added": added} if added else {})


def _added(config: Mapping[str, Any], plain: Mapping[str, Any], special: set[str | None]) -> dict[int, AddedToken]:
    """Return the added tokens by id: those of `added_tokens_decoder`, else those of `added_tokens.json`."""
    decoder = config.get("added_tokens_decoder")
    try:
        if decoder is None:
            tokens = {name: {"special": name in special, "normalized": name not in special} for name in plain}
            return {index(i): AddedToken(name, **tokens[name]) for name, i in plain.items()}  # no int(): 2.5 is no id
        return {
            int(i): AddedToken(token["content"], **{flag: token[flag] for flag in _FLAGS if flag in token})
            for i, token in decoder.items()
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        where = f"{ADDED}: allowed is a number for each token" if decoder is None else f"{CONFIG}: added_tokens_decoder"
        raise ConfigError(f"{where} cannot be read.") from None


def _read(file: Path) -> dict[str, Any]:
    return json_of(file) if file.is_file() else {}


def _content(token: object) -> str | None:
    """Return the text of a special token, which files give alone or with flags."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None


def _has_accent(word: str) -> bool:
    return any(unicodedata.category(character) == "Mn" for character in unicodedata.normalize("NFD", word))
