"""Sources of documents against slow references, files made by hand byte by byte, and real text where it is there."""

import bz2
import csv
import gzip
import hashlib
import io
import json
import lzma
import os
import random
import re
import sys
import textwrap
import tracemalloc
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from roberta_lab.config import ConfigError, SourceConfig
from roberta_lab.data.corpus.sources import files, kinds, rows, scanning, text
from roberta_lab.data.corpus.sources.text import Document

Counts = Counter[str]


def read(path: Path, kind: str, **keys: object) -> tuple[list[Document], Counts]:
    counts, source = Counts(), SourceConfig(kind=kind, path=str(path), **keys)  # type: ignore[arg-type]
    kinds.check(source)
    return list(kinds.documents(source, counts, "name", files.find(source))), counts


@pytest.fixture
def anything_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is refused for its encoding: for texts that are broken everywhere."""
    monkeypatch.setattr(text, "ALLOWED_UNDECODABLE", 1.0)


def read_bytes(folder: Path, content: bytes, kind: str = "text", **keys: object) -> tuple[list[Document], Counts]:
    path = folder / f"file.{kind if kind in ('jsonl', 'csv') else 'txt'}"
    path.write_bytes(content)
    return read(path, kind, **keys)


def paragraphs(found: list[Document]) -> list[list[str]]:
    return [document.paragraphs for document in found]


# ---------------------------------------------------------------- a slow reference
def slow_clean(raw: bytes) -> str:
    """The policy, character by character."""
    kept = []
    for character in raw.decode(errors="surrogateescape").replace("\r\n", "\n"):
        code = ord(character)
        if 0xD800 <= code < 0xE000:
            kept.append("\ufffd")
        elif character in "\r\v\f\x85\u2028\u2029":
            kept.append("\n")
        elif (code >= 32 and code not in (0x7F, 0xFEFF)) or character in "\n\t":
            kept.append(character)
    return "".join(kept)


def hostile(seed: int, size: int) -> bytes:
    """Words between everything that the policy names."""
    draw = random.Random(seed)
    odd = [
        b"\xff",
        b"\xe2\x82",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\x00",
        b"\x1b",
        b"\x7f",
        b"\xef\xbb\xbf",
        b"\r\n",
        b"\r",
    ]
    odd += [
        b"\n",
        b"\n\n",
        b"\xe2\x80\xa8",
        b"\xe2\x80\xa9",
        b"\xc2\x85",
        b"\xef\xbf\xbd",
        b"\x0c",
        b"\x0b",
        b"\t",
        b"   ",
    ]
    odd += ["né 力 😀 ".encode(), b"word " * 9, b"x" * 300]
    return b"".join(draw.choice([*odd, b"text ", b" and more"]) for _ in range(size))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("chunk", [1, 3, 64, 1 << 18])
def test_lines_equal_the_slow_reference_however_they_are_read(
    seed: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "_CHUNK", chunk)
    monkeypatch.setattr(text, "MAX_PARAGRAPH", 128)
    raw, counts = hostile(seed, 1200), Counter()
    whole: list[str] = []
    for line, continues in text.lines(io.BytesIO(raw), counts):
        assert len(line) <= 128
        if continues:
            whole[-1] += line
        else:
            whole.append(line)
    assert [line.strip() for line in whole if line.strip()] == [
        line.strip() for line in slow_clean(raw).split("\n") if line.strip()
    ]
    decoded = raw.decode(errors="surrogateescape")
    assert counts[text.INVALID] == sum(0xDC80 <= ord(character) < 0xDD00 for character in decoded) > 0
    assert counts["byte order marks removed"] == decoded.count("\ufeff") > 0
    assert counts["newlines normalised"] == len(re.findall("\r\n|[\r\v\f\x85\u2028\u2029]", decoded)) > 0
    assert counts["control characters removed"] == sum(c in "\x00\x1b\x7f" for c in decoded) > 0


def test_the_reference_notices_a_faulty_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_NEWLINES", ("\r", "\r\n"))  # CR before CRLF: a blank line after every line
    assert [line for line, _ in text.lines(io.BytesIO(b"a\r\nb"), Counter())] == ["a", "", "b"]


# ---------------------------------------------------------------- hostile text, case by case
@pytest.mark.parametrize(
    ("raw", "expected", "count"),
    [
        (b"caf\xe9 au lait", "caf\ufffd au lait", {text.INVALID: 1}),
        (b"cut \xe2\x82", "cut \ufffd\ufffd", {text.INVALID: 2}),
        (b"genuine \xef\xbf\xbd", "genuine \ufffd", {}),
        (b"a\x00b\x1bc\x7fd\te", "abcd\te", {"control characters removed": 3}),
        (b"\xef\xbb\xbfstart \xef\xbb\xbfmiddle", "start middle", {"byte order marks removed": 2}),
        (b"no newline", "no newline", {}),
        (b"c1 \xc2\x93 stays", "c1 \x93 stays", {}),
    ],
)
def test_one_case_of_the_policy(tmp_path: Path, raw: bytes, expected: str, count: dict[str, int]) -> None:
    found, counts = read_bytes(tmp_path, raw)
    assert paragraphs(found) == [[expected]]
    plain = {"files": 1, "documents": 1, "paragraphs": 1, "characters": len(expected)}
    assert counts == Counter({**plain, **count})


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r", "\u2028", "\u2029", "\x85", "\f"])
def test_newlines_of_all_kinds(tmp_path: Path, newline: str) -> None:
    found, counts = read_bytes(tmp_path, f"one{newline}two{newline}{newline}three".encode())
    assert paragraphs(found) == [["one", "two", "three"]]
    assert counts["newlines normalised"] == (0 if newline == "\n" else 3)


@pytest.mark.parametrize("raw", [b"", b" \n\t\n", b"\xef\xbb\xbf", b"\x00\x00\n"])
def test_documents_without_text_are_dropped(tmp_path: Path, raw: bytes) -> None:
    found, counts = read_bytes(tmp_path, raw)
    assert found == []
    assert counts["documents empty"] == 1


def test_surrogates_in_json_escapes(tmp_path: Path) -> None:
    raw = b'{"text": "lone \\ud800 end, pair \\ud83d\\ude00, nul \\u0000\x00, raw \xff byte"}'
    found, counts = read_bytes(tmp_path, raw, "jsonl")
    assert paragraphs(found) == [["lone \ufffd end, pair 😀, nul , raw \ufffd byte"]]
    assert (counts[text.LONE], counts[text.INVALID], counts["control characters removed"]) == (1, 1, 2)


@pytest.mark.parametrize("kind", ["text", "jsonl", "csv"])
def test_a_line_of_20_mb_in_bounded_memory(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_LINE", 1 << 20)
    monkeypatch.setattr(rows, "MAX_FIELD", 1 << 19)
    line = b"word and more " * (20_000_000 // 14)
    path = tmp_path / f"long.{kind}.gz"
    path.write_bytes(
        gzip.compress(
            {"jsonl": b'{"text": "%s"}\n{"text": "next"}', "csv": b'text\n"%s"\nnext'}.get(kind, b"%s") % line, 1
        )
    )
    size, longest, number = 0, 0, 0
    source, counts = SourceConfig(kind=kind, path=str(path)), Counter()
    tracemalloc.start()
    for document in kinds.documents(source, counts, "name", files.find(source)):
        size += sum(map(len, document.paragraphs))
        longest = max(longest, *map(len, document.paragraphs))
        number += 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16_000_000
    if kind == "text":
        assert (longest <= text.MAX_PARAGRAPH, counts["lines cut"], counts["documents cut"], number) == (True, 1, 1, 5)
        assert size == len(line) - counts["paragraphs"]  # a space at the end of each piece
    else:
        assert (size, counts["records malformed"]) == (4, 1)


@pytest.mark.parametrize("chunk", [1, 64])
def test_a_cut_line_is_neither_two_lines_nor_a_blank_one(
    tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "MAX_PARAGRAPH", 20)
    monkeypatch.setattr(text, "_CHUNK", chunk)
    found, counts = read_bytes(
        tmp_path, b"aaaa bbbb cccc dddd eeee\n" + b"x" * 20 + b"  \nz", document_separator="line"
    )
    assert paragraphs(found) == [["aaaa bbbb cccc dddd", "eeee"], ["x" * 20], ["z"]]
    assert counts["lines cut"] == 2
    found, _ = read_bytes(tmp_path, b"x" * 20 + b"  \nz", document_separator="blank_line")
    assert len(found) == 1


def test_long_documents_are_cut_between_paragraphs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "MAX_DOCUMENT", 10)
    raw = b'{"text": "aaaa\\nbbbb\\ncccc\\ndddd\\neeee"}\n{"text": "f"}'
    found, counts = read_bytes(tmp_path, raw, "jsonl")
    assert paragraphs(found) == [["aaaa", "bbbb"], ["cccc", "dddd"], ["eeee"], ["f"]]
    assert [d.id for d in found] == ["file.jsonl:0", "file.jsonl:0#2", "file.jsonl:0#3", "file.jsonl:1"]
    assert counts["documents cut"] == 1
    found, counts = read_bytes(tmp_path, raw, "jsonl", max_characters=9)
    assert paragraphs(found) == [["f"]]
    assert counts["documents too long"] == 1


def test_filters_count_and_leave_ids_alone(tmp_path: Path) -> None:
    raw = b"".join(b'{"text": "%s"}\n' % (b"x" * size) for size in (0, 3, 5, 9, 12))
    found, counts = read_bytes(tmp_path, raw, "jsonl", min_characters=5, max_characters=9)
    assert [document.id for document in found] == ["file.jsonl:2", "file.jsonl:3"]
    assert {k: v for k, v in counts.items() if k.startswith("documents")} == {
        "documents": 2,
        "documents empty": 1,
        "documents too short": 1,
        "documents too long": 1,
    }


# ---------------------------------------------------------------- plain text
@pytest.mark.parametrize("width", [50, 72, 100])
def test_wrapped_blocks_are_joined_and_only_those(tmp_path: Path, width: int) -> None:
    draw = random.Random(width)
    prose = [" ".join("w" * draw.randint(1, 12) for _ in range(draw.randint(40, 90))) for _ in range(30)]
    wrapped = "\n\n".join(textwrap.fill(paragraph, width) for paragraph in prose)
    assert paragraphs(read_bytes(tmp_path, wrapped.encode())[0]) == [prose]
    lines = ["A verse that is short,", "and this verse has a good many more words in it,", "then short again."]
    assert paragraphs(read_bytes(tmp_path, "\n".join(lines).encode())[0]) == [lines]
    assert paragraphs(read_bytes(tmp_path, "\n".join(prose).encode())[0]) == [prose]


def test_lines_that_end_with_a_dash_are_joined_without_a_space(tmp_path: Path) -> None:
    raw = "He was a well-\nknown man--\nand a dash —\nwith spaces -\nof a rock—\nhard kind."
    found, _ = read_bytes(tmp_path, raw.encode(), "gutenberg")
    assert paragraphs(found) == [["He was a well-known man--and a dash — with spaces - of a rock—hard kind."]]


@pytest.mark.parametrize(
    ("separator", "expected"),
    [
        (None, [["a", "b", "====", "c", "blank_line"]]),
        ("blank_line", [["a", "b"], ["====", "c"], ["blank_line"]]),
        ("line", [["a"], ["b"], ["===="], ["c"], ["blank_line"]]),
        ("====", [["a", "b"], ["c", "blank_line"]]),
    ],
)
def test_separators(tmp_path: Path, separator: str | None, expected: list[list[str]]) -> None:
    found, counts = read_bytes(tmp_path, b"\n\na\nb\n \n\n====\nc\n\nblank_line\n\n", document_separator=separator)
    assert paragraphs(found) == expected
    assert [d.id for d in found] == [f"file.txt:{n}" for n in range(len(expected))]
    assert counts["documents"] == len(expected)


# ---------------------------------------------------------------- files
@pytest.mark.usefixtures("anything_goes")
def test_folders_are_read_in_the_order_of_names_and_compressed_equals_plain(tmp_path: Path) -> None:
    pack: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
    for folder in ("plain", "packed"):
        (tmp_path / folder / "b" / "c").mkdir(parents=True)
    for number, name in enumerate(["z.txt", "b/2.txt", "b/c/1.txt", "a.txt", "b.txt", "B.txt"]):
        raw = hostile(number, 200)
        (tmp_path / "plain" / name).write_bytes(raw)
        ending = [*pack, ""][number % 4]
        halves = (raw[:100], raw[100:])  # two streams in one file, as `cat a.gz b.gz` makes them
        content = b"".join(map(pack[ending], halves)) if ending else raw
        (tmp_path / "packed" / f"{name}{ending}").write_bytes(content)
    (tmp_path / "plain" / "notes.md").write_text("not text")
    (tmp_path / "plain" / ".hidden.txt").write_text("not text")
    plain, packed = read(tmp_path / "plain", "text"), read(tmp_path / "packed", "text")
    assert plain == packed
    assert [d.id for d in plain[0]] == [f"{n}:0" for n in ("B.txt", "a.txt", "b.txt", "b/2.txt", "b/c/1.txt", "z.txt")]
    assert plain[0][3].package == "name" and plain[0][3].title == "2"
    assert read(tmp_path / "plain" / "*.txt", "text")[0] == [d for d in plain[0] if "/" not in d.id]
    assert read(tmp_path / "plain" / "**" / "*.txt", "text") == plain


@pytest.mark.usefixtures("anything_goes")
def test_zstd_equals_plain_and_a_cut_file_is_noticed(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    raw = hostile(1, 3000)
    (tmp_path / "plain.txt").write_bytes(raw)
    packed = (
        zstandard.compress(raw[:1000])
        + zstandard.ZstdCompressor().compressobj().compress(b"")
        + zstandard.compress(raw[1000:])
    )
    (tmp_path / "packed.txt.zst").write_bytes(packed)
    plain, found = read(tmp_path / "plain.txt", "text"), read(tmp_path / "packed.txt.zst", "text")
    assert (paragraphs(found[0]), found[1]) == (paragraphs(plain[0]), plain[1])
    for broken in (packed[:-30], b"no zstd", packed + b"rest"):
        (tmp_path / "packed.txt.zst").write_bytes(broken)
        with pytest.raises(ConfigError, match=r"packed\.txt\.zst cannot be read"):
            read(tmp_path / "packed.txt.zst", "text")


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz"])
def test_broken_compression_is_an_error_that_names_the_file(tmp_path: Path, ending: str) -> None:
    pack = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}[ending]
    path = tmp_path / f"file.txt{ending}"
    for broken in (pack(os.urandom(5000))[:-50], b"plain text"):
        path.write_bytes(broken)
        with pytest.raises(ConfigError, match="cannot be read"):
            read(path, "text")


@pytest.mark.parametrize(
    ("package", "kind", "name"), [("zstandard", "text", "f.txt.zst"), ("pyarrow", "parquet", "f.parquet")]
)
def test_missing_packages_are_named(
    tmp_path: Path, package: str, kind: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [package, *(m for m in sys.modules if m.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ConfigError, match=rf"needs the package {package}: pip install 'roberta_lab\[data\]'"):
        read(tmp_path, kind)


def test_mistakes_in_the_config(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("x")
    (tmp_path / "b.txt").write_text("x")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"x"))
    for path, kind, keys, message in (
        (tmp_path / "c" / "d", "text", {}, r"c/d does not exist\. .* holds: a\.md, b\.txt, b\.txt\.gz\."),
        (tmp_path / "*.jsonl", "jsonl", {}, r"no files that match \*\.jsonl\. .* holds: a\.md"),
        (tmp_path, "csv", {}, r"no \.csv file \(plain or \.gz.* holds: a\.md"),
        (tmp_path, "text", {}, r"hold the same file twice"),
        (tmp_path, "text", {"id_field": "id"}, r"id_field is read by sources of kind jsonl"),
        (tmp_path, "jsonl", {"document_separator": "line"}, r"document_separator is read by"),
        (tmp_path, "text", {"max_characters": 1 << 23}, r"allowed are 1 to 4194304"),
        (tmp_path, "wikiextractor", {"id_field": "idd"}, r"allowed are id, revid, url, title"),
    ):
        with pytest.raises(ConfigError, match=message):
            read(path, kind, **keys)


def test_home_links_and_names_that_are_not_utf8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data" / "sub").mkdir(parents=True)
    (tmp_path / "data" / "sub" / "loop").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "alias").symlink_to(tmp_path / "data" / "sub")
    (tmp_path / "data" / "sub" / "y.txt").write_text("y")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/data/\xff.txt")).write_text("x")
    found, _ = read(Path("~/data"), "text")
    assert [d.id for d in found] == ["alias/y.txt:0", "\ufffd.txt:0"]


# ---------------------------------------------------------------- records
def test_json_lines_against_a_plain_loop(tmp_path: Path) -> None:
    draw = random.Random(3)
    records = [
        {"id": n, "title": f"T {n}", "text": slow_clean(hostile(n, draw.randint(0, 30))), "x": [1]} for n in range(50)
    ]
    raw = "\n".join(json.dumps(record, ensure_ascii=bool(n % 2)) for n, record in enumerate(records))
    found, counts = read_bytes(tmp_path, raw.encode(), "jsonl", id_field="id", title_field="title")
    expected = [
        Document(
            str(r["id"]), r["title"], "name", [p.strip() for p in r["text"].split("\n") if p.strip()], str(r["id"])
        )
        for r in records
    ]
    assert found == [d for d in expected if d.paragraphs]
    assert counts["documents"] + counts["documents empty"] == 50
    found, _ = read_bytes(tmp_path, raw.encode(), "jsonl")
    assert len({d.id for d in found}) == len(found)


def test_malformed_records_are_counted_up_to_a_share(tmp_path: Path) -> None:
    bad = [b"{", b"[1]", b"null", b'{"other": 1}', b'{"text": 5}', b"[" * 100_000, b'{"text": "cut', b"1" * 5000]
    good = [b'{"text": "line"}', b'{"text": null}', b"", b"\r"]
    found, counts = read_bytes(tmp_path, b"\n".join([*good, *bad, b'\xef\xbb\xbf{"text": "BOM"}', *good]), "jsonl")
    assert [d.id for d in found] == ["file.jsonl:0", "file.jsonl:12", "file.jsonl:13"], (
        "files are concatenated with a mark"
    )
    assert (counts["records malformed"], counts["documents empty"]) == (8, 2)
    with pytest.raises(ConfigError, match=r"file\.jsonl: 11 of the first 12 .* record 2: not JSON \(Expecting"):
        read_bytes(tmp_path, b"\n".join([good[0], *[b"x"] * 1000]), "jsonl")
    with pytest.raises(ConfigError, match=r"1 of the first 1 records .* a JSON list, not an object"):
        read_bytes(tmp_path, b'[{"text": "x"}]', "jsonl")
    found, counts = read_bytes(tmp_path, b"\n".join([good[0]] * 3000 + [b"x"] * 40), "jsonl")
    assert (len(found), counts["records malformed"]) == (3000, 40)


def test_fields_that_are_not_there(tmp_path: Path) -> None:
    raw = b'{"body": "x", "name": "y"}\n'
    for keys in ({}, {"text_field": "body", "id_field": "id"}, {"text_field": "body", "title_field": "title"}):
        with pytest.raises(ConfigError, match=r"file\.jsonl has no field '(text|id|title)'\. It has: body, name\."):
            read_bytes(tmp_path, raw, "jsonl", **keys)
    found, counts = read_bytes(tmp_path, raw + b'{"body": "z"}', "jsonl", text_field="body", id_field="name")
    assert [(d.id, d.paragraphs) for d in found] == [("y", ["x"]), ("file.jsonl:1", ["z"])]
    assert counts["records without id"] == 1


def test_csv_against_the_writer(tmp_path: Path) -> None:
    texts = ['say "hi", he said', "two\nparagraphs\r\nthree", "x" * 200_000, "né 力 \u2028 next", "plain"]
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerows([["text", "id"], *([body, n] for n, body in enumerate(texts))])
    raw = b"\xef\xbb\xbf" + written.getvalue().encode() + b'a\x00b\xff,5\r\n"torn"quote,6\r\nonly one\r\n'
    found, counts = read_bytes(tmp_path, raw, "csv", id_field="id")
    expected = [[p.strip() for p in slow_clean(body.encode()).split("\n")] for body in texts] + [["ab\ufffd"]]
    expected[2] = ["x" * 65536, "x" * 65536, "x" * 65536, "x" * (200_000 - 3 * 65536)]
    assert paragraphs(found) == expected
    assert [d.id for d in found] == list("012345")
    assert (counts["records malformed"], counts[text.INVALID], counts["byte order marks removed"]) == (2, 1, 1)
    with pytest.raises(ConfigError, match="has no field 'text'"):
        read_bytes(tmp_path, b"a,b\n1,2\n", "csv")
    assert read_bytes(tmp_path, b"text\rold\rmac\r", "csv")[0][1].paragraphs == ["mac"]
    assert read_bytes(tmp_path, b"", "csv")[0] == []


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    texts = [f"paragraph {n}\nanother" for n in range(150)]
    broken = pyarrow.array([b"caf\xe9"] + [t.encode() for t in texts[1:]]).cast(pyarrow.binary())
    columns = {
        "text": pyarrow.Array.from_buffers(pyarrow.string(), 150, broken.buffers()),
        "coded": pyarrow.array(texts).dictionary_encode(),
        "large": pyarrow.array(texts, pyarrow.large_string()),
        "n": pyarrow.array(range(150)),
        "missing": pyarrow.array([None] * 150, pyarrow.string()),
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet", row_group_size=40)
    found, counts = read(tmp_path, "parquet", id_field="n", title_field="n")
    assert paragraphs(found) == [["caf\ufffd"], *(t.split("\n") for t in texts[1:])]
    assert [(d.id, d.title) for d in found] == [(str(n), str(n)) for n in range(150)]
    assert counts[text.INVALID] == 1
    for name in ("coded", "large"):
        assert paragraphs(read(tmp_path, "parquet", text_field=name)[0]) == [t.split("\n") for t in texts]
    assert read(tmp_path, "parquet", text_field="missing")[1]["documents empty"] == 150
    with pytest.raises(ConfigError, match="field 'n' holds int, not text"):
        read(tmp_path, "parquet", text_field="n")
    with pytest.raises(ConfigError, match=r"has no field 'body'\. It has: text, coded"):
        read(tmp_path, "parquet", text_field="body")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no PAR1")
    with pytest.raises(ConfigError, match=r"a\.parquet cannot be read"):
        read(tmp_path, "parquet")


# ---------------------------------------------------------------- Gutenberg
BODY = "CHAPTER I\r\n\r\nIt was a dark\r\nand stormy night.\r\n\r\n       *       *       *\r\n\r\nProduced by nobody.\r\n\r\nThe end of it.\r\n\r\n"
FIELDS = "The Project Gutenberg EBook of Dark, by A. Writer\r\n\r\nTitle: Dark Nights\r\n       And Stormy\r\n\r\nAuthor: A. Writer\r\n\r\n"
START = "*** START OF THE PROJECT GUTENBERG EBOOK DARK NIGHTS ***\r\n\r\n"
SMALL_PRINT = "***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN ETEXTS**START***\r\nWhy is this here?\r\n*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\r\n\r\n"
MORE = "\r\nUpdated editions replace the previous one.\r\n"


@pytest.mark.parametrize(
    ("header", "footer"),
    [
        (FIELDS + START, "*** END OF THE PROJECT GUTENBERG EBOOK DARK NIGHTS ***"),
        (FIELDS + START.replace("THE", "THIS", 1) + "Produced by Some One and\r\nthe team\r\n\r\n", "***END OF THIS PROJECT GUTENBERG EBOOK DARK***"),
        (FIELDS + START.replace("*** ", "***", 1).replace("NIGHTS", "NIGHTS,\r\nAND STORMY"), "End of Project Gutenberg's Dark Nights, by A. Writer"),
        (FIELDS + SMALL_PRINT, "End of the Project Gutenberg Etext of Dark Nights"),
        (FIELDS + SMALL_PRINT.replace("*END*THE", "*END THE"), "This is the end of Project Gutenberg Etext"),
        (FIELDS + SMALL_PRINT + START, "End of The Project Gutenberg EBook of Dark\r\n\r\n*** END OF"),
        (FIELDS + START.replace("THE", "THE COPYRIGHTED", 1), "[End of this Project Gutenberg Etext]"),
        (FIELDS + START + "E-text prepared by X\r\n\r\nTranscribed from the 1890 edition by Y\r\n\r\n", "*** END OF PROJECT GUTENBERG EBOOK"),
    ],
)  # fmt: skip
def test_gutenberg_markers(tmp_path: Path, header: str, footer: str) -> None:
    found, counts = read_bytes(tmp_path, (header + BODY + footer + MORE).encode("utf-8-sig"), "gutenberg")
    assert paragraphs(found) == [
        ["CHAPTER I", "It was a dark and stormy night.", "Produced by nobody.", "The end of it."]
    ]
    assert found[0].title == "Dark Nights And Stormy, by A. Writer"
    assert not [name for name in counts if "licence" in name]


def test_gutenberg_without_markers(tmp_path: Path) -> None:
    found, counts = read_bytes(tmp_path, BODY.encode(), "gutenberg")
    assert found[0].title == "file" and found[0].paragraphs[-1] == "The end of it."
    assert counts["books without a licence header"] == 1
    first = "The Project Gutenberg Etext of Emma, by Jane Austen\r\n\r\n" + START + BODY
    found, counts = read_bytes(tmp_path, first.encode(), "gutenberg")
    assert found[0].title == "Emma, by Jane Austen"
    assert counts["books without a licence footer"] == 1


# ---------------------------------------------------------------- WikiExtractor
def test_wikiextractor_plain_and_json_say_the_same(tmp_path: Path) -> None:
    plain = (
        '<doc id="12" url="https://x/?curid=12" title="A &amp; "B"">\nA &amp; "B"\n\nFirst &lt;b&gt; AT&T &copy=1 here.\nSecond&nbsp;one.\n\n</doc>\n'
        '<doc id="13" revid="9" url="u" title="Empty">\nEmpty\n\n</doc>\n\n'
        '<doc id="14" url="u" title="Same">\nSame as before.\n</doc>'
    )
    articles = [
        {"id": "12", "url": "u", "title": 'A &amp; "B"', "text": 'A &amp; "B"\n\nFirst &lt;b&gt; AT&T &copy=1 here.\nSecond&nbsp;one.'},
        {"id": "13", "revid": "9", "url": "u", "title": "Empty", "text": "Empty\n\n"},
        {"id": "14", "url": "u", "title": "Same", "text": "Same as before."},
    ]  # fmt: skip
    (tmp_path / "plain" / "AA").mkdir(parents=True)
    (tmp_path / "json" / "AA").mkdir(parents=True)
    (tmp_path / "plain" / "AA" / "wiki_00").write_text(plain)
    (tmp_path / "json" / "AA" / "wiki_00.bz2").write_bytes(bz2.compress("\n".join(map(json.dumps, articles)).encode()))
    first, counts = read(tmp_path / "plain", "wikiextractor")
    assert paragraphs(first) == [["First <b> AT&T &copy=1 here.", "Second\xa0one."], ["Same as before."]]
    assert [(d.id, d.title) for d in first] == [("AA/wiki_00:0", 'A & "B"'), ("AA/wiki_00:2", "Same")]
    assert counts["documents empty"] == 1
    assert read(tmp_path / "json", "wikiextractor") == (first, counts)
    for folder in ("plain", "json"):
        assert [d.id for d in read(tmp_path / folder, "wikiextractor", id_field="id")[0]] == ["12", "14"]


def test_wikiextractor_that_is_torn(tmp_path: Path) -> None:
    raw = b'stray\n<doc id="1" url="u" title="A">\nA\n\nfirst\n<doc id="2" url="u" title="B">\nB\n\nsecond &#0; &#8232; end'
    found, counts = read_bytes(tmp_path, raw, "wikiextractor", id_field="id")
    assert [(d.id, d.paragraphs) for d in found] == [("1", ["first"]), ("2", ["second \ufffd   end"])]
    assert (counts["articles without an end"], counts["lines outside of articles dropped"]) == (2, 1)
    with pytest.raises(ConfigError, match="holds no line <doc"):
        read_bytes(tmp_path, b"plain text", "wikiextractor")


# ---------------------------------------------------------------- all kinds
@pytest.mark.parametrize("seed", range(40))
@pytest.mark.usefixtures("anything_goes")
def test_no_kind_crashes_and_what_comes_out_is_clean(tmp_path: Path, seed: int) -> None:
    noise = hostile(seed, 400)
    draw = random.Random(seed)
    marks = [b"\n<doc id=\"1\" title=\"x\">\n", b"\n</doc>\n", b'\n{"text": "', b'"}\n', b'"', b",", b"text\n", b"\n*** START OF THE PROJECT GUTENBERG\n", b"&#xd800;&lt;\n"]  # fmt: skip
    for _ in range(40):
        at = draw.randrange(len(noise))
        noise = noise[:at] + draw.choice(marks) + noise[at:]
    for kind, start in (("text", b""), ("gutenberg", b""), ("wikiextractor", b'<doc id="0">\n'), ("wikiextractor", b"{"), ("jsonl", b""), ("csv", b"text\n")):  # fmt: skip
        for separator in (None, "line", "blank_line") if kind == "text" else (None,):
            try:
                found, counts = read_bytes(tmp_path, start + noise, kind, document_separator=separator)
            except ConfigError as error:
                assert "are malformed" in str(error) or "has no field" in str(error)
                continue
            assert len({document.id for document in found}) == len(found) == counts["documents"]
            for paragraph in (p for document in found for p in [*document.paragraphs, document.title or "x"]):
                paragraph.encode()
                assert paragraph.strip() == paragraph != ""
                assert not re.search("[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029\ufeff]", paragraph)
            again, same = read_bytes(tmp_path, start + noise, kind, document_separator=separator)
            assert (again, same) == (found, counts)


# ---------------------------------------------------------------- identity
def test_fingerprint_reads_a_file_once_and_says_what_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan_file, scanned = scanning._scan_file, list[str]()
    monkeypatch.setattr(scanning, "_scan_file", lambda path, count: scanned.append(path.name) or scan_file(path, count))

    def at(folder: str, **keys: object) -> tuple[Mapping[str, object], list[str]]:
        scanned.clear()
        source = SourceConfig(kind="text", path=str(tmp_path / folder), licence=folder, **keys)  # type: ignore[arg-type]
        return scanning.scan(source, tmp_path / "cache").fingerprint, list(scanned)

    for folder in ("one", "two"):
        (tmp_path / folder / "b").mkdir(parents=True)
        for name in ("a.txt", "b/c.txt"):
            (tmp_path / folder / name).write_text(name)
            os.utime(tmp_path / folder / name, (1e9, 1e9))
    first, read = at("one")

    sha256 = hashlib.sha256(b"b/c.txt").hexdigest()
    assert first["files"]["b/c.txt"] == {"bytes": 7, "sha256": sha256}  # type: ignore[index]
    assert read == ["a.txt", "c.txt"]
    assert at("one") == (first, [])
    assert at("two")[0] == first, "not where it lies"
    assert at("one", min_characters=5)[0] != first, "how it is read"
    (tmp_path / "one" / "a.txt").write_text("A.txt")
    changed, read = at("one")
    assert changed != first and read == ["a.txt"]
    assert at("one")[1] == ["a.txt"], "a file as young as this is not trusted"
    (tmp_path / "cache" / "file_scans.json").write_text("torn {")
    assert at("one")[0] == changed


# ---------------------------------------------------------------- real text
SHARED = Path(os.environ.get("ROBERTA_LAB_SHARED", Path(__file__).parents[3] / "shared")) / "data" / "raw"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real text of the workshop is not here")
def test_real_text(tmp_path: Path) -> None:
    pytest.importorskip("zstandard")
    found, counts = read(SHARED / "wiki_57.zst", "wikiextractor", id_field="id")
    assert (len(found), found[0].title, counts["articles without an end"]) == (39, "Eve Russell", 0)
    found, counts = read(SHARED / "Eliot_Daniel_1876.txt.zst", "gutenberg")
    assert counts["byte order marks removed"] == 1 and counts["newlines normalised"] > 9000
    assert found[0].paragraphs[:2] == ["DANIEL DERONDA", "By George Eliot"]
