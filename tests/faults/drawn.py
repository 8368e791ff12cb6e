"""Strategies that draw what files and words may say, and what is expected of every reader of them."""

import bz2
import gzip
import json
import lzma
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from faults import outcomes
from hypothesis import strategies as st

from roberta_lab.config import ANSWERED
from roberta_lab.config.formatting import visible

ODD = st.sampled_from(
    [
        "",
        "\0",
        "\x1b[2J",
        "\ufeff",
        "\u2028",
        "\u202e",
        "\r",
        '"',
        "'",
        "\\",
        "{",
        "[",
        "-1",
        "nan",
        "1e999",
        "9" * 30,
        "#",
        "_",
        "\x85",
    ]
)
TEXTS = st.one_of(st.text(max_size=12), ODD, st.sampled_from(["a", "text", "label", "train", "A"]))
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.integers(-3, 3), st.floats(), TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for one drawn input."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def expect_answer(read: Callable[[], object]) -> None:
    """Fail unless a reader returns, or refuses in one line that a terminal does not obey once it is shown."""
    with outcomes.watched():
        try:
            read()
        except ANSWERED as error:
            said = visible(str(error))
            assert "\n" not in said.strip() and len(said) < 20_000, said
            assert not any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in said.replace("\t", " ")), said


@st.composite
def changed(draw: st.DrawFn, wholes: st.SearchStrategy[bytes]) -> bytes:
    """Bytes of a kind, cut, doubled or replaced at places."""
    found = bytearray(draw(wholes))
    for _ in range(draw(st.integers(0, 3))):
        at, much = draw(st.integers(0, len(found))), draw(st.integers(0, 8))
        found[at : at + much] = draw(st.one_of(st.binary(max_size=6), ODD.map(lambda text: text.encode())))
    return bytes(found)


def lines_of(line: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    return st.lists(line, max_size=6).map(lambda found: "\n".join(found).encode("utf-8", "surrogatepass"))


def as_json(values: st.SearchStrategy[object]) -> st.SearchStrategy[str]:
    return values.map(json.dumps)


OBJECTS = st.fixed_dictionaries(
    {"text": TEXTS},
    optional={
        "label": SCALARS,
        "id": VALUES,
        "title": VALUES,
        "UID": VALUES,
        "sentence_good": TEXTS,
        "sentence_bad": TEXTS,
    },
)
JSON_LINES = lines_of(st.one_of(as_json(OBJECTS), as_json(VALUES)))
CELLS = st.lists(TEXTS, max_size=4)
CSV = st.builds(
    lambda head, rows: "\n".join(",".join(cells) for cells in [head, *rows]).encode("utf-8", "surrogatepass"),
    st.one_of(st.just(["text", "label"]), CELLS),
    st.lists(CELLS, max_size=5),
)
TSV = CSV.map(lambda found: found.replace(b",", b"\t"))
CONLL = lines_of(
    st.one_of(
        st.builds(
            "{} {}".format,
            st.sampled_from(["word", "-DOCSTART-", "#", "a\u00a0b"]),
            st.sampled_from(["O", "B-PER", "I-PER", "B", "X-", "E-LOC"]),
        ),
        TEXTS,
    )
)
WIKI = lines_of(
    st.one_of(
        st.sampled_from(['<doc id="1" url="u" title="T">', "T", "</doc>", "<doc id=", "a &amp; b", "&#99999999;"]),
        TEXTS,
    )
)
BOOK = lines_of(
    st.one_of(
        st.sampled_from(
            [
                "*** START OF THE PROJECT GUTENBERG EBOOK X ***",
                "*** START OF THIS PROJECT GUTENBERG",
                "Title: X",
                "Author: Y",
                "  more",
                "*END*THE SMALL PRINT!",
                "End of Project Gutenberg",
            ]
        ),
        TEXTS,
    )
)
PLAIN = lines_of(TEXTS)
SQUAD = as_json(
    st.fixed_dictionaries({"data": st.one_of(VALUES, st.lists(st.fixed_dictionaries({"paragraphs": st.one_of(VALUES, st.lists(st.fixed_dictionaries(
        {"context": st.one_of(VALUES, st.just("a b")), "qas": st.one_of(VALUES, st.lists(st.fixed_dictionaries(
            {"id": VALUES, "question": st.one_of(VALUES, st.just("q")), "answers": st.one_of(VALUES, st.lists(st.fixed_dictionaries({"text": st.one_of(VALUES, st.just("a")), "answer_start": st.one_of(VALUES, st.just(0))}), max_size=2))},
            optional={"is_impossible": VALUES}), max_size=2))}), max_size=2))}), max_size=2))})
).map(str.encode)  # fmt: skip
RACE = as_json(
    st.fixed_dictionaries(
        {
            "article": st.one_of(VALUES, st.just("a")),
            "questions": st.one_of(VALUES, st.just(["q _"])),
            "options": st.one_of(VALUES, st.just([["a", "b", "c", "d"]]), st.lists(VALUES, max_size=2)),
            "answers": st.one_of(VALUES, st.just(["A"])),
        }
    )
).map(str.encode)
PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}
