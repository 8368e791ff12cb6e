"""What a published vocabulary may be, so that making a tokenizer of it takes neither memory for gigabytes nor for ever.

Arrays are as long as the highest id, so a single id of 2**28 would take gigabytes.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from roberta_lab.config import ConfigError
from roberta_lab.config.schema import MAX_VOCABULARY
from roberta_lab.data.foreign import json_of, text_of

MAX_ADDED = 10_000  # tokens beside the vocabulary; each is looked for in every text
MAX_PIECE = 10_000  # characters of a piece
MAX_REGEX = 1_000  # characters
_ATOM = re.compile(
    r"\\[pPx]\{[^}]*\}|\\.|\[(?:\\.|\[:\w+:\]|[^\]\\])+\]|\((?:\?(?:[imsx-]*:|<?[=!]|>))?|[)|]|[*+?]|\{\d*,?\d*\}|.",
    re.DOTALL,
)


def check_ids(ids: Mapping[str, Any], where: str) -> None:
    """Raise ConfigError unless ids are whole numbers from 0 on, below `MAX_VOCABULARY`, each of one piece."""
    seen: dict[int, str] = {}
    for piece, i in ids.items():
        if type(i) is not int or not 0 <= i < MAX_VOCABULARY:
            shown = i if type(i) is int and abs(i) < 2**64 else type(i).__name__
            raise ConfigError(f"{where}: {piece[:80]!r} has id {shown}. Allowed: 0 to {MAX_VOCABULARY - 1:,}.")
        if i in seen:
            raise ConfigError(
                f"{where}: {seen[i][:80]!r} and {piece[:80]!r} have the same id, {i}. Allowed: an id for each."
            )
        if len(piece) > MAX_PIECE:
            raise ConfigError(f"{where}: a piece has {len(piece):,} characters. Allowed: at most {MAX_PIECE:,}.")
        seen[i] = piece


def check_added(added: Mapping[int, Any], where: str) -> None:
    """Raise ConfigError for too many added tokens, or an id that none can have."""
    if len(added) > MAX_ADDED:
        raise ConfigError(f"{where}: {len(added):,} added tokens. Allowed: at most {MAX_ADDED:,}.")
    for i in added:
        if not 0 <= i < MAX_VOCABULARY:
            raise ConfigError(
                f"{where}: an added token has an id beyond {MAX_VOCABULARY - 1:,}, which is the last allowed."
            )


def check_files(files: tuple[Path, ...]) -> None:
    """Raise ConfigError for files of a vocabulary that no tokenizer can be made of in reasonable time and memory."""
    name = files[0].name
    if name == "tokenizer.json":
        _check_whole(json_of(files[0]))
    elif name == "vocab.txt":
        pieces = text_of(files[0]).splitlines()
        if len(pieces) > MAX_VOCABULARY:
            raise ConfigError(f"{name}: {len(pieces):,} lines. Allowed: at most {MAX_VOCABULARY:,}.")
    else:
        check_ids(json_of(files[0]), name)
        text_of(files[1])


def _check_whole(found: Mapping[str, Any]) -> None:
    where = "tokenizer.json"
    model = found.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, dict):
        check_ids(vocabulary, where)
    added = found.get("added_tokens") or []
    ids = [token.get("id") for token in added if isinstance(token, dict)] if isinstance(added, list) else []
    check_added({i: None for i in ids if type(i) is int}, where)
    if isinstance(added, list) and len(added) > MAX_ADDED:
        raise ConfigError(f"{where}: {len(added):,} added tokens. Allowed: at most {MAX_ADDED:,}.")
    for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        for regex in _regexes(found.get(part)):
            if reason := why_slow(regex):
                raise ConfigError(f"{where}: the {part}'s regular expression {regex[:80]!r} {reason}.")


def _regexes(part: object) -> Iterator[str]:
    nodes = [part]
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict):
            if isinstance(regex := node.get("Regex"), str):
                yield regex
            nodes += node.values()
        elif isinstance(node, list):
            nodes += node


def why_slow(regex: str) -> str:
    """Return why matching a regular expression may take for ever; nothing if its time is bounded by a power of the text.

    A group that repeats what repeats itself, `(a+)+`, tries all ways to cut a text. Back references need such a search too.
    """
    if len(regex) > MAX_REGEX:
        return f"has {len(regex):,} characters; allowed are {MAX_REGEX:,}"
    repeats, closed = [False], False  # by open group: whether something in it repeats; whether a group has just ended
    inside = False  # whether something in the group that has just ended repeats
    for atom in _ATOM.findall(regex):
        if atom.startswith("("):
            repeats.append(False)
        elif atom == ")":
            inside = repeats.pop() if len(repeats) > 1 else False
            repeats[-1] = repeats[-1] or inside
            closed = True
            continue
        elif atom[0] in "*+{?" and _repeats(atom):
            if closed and inside:
                return "repeats a group in which something repeats, which may take for ever; allowed are flat ones"
            repeats[-1] = True
        elif re.fullmatch(r"\\[1-9k]", atom):
            return "refers back, which may take for ever; allowed are expressions without"
        closed = False
    return ""


def _repeats(quantifier: str) -> bool:
    """Return whether a quantifier allows many repetitions."""
    if quantifier in "*+":
        return True
    numbers = re.fullmatch(r"\{(\d*)(,?)(\d*)\}", quantifier)
    return numbers is not None and ((numbers[2] != "" and numbers[3] == "") or int(numbers[3] or numbers[1] or 0) > 10)
