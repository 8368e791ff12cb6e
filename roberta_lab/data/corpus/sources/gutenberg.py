"""Read books of Project Gutenberg: cut the licence at both ends, read title and author, join wrapped lines.

`*** START OF THE (THIS) PROJECT GUTENBERG EBOOK ...`, also over two lines, or before 2002 `*END*THE SMALL PRINT! ...` ends
the header; `*** END OF ...`, `End of (the) Project Gutenberg ...` or `This is the end of ...` opens the footer. A book
without markers is kept whole.
"""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain, takewhile

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
_FIELD = re.compile(r"\s*(Title|Author):\s*(\S.*)", re.IGNORECASE)
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
    start: int | None = None
    for line in lines:
        head.append(line)
        if _names_gutenberg(line) or "SMALL PRINT" in line:
            if _START.match(line):
                start = len(head)
            elif _END.match(line):
                break
        if len(head) >= _HEADER_LINES:
            break
    if start is None:
        counts["books without a licence header"] += 1
    title, author = _names(head[:start] if start is not None else head[:40])
    body = chain(_after_marker(head, start), lines)
    return title, author, _paragraphs(_before_end(body, start is not None, counts), counts)


def _names_gutenberg(line: str) -> bool:
    return "utenberg" in line or "GUTENBERG" in line


def _after_marker(head: list[str], start: int | None) -> list[str]:
    """Return the lines below the marker. A marker that opens with stars goes on to the line that closes with stars."""
    if start is None:
        return head
    marker = head[start - 1].strip()
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
    found = {"title": "", "author": ""}
    for number, line in enumerate(head):
        field = _FIELD.match(line)
        if field and not found[field[1].lower()]:
            value = [field[2]]
            for following in head[number + 1 :]:
                if not following.strip() or not following[0].isspace() or _FIELD.match(following):
                    break
                value.append(following)
            found[field[1].lower()] = " ".join(" ".join(value).split())
    if not found["title"]:
        first = next((match for line in head[:10] if (match := _FIRST_LINE.match(line))), None)
        if first:
            return first[1].strip(), found["author"] or (first[2] or "").strip()
    return found["title"], found["author"]
