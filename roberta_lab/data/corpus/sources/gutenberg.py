"""Read books of Project Gutenberg: cut the licence at both ends, read title and author, join wrapped lines.

`*** START OF THE (THIS) PROJECT GUTENBERG EBOOK ...`, also over two lines, or before 2002 `*END*THE SMALL PRINT! ...` ends
the header; `*** END OF ...`, `End of (the) Project Gutenberg ...` or `This is the end of ...` opens the footer. A book
without markers is kept whole.
"""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice, takewhile

from roberta_lab.data.corpus.sources import text

_HEADER_LINES = 1000  # the longest small print has about 400
_START = re.compile(
    r"\W*START OF (?:(?:THE|THIS) )?(?:COPYRIGHTED )?PROJECT GUTENBERG|\W*Beginning of this Project Gutenberg"
    r"|\s*\*\s*END\s?\*?\s?THE SMALL PRINT|\s*\*?SMALL PRINT!.*\*END\*",
    re.IGNORECASE,
)
_END = re.compile(
    r"\W*(?:this is |here ends )?(?:the )?END OF (?:(?:THE|THIS) )?(?:COPYRIGHTED )?PROJECT GUTENBERG", re.IGNORECASE
)
_FIELD = re.compile(  # a name and its value, which goes on in indented lines
    r"^[^\S\n]*(Title|Author):[^\S\n]*(\S.*(?:\n(?![^\S\n]*(?:Title|Author):[^\S\n]*\S)[^\S\n]+\S.*)*)",
    re.IGNORECASE | re.MULTILINE,
)
_FIRST_LINE = re.compile(
    r"\W*(?:The )?Project Gutenberg(?:'s)?(?: (?:Etext|EBook))? of (.+?)(?:,? by (.+?))?\W*$", re.IGNORECASE
)
_CREDIT = re.compile(
    r"(?:Produced|(?:This )?(?:e-?text|e-?book)(?: was)? (?:prepared|produced|scanned)|Transcribed (?:from|by)|Scanned|Proofread)\b",
    re.IGNORECASE,
)


def read_book(lines: Iterator[str], counts: Counter[str]) -> tuple[str, str, Iterator[str]]:
    """Return title and author, empty if no header names them, and the paragraphs of a file, which are read when needed."""
    head: list[str] = []
    start = 0  # number of lines up to the marker; 0 without one
    for line in islice(lines, _HEADER_LINES):
        head.append(line)
        if _names_gutenberg(line) or "SMALL PRINT" in line:
            if _START.match(line):
                start = len(head)
            elif _END.match(line):
                break
    if not start:
        counts["books without a licence header"] += 1
    title, author = _names(head[: start or 40])
    body = chain(_after_marker(head, start), lines)
    return title, author, _paragraphs(_before_end(body, start > 0, counts), counts)


def _names_gutenberg(line: str) -> bool:
    return "utenberg" in line or "GUTENBERG" in line


def _after_marker(head: list[str], start: int) -> list[str]:
    """Return the lines below the marker. A marker that opens with stars goes on to the line that closes with stars."""
    marker = head[start - 1].strip() if start else ""
    if marker.startswith("**") and not marker.endswith("*"):
        following = list(takewhile(str.strip, head[start : start + 4]))
        start += next((number for number, line in enumerate(following, 1) if line.rstrip().endswith("***")), 0)
    return head[start:]


def _before_end(lines: Iterator[str], has_header: bool, counts: Counter[str]) -> Iterator[str]:
    for line in lines:
        if _names_gutenberg(line) and _END.match(line):
            return
        yield line
    if has_header:
        counts["books without a licence footer"] += 1


def _paragraphs(lines: Iterator[str], counts: Counter[str]) -> Iterator[str]:
    """Yield blocks as paragraphs, without the credits that open a book and without rows of stars."""
    at_start = True
    for paragraph in text.blocks(lines, join_all=True, counts=counts):
        if not any(map(str.isalnum, paragraph)) or (at_start and _CREDIT.match(paragraph)):
            continue
        at_start = False
        yield paragraph


def _names(head: list[str]) -> tuple[str, str]:
    """Return title and author from the fields of the header, which may have more indented lines, or from its first line."""
    fields = {name.lower(): " ".join(value.split()) for name, value in reversed(_FIELD.findall("\n".join(head)))}
    title, author = fields.get("title", ""), fields.get("author", "")
    if not title and (first := next(filter(None, map(_FIRST_LINE.match, head[:10])), None)):
        return first[1].strip(), author or (first[2] or "").strip()
    return title, author
