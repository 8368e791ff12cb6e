"""Read the output of WikiExtractor: `<doc id="" url="" title=""> ... </doc>`, or with `--json` one object a line.

The first line of an article repeats its title and is cut; HTML entities are unescaped once (`--html-safe` escapes them);
every other line is a paragraph.
"""

import html
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from roberta_lab.data.corpus.sources import text

FIELDS = ("id", "revid", "url", "title")
OUTSIDE = "lines outside of articles dropped"
_OPEN = re.compile(r"\s*<doc\s(.*)>\s*$")
_ATTRIBUTE = re.compile(r'\b(id|revid|url)="([^"]*)"')
_TITLE = re.compile(r'\btitle="(.*)"')  # greedy: old versions did not escape quotes in titles
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")


def articles(lines: Iterator[tuple[str, bool]], counts: Counter[str]) -> Iterator[tuple[dict[str, str], Iterator[str]]]:
    """Yield (those of FIELDS that it has, paragraphs) of each article in the plain format; read all before the next.

    Lines outside of articles are counted and dropped.
    """
    pending: list[str] = []  # the line that opens the next article, if the one before had no end
    while opening := pending.pop() if pending else next(_openings(lines, counts), None):
        fields = _attributes(opening, counts)
        yield fields, _without_title(_inside(lines, pending, counts), fields.get("title", ""), counts)


def unescape(line: str, counts: Counter[str]) -> str:
    """Replace entities that end with a semicolon, as WikiExtractor writes them: `AT&T` and `&copy=1` stay."""
    if "&" not in line:
        return line
    return text.clean(_ENTITY.sub(lambda entity: html.unescape(entity[0]), line), counts).replace("\n", " ")


def paragraphs_of(body: str, title: str, counts: Counter[str]) -> Iterator[str]:
    """Yield the paragraphs in the `text` of an object of the `--json` format."""
    return _without_title(text.paragraphs_of(body, counts), title, counts)


def _openings(lines: Iterator[tuple[str, bool]], counts: Counter[str]) -> Iterator[str]:
    for line, _ in lines:
        if _OPEN.match(line):
            yield line
        elif line.strip():
            counts[OUTSIDE] += 1


def _inside(lines: Iterator[tuple[str, bool]], pending: list[str], counts: Counter[str]) -> Iterator[str]:
    for line, _ in lines:
        if "doc" in line:
            if line.strip() == "</doc>":
                return
            if line.startswith("<doc id=") and _OPEN.match(line):
                pending.append(line)
                break
        yield line
    counts["articles without an end"] += 1


def _attributes(opening: str, counts: Counter[str]) -> dict[str, str]:
    found = _OPEN.match(opening)
    assert found is not None, opening
    title = _TITLE.search(found[1])
    before_title = found[1][: title.start()] if title else found[1]
    fields = {name: unescape(value, counts) for name, value in _ATTRIBUTE.findall(before_title)}
    return {**fields, "title": unescape(title[1], counts).strip()} if title else fields


def _without_title(paragraphs: Iterable[str], title: str, counts: Counter[str]) -> Iterator[str]:
    is_first = True
    for line in paragraphs:
        if paragraph := unescape(line, counts).strip():
            if not (is_first and paragraph == title):
                yield paragraph
            is_first = False
