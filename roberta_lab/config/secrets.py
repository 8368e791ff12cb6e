"""Find keys, tokens and passwords in what is written or shown, and put `***` in their place: the one place that does.

A setting keeps its value, and so does a run's id; files, pages, W&B and the console get the masked text. A path, the hash of data
and a commit are no secrets: 40 hex digits that are a value of their own are one (W&B's keys look so) unless the words before them
say what they are.
"""

import os
import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

MASK = "***"
_T = TypeVar("_T")
_NAMES = (
    r"(?:access|auth|refresh|session|id|bearer|hf|hub|wandb|github)?[_-]?token|pass(?:word|wd|phrase)?|pwd|secret|client[_-]?secret|credentials?"
    r"|(?:wandb[_-]?)?api[_-]?key|(?:aws[_-]?)?(?:secret[_-]?)?access[_-]?key(?:[_-]?id)?|secret[_-]?key|private[_-]?key"
)
_OF_URLS = (
    r"sig|signature|auth|key|code|AWSAccessKeyId|GoogleAccessId|X-(?:Amz|Goog)-(?:Signature|Credential|Security-Token)"
)
_KNOWN = (
    *(r"hf_[A-Za-z0-9]{16,}", r"gh[pousr]_[A-Za-z0-9]{16,}", r"github_pat_\w{16,}", r"glpat-[\w-]{16,}"),
    *(
        r"sk-(?=[\w-]*\d)(?=[\w-]*[A-Z])[\w-]{20,}",
        r"(?:AKIA|ASIA)[0-9A-Z]{16}",
        r"AIza[\w-]{30,}",
        r"xox[abeprs]-[\w-]{10,}",
    ),
    *(r"wandb_v\d_\w{16,}", r"local-[0-9a-f]{40}", r"pypi-[\w-]{32,}", r"npm_[A-Za-z0-9]{30,}"),
    r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}",
)
_KEY_BLOCK = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
# what stands before the host of a URL; a password may have characters that should have been escaped
_USER = re.compile(r"(\b[a-zA-Z][\w+.-]*://)(?:[^\s/?#'\"@]+@|[^\s/?#'\"@:\[]+:(?!\d+[/?#])[^\s'\"]*@)")
_PARAMETER = re.compile(rf"([?&;](?:{_NAMES}|{_OF_URLS})=)(?!\*)[^\s&;#'\"]+", re.IGNORECASE)
_TOKEN = re.compile(rf"(?<![A-Za-z0-9_-])(?:{'|'.join(_KNOWN)})")
_BEARER = re.compile(r"(\b(?:bearer|basic|authorization:)\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_SETTING = re.compile(  # NAME=VALUE or NAME: VALUE, where the name ends in one of those of secrets
    rf"((?:(?<![A-Za-z0-9])|(?<=_))(?:{_NAMES})[\"']?\s?[=:]\s?)(?!\*\*\*|null\b|none\b|<)"
    r"('(?:\\.|[^'\\])+'|\"(?:\\.|[^\"\\])+\"|[^\s,'\"&;}\]]{3,})",
    re.IGNORECASE,
)
_HEX = re.compile(r"(?<![\w/@.+-])[0-9a-fA-F]{40}(?![\w.-])")
_IS_COMMIT = re.compile(
    r"(?:revision|commits?|rev|sha-?1?|at|tree|checkout|of|in|by|hash|digest|id)\W{0,4}$", re.IGNORECASE
)
_OF_ENVIRONMENT = re.compile(  # TOKENIZERS_PARALLELISM is none
    r"TOKENS?(?![A-Z])|SECRET|PASSWO?R?D|API_?KEY|ACCESS_KEY|CREDENTIAL", re.IGNORECASE
)
_SHORTEST = 8  # characters of a variable that is looked for in texts: a shorter one may be a usual word


def masked(text: str) -> str:
    """Return a text without the secrets in it."""
    if len(text) < 4:
        return text
    text = _KEY_BLOCK.sub(MASK, text)
    for value in _of_environment():
        text = text.replace(value, MASK)
    for pattern in (_USER, _PARAMETER, _BEARER, _SETTING):
        text = pattern.sub(_after_name, text)
    return _HEX.sub(_unless_commit, _TOKEN.sub(MASK, text))


def _after_name(found: re.Match[str]) -> str:
    before, after = found[1], "@" if found[0].endswith("@") and "://" in found[1] else ""
    return f"{before}{MASK}{after}"


def _unless_commit(found: re.Match[str]) -> str:
    before = found.string[max(0, found.start() - 24) : found.start()]
    return found[0] if _IS_COMMIT.search(before) else MASK


def _of_environment() -> list[str]:
    """Return the values of variables whose names say that they are secrets; the longest first, one may hold another."""
    found = {
        value
        for name, value in os.environ.items()
        if _OF_ENVIRONMENT.search(name) and len(value) >= _SHORTEST and value[0] not in "/~." and not value.isdecimal()
    }
    return sorted(found, key=len, reverse=True)


def masked_words(words: Iterable[str]) -> list[str]:
    """Return the words of a command without the secrets in them."""
    return [*map(masked, words)]


def masked_values(value: _T, key: str = "") -> _T:
    """Return the value with each text in it masked, in mappings and lists as deep as they go; keys stay as they are."""
    found: object = value
    if isinstance(value, str):
        before = f"{key}=" if key else ""
        found = masked(f"{before}{value}").removeprefix(before)
    elif isinstance(value, Mapping):
        found = {name: masked_values(part, str(name)) for name, part in value.items()}
    elif isinstance(value, list | tuple):
        found = type(value)([masked_values(part, key) for part in value])
    return found  # type: ignore[return-value]
