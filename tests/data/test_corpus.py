"""Docstrings to prose, prose to sentences, modules to splits; each folder made once, whole or absent."""

import ast
import json
import subprocess
import sys
import textwrap
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from roberta_lab.axes.tokenizer import Encoding, train_bytelevel_bpe
from roberta_lab.config import ConfigError, DataMixConfig, SourceConfig, TokenizerConfig
from roberta_lab.data import token_store
from roberta_lab.data.corpus import parts
from roberta_lab.data.corpus.parts import read_documents
from roberta_lab.data.corpus.preparation import prepare as prepare_with_all_cores
from roberta_lab.data.corpus.sources import pydoc
from roberta_lab.data.corpus.sources.pydoc import Docstring, document, prose
from roberta_lab.data.corpus.sources.text import Document, segment
from roberta_lab.data.corpus.units import is_held_out


@pytest.mark.parametrize(
    ("cut", "text"),
    [
        ("a doctest", "Adds two numbers and returns them.\n\n    >>> add(1, 2)\n    3\n"),
        ("a signature", "add(a, b, /) -> int\n\nAdds two numbers and returns them."),
        ("a directive", "Adds two numbers and returns them.\n\n.. code-block:: python\n\n    add(1, 2) or what is it worth.\n"),
        ("a literal block", "Adds two numbers and returns them.\n\nNot so::\n\n    This is an example that is no prose.\n"),
        ("a table", "Adds two numbers and returns them.\n\n====  =====\nKey   Value of the key in a table.\n====  =====\n"),
        ("a title", "Notes\n-----\nAdds two numbers and returns them."),
        ("a field without description", "Adds two numbers and returns them.\n\n:rtype: int\n"),
        ("a formula", "Adds two numbers and returns them.\n\nThe value of :math:`\\frac{a}{b}` is what it is here.\n"),
    ],
)  # fmt: skip
def test_what_is_no_prose_is_cut(cut: str, text: str) -> None:
    assert prose(text) == ["Adds two numbers and returns them."], cut


def test_prose_is_kept_without_markup() -> None:
    text = """
    Return the :class:`~torch.Tensor` that ``abs`` gives, *always*.
    It goes on here with **bold** words.

    .. note:: A note says something that is worth reading.

    Args:
        input (Tensor): the tensor that is read.
        dim (int): The dimension along which it is read,
            which may be negative.

    - The first item of a list is prose.
    """
    assert prose(textwrap.dedent(text)) == [
        "Return the torch.Tensor that abs gives, always. It goes on here with bold words.",
        "A note says something that is worth reading.",
        "The dimension along which it is read, which may be negative.",
        "The first item of a list is prose.",
    ]


def test_objects_of_a_module_are_found() -> None:
    source = '''
"""Module text."""
class A:
    """Class text."""
    def __init__(self, x, *, y): ...
    async def f(self, z):
        """Method text."""
if True:
    def g(): "Guarded text."
torch._C._add_docstr(torch.abs, r"""abs(input)
Computes it. {x}""".format(x=1))
'''
    found = list(pydoc._walk(ast.parse(source), ""))
    assert [(name, kind) for name, kind, _ in found] == [
        ("", "module"),
        ("A", "class"),
        ("A.f", "function"),
        ("g", "function"),
        ("torch.abs", "function"),
    ]


def test_sentences_are_those_of_a_reader() -> None:
    assert segment("See e.g. Fig. 3. It shows 1.5 units. Done!") == ["See e.g. Fig. 3.", "It shows 1.5 units.", "Done!"]


def test_the_start_of_a_line_or_sentence_is_the_start_of_a_word() -> None:
    """No token of a document joins the last word of a line and the first of the next, and each line begins a word."""
    text = ["A stone", "Window", "letter. Then it ends", "Again"]
    sentences = parts._sentences(Document("d", "", "", text, "d"))
    assert sentences == ["A stone", " Window", " letter.", " Then it ends", " Again"]
    encoding = Encoding(train_bytelevel_bpe(iter(["A stone Window letter. Then it ends Again"] * 9), 290))
    ids, _ = encoding.encode(sentences)
    assert encoding.decode(ids.tolist()) == " ".join(text)
    starts = ~encoding.vocabulary.continues_word[ids]
    assert starts.sum() == len(" ".join(text).split()) - 1, "the first word of a document stands after a special token"


def test_the_split_is_by_name_and_its_share_is_kept() -> None:
    names = [f"module{i}" for i in range(4000)]
    held_out = {name for name in names if is_held_out(name, 0.1)}
    assert 320 < len(held_out) < 480  # 400, five standard deviations
    assert held_out <= {name for name in names if is_held_out(name, 0.2)}
    assert not any(is_held_out(name, 0.0) for name in names)


MODULES = [
    [Docstring(f"m{i}.{j}", "python", "", "module", f"The module number {i} has a text. Its part {j} goes on.")]
    for i in range(12)
    for j in range(5)
]


@pytest.fixture
def small_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        pydoc, "docstrings", lambda part, parts: iter([record for module in MODULES[part::parts] for record in module])
    )


prepare = partial(prepare_with_all_cores, num_workers=1)  # in this process, where the source is small
MIX, BPE = DataMixConfig({"pydoc": SourceConfig("pydoc")}, held_out_share=0.3), TokenizerConfig("bytelevel_bpe", 280)


@pytest.mark.usefixtures("small_source")
def test_text_becomes_tokens_and_every_document_is_in_one_split(tmp_path: Path) -> None:
    prepared = prepare(MIX, BPE, tmp_path, progress=False)
    found = {split: [d["id"] for d in read_documents(prepared.corpus, split)] for split in parts.SPLITS}
    assert sorted(found["train"] + found["validation"]) == sorted(module[0].module for module in MODULES)
    assert all(is_held_out(name, 0.3) == (split == "validation") for split, names in found.items() for name in names)
    from roberta_lab.axes import tokenizer

    encoding = tokenizer.load(prepared.tokenizer)
    store = token_store.open_store(prepared.store / "train")
    text = "".join(s for d in read_documents(prepared.corpus, "train") for s in d["sentences"])
    assert encoding.decode(store.gather_tokens(store.sentence_starts, store.sentence_lengths).tolist()) == text
    assert "text. Its part" in text  # a sentence that goes on a paragraph begins with its space
    flags = [json.loads(line)["held_out"] for line in (prepared.corpus / "docstrings.jsonl").read_text().splitlines()]
    assert sum(flags) == len(found["validation"])


@pytest.mark.usefixtures("small_source")
def test_a_second_call_makes_nothing_and_other_inputs_make_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare(MIX, BPE, tmp_path, progress=False)
    other = prepare(MIX, TokenizerConfig("bytelevel_bpe", 270), tmp_path, progress=False)
    assert other.corpus == first.corpus and other.tokenizer != first.tokenizer and other.store != first.store
    monkeypatch.setattr(pydoc, "docstrings", lambda *_: pytest.fail("the cache was not used"))
    assert prepare(MIX, BPE, tmp_path, progress=False) == first


@pytest.mark.usefixtures("small_source")
def test_a_failure_leaves_nothing_behind_that_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(parts, "_sentences", lambda document: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prepare(MIX, BPE, tmp_path, progress=False)
    assert not [p for p in (tmp_path / "corpus").iterdir() if not p.name.startswith(".")]
    assert prepare(MIX, BPE, tmp_path, progress=False).corpus.is_dir()
    assert not list((tmp_path / "corpus").glob(".*making*"))


def mix(path: Path, **options: Any) -> DataMixConfig:
    return DataMixConfig({"mine": SourceConfig("jsonl", str(path))}, **({"held_out_share": 0.3} | options))


def write_articles(path: Path, texts: list[str]) -> None:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


ARTICLES = [
    f"The article number {i} says what it says. Nobody else says it.\nA second paragraph, {i}." for i in range(40)
]


def test_files_become_documents_sentences_and_splits(tmp_path: Path) -> None:
    write_articles(tmp_path / "a.jsonl", [*ARTICLES, ARTICLES[3], " "])
    prepared = prepare(mix(tmp_path / "a.jsonl"), BPE, tmp_path / "cache", progress=False)
    found = {split: list(read_documents(prepared.corpus, split)) for split in parts.SPLITS}
    texts = ["".join(d["sentences"]) for documents in found.values() for d in documents]
    assert sorted(texts) == sorted(article.replace("\n", " ") for article in ARTICLES), "the duplicate is dropped"
    assert {d["package"] for d in found["train"]} == {"mine"} and found["validation"]
    counts = json.loads((prepared.corpus / "manifest.json").read_text())["counts"]
    assert (counts["documents duplicate"], counts["documents empty"], counts["documents kept"]) == (1, 1, 40)
    kept = prepare(mix(tmp_path / "a.jsonl", deduplicate=False), BPE, tmp_path / "cache", progress=False)
    assert json.loads((kept.corpus / "manifest.json").read_text())["counts"]["documents kept"] == 41


def test_a_source_is_known_by_its_content_and_not_by_its_place(tmp_path: Path) -> None:
    for place, texts in (("one", ARTICLES), ("two", ARTICLES), ("three", ARTICLES[:-1])):
        (tmp_path / place).mkdir()
        write_articles(tmp_path / place / "a.jsonl", texts)
    one, two, three = (
        prepare(mix(tmp_path / p), BPE, tmp_path / "cache", progress=False) for p in ("one", "two", "three")
    )
    assert one == two and one.corpus != three.corpus


def test_a_mix_without_sources_or_without_a_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data_mix\.sources is empty"):
        prepare(DataMixConfig(), BPE, tmp_path)
    with pytest.raises(ConfigError, match=r"data_mix\.wiki\.path is missing \(stands for Wikipedia\)"):
        prepare(DataMixConfig({"wiki": SourceConfig("jsonl", stands_for="Wikipedia")}), BPE, tmp_path)


def test_the_real_source_is_read_without_importing_it() -> None:
    code = (
        "import sys\n"
        "from roberta_lab.data.corpus.sources import pydoc\n"
        "files = {module: (package, module, path) for package, module, path in pydoc._modules()}\n"
        "print(sum(p.stat().st_size for _, _, p in files.values()))\n"
        "for name in ('shutil', 'torch.nn.functional', 'numpy.linalg', 'lightning.pytorch.trainer.trainer'):\n"
        "    assert pydoc.document(pydoc._read_module(files[name])).paragraphs, name\n"
        "assert not {'torch', 'numpy', 'lightning'} & set(sys.modules), sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10_000_000


def test_a_topic_of_the_language_reference_is_a_document() -> None:
    topics = {record.module: record for record in pydoc._topics()}
    found = document([topics["pydoc_data.topics.assert"]])
    assert found.title == "assert" and any("assert" in paragraph for paragraph in found.paragraphs)


@pytest.mark.usefixtures("small_source")
def test_fingerprints_are_of_the_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (prepare(MIX, BPE, tmp_path / name, progress=False).fingerprints() for name in "ab")
    assert one == two and len(set(one.values())) == 3
    changed = [replace(record, text=record.text + " And more of it.") for module in MODULES for record in module]
    monkeypatch.setattr(pydoc, "docstrings", lambda part, parts: iter(changed if part == 0 else []))
    other = prepare(MIX, BPE, tmp_path / "c", progress=False).fingerprints()
    assert other["corpus"] != one["corpus"] and other["tokens"] != one["tokens"]
