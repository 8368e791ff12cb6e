"""Text that is not plain UTF-8, names that are there twice, and the shapes in which others keep JSON lines."""

import bz2
import codecs
import gzip
import json
import lzma
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from roberta_lab.config import ConfigError, SourceConfig
from roberta_lab.data.corpus.sources import files, kinds, scanning, text

RUSSIAN = "".join(
    f"Документ {n} про город. Зимой он пуст, 𝄞 и письмо шло долго. {'И дальше. ' * 6}\n" for n in range(60)
)
RUSSIAN = RUSSIAN.replace(" \n", "\n")


def paragraphs(path: Path, kind: str = "text", **keys: object) -> tuple[list[str], Counter[str]]:
    source, counts = SourceConfig(kind=kind, path=str(path), **keys), Counter[str]()  # type: ignore[arg-type]
    found = kinds.documents(source, counts, "name", files.find(source))
    return [paragraph for document in found for paragraph in document.paragraphs], counts


def as_kind(kind: str) -> str:
    """The Russian lines as a file of a kind, a document a line."""
    lines = RUSSIAN.splitlines()
    if kind == "jsonl":
        return "".join(json.dumps({"text": line}, ensure_ascii=False) + "\n" for line in lines)
    return RUSSIAN if kind == "text" else "text\n" + "".join(f'"{line}"\n' for line in lines)


@pytest.mark.parametrize("kind", ["text", "jsonl", "csv"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-32-be"])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_byte_order_mark_is_honoured(tmp_path: Path, kind: str, encoding: str, ending: str) -> None:
    mark = {"utf-16-be": codecs.BOM_UTF16_BE, "utf-32-be": codecs.BOM_UTF32_BE}.get(encoding, b"")
    raw = mark + as_kind(kind).encode(encoding)
    path = tmp_path / f"a.{kind}{ending}"
    path.write_bytes(gzip.compress(raw) if ending else raw)
    found, counts = paragraphs(path, kind)
    assert found == RUSSIAN.splitlines()
    assert counts[text.INVALID] == counts["control characters removed"] == 0


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_file_of_nothing_has_no_documents_and_padding_is_no_text(tmp_path: Path, pack: Any) -> None:
    """An empty shard of an export; tapes and some tools pad with NULs, and members may be empty too."""
    ending = {gzip.compress: ".gz", bz2.compress: ".bz2", lzma.compress: ".xz"}[pack]
    path = tmp_path / f"a.txt{ending}"
    for content, expected in (
        (pack(b""), []),
        (pack(b"One.\n") + b"\0" * 100_000, ["One."]),
        (pack(b"") + pack(b"One.\n") + pack(b""), ["One."]),
        (pack(b"One.\n") + b"\0" * 512 + pack(b"Two.\n"), ["One.", "Two."]),
    ):
        path.write_bytes(content)
        assert " ".join(paragraphs(path)[0]).split() == expected
    path.write_bytes(pack(b"One.\n" * 100)[:-9])
    with pytest.raises(ConfigError, match="ends within a compressed stream"):
        paragraphs(path)


@pytest.mark.parametrize("cut", [1, 3])
def test_a_utf_16_file_that_is_cut_off_has_one_replacement(tmp_path: Path, cut: int) -> None:
    (tmp_path / "a.txt").write_bytes((RUSSIAN + "𝄞").encode("utf-16")[:-cut])
    found, counts = paragraphs(tmp_path)
    assert found[:-1] == RUSSIAN.splitlines() and set(found[-1]) == {"\ufffd"} and counts[text.INVALID] > 0


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r", "utf-16-le", "utf-16-be", "shift_jis"])
@pytest.mark.parametrize("kind", ["text", "jsonl", "csv"])
def test_text_in_another_encoding_is_refused_with_file_and_count(tmp_path: Path, encoding: str, kind: str) -> None:
    """UTF-16 without its mark is told by its NULs."""
    (tmp_path / f"a.{kind}").write_bytes(as_kind(kind).replace("𝄞 ", "").encode(encoding))
    is_torn = kind != "text" and encoding in ("utf-16-le", "utf-16-be")
    said = "are malformed" if is_torn else r"[\d,]+ of [\d,]+ characters are not UTF-8; allowed are 0\.1%, or 10\."
    with pytest.raises(ConfigError, match=rf"a\.{kind}: .*{said}"):
        paragraphs(tmp_path / f"a.{kind}", kind)


def test_the_share_is_that_of_the_file(tmp_path: Path) -> None:
    """1 of 1,000 characters is allowed and counted, one more is not; a short file may have 10."""
    line = "x" * 99 + "\n"
    good, bad = [line.encode()] * 199, line.replace("x", "\xff", 20).encode("latin-1")
    (tmp_path / "a.txt").write_bytes(b"".join([*good, bad]))
    assert paragraphs(tmp_path)[1][text.INVALID] == 20
    (tmp_path / "a.txt").write_bytes(b"".join([*good, bad.replace(b"x", b"\xff", 1)]))
    with pytest.raises(ConfigError, match=r"21 of 20,000 characters"):
        paragraphs(tmp_path)
    (tmp_path / "a.txt").write_bytes(b"caf\xe9 " * 10)
    assert paragraphs(tmp_path)[1][text.INVALID] == 10
    (tmp_path / "a.txt").write_bytes(b"caf\xe9 " * 11)
    with pytest.raises(ConfigError, match=r"11 of 55 characters"):
        paragraphs(tmp_path)


def test_a_good_file_does_not_hide_a_bad_one_nor_many_small_ones_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("good text\n" * 10_000)
    (tmp_path / "b.txt").write_text("Müßiggang für alle. " * 20, encoding="latin-1")
    with pytest.raises(ConfigError, match=r"b\.txt: 60 of 400 characters"):
        paragraphs(tmp_path)
    (tmp_path / "a.txt").unlink()
    (tmp_path / "b.txt").unlink()
    for number in range(9):
        (tmp_path / f"{number}.txt").write_text("Zwölf Bücher", encoding="latin-1")
    with pytest.raises(ConfigError, match=r"0\.txt and other files: 18 of 108 characters"):
        paragraphs(tmp_path)


def test_a_large_file_in_another_encoding_is_refused_before_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "_EARLY", 2000)
    (tmp_path / "a.jsonl").write_bytes((as_kind("jsonl").replace("𝄞 ", "") * 10).encode("cp1251"))
    with pytest.raises(ConfigError, match=r"of 2,\d\d\d characters are not UTF-8"):
        paragraphs(tmp_path, "jsonl")


def test_a_file_of_another_encoding_is_not_cut_into_ranges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "RANGE_BYTES", 1000)
    for encoding, is_cut in (("utf-8", True), ("utf-16", False)):
        (tmp_path / "a.jsonl").write_bytes(as_kind("jsonl").encode(encoding))
        source = SourceConfig(kind="jsonl", path=str(tmp_path))
        groups = scanning.scan(source, tmp_path / encoding).groups
        assert (len(groups) > 1) == is_cut
        parts = [kinds.documents(source, Counter(), "name", group) for group, _ in groups]
        assert [p for part in parts for document in part for p in document.paragraphs] == RUSSIAN.splitlines()


# ---------------------------------------------------------------- names that are there twice
@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "text,text\none,two\n", r"a\.csv: the column 'text' is there twice\. Its columns: text, text"),
        ("a.csv", "id,text, id\n1,one,2\n", "the column 'id' is there twice"),
        (
            "a.jsonl",
            '{"text": "one", "n": 1, "text": "two"}\n',
            r"a\.jsonl, record 1: the column 'text' is there twice",
        ),
        ("a.jsonl", '{"text": "one"}\n{"text": "one", "n": 1, "n": 2}\n', "record 2: the column 'n' is there twice"),
    ],
)
def test_a_name_that_is_there_twice_is_refused(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=said):
        paragraphs(tmp_path / name, name.partition(".")[2])


def test_columns_without_a_name_and_inner_objects_may_repeat(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(",text,\n0,one,x\n")
    (tmp_path / "a.jsonl").write_text('{"text": "two", "meta": {"a": 1, "a": 2}}\n')
    assert paragraphs(tmp_path / "a.csv", "csv")[0] == ["one"]
    assert paragraphs(tmp_path / "a.jsonl", "jsonl")[0] == ["two"]


def test_parquet_with_a_column_twice_is_refused(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    column = pyarrow.array(["one"])
    parquet.write_table(pyarrow.Table.from_arrays([column, column], names=["text", "text"]), tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match="the column 'text' is there twice"):
        paragraphs(tmp_path, "parquet")


# ---------------------------------------------------------------- C4
@pytest.mark.parametrize("ending", [".json.gz", ".json", ".ndjson"])
def test_a_folder_of_json_lines_under_other_endings(tmp_path: Path, ending: str) -> None:
    row = {"text": "A page.\nIts second line.", "timestamp": "2019-04-25T12:57:54Z", "url": "https://example.org"}
    content = (json.dumps(row) + "\n").encode()
    (tmp_path / f"c4-train.00000-of-01024{ending}").write_bytes(
        gzip.compress(content) if ending.endswith(".gz") else content
    )
    assert paragraphs(tmp_path, "jsonl")[0] == ["A page.", "Its second line."]
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "of its own ending"}\n')  # then .json is something else
    assert paragraphs(tmp_path, "jsonl")[0] == ["of its own ending"]
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(ConfigError, match=r"no \.txt file"):
        paragraphs(tmp_path, "text")


@pytest.mark.parametrize("name", ["a[1]", "a*b", "a?"])
def test_a_glob_below_a_folder_with_the_signs_of_a_glob(tmp_path: Path, name: str) -> None:
    (tmp_path / name / "sub").mkdir(parents=True)
    (tmp_path / name / "sub" / "x.txt").write_text("here")
    for pattern in (tmp_path / name, tmp_path / name / "*", tmp_path / name / "**" / "*.txt"):
        assert paragraphs(pattern)[0] == ["here"]
