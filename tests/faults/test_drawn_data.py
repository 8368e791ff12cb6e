"""Whatever a file or a word says, its reader answers with what it holds or with one line, soon and in bounded memory.

Inputs are drawn: texts of the kind, changed at places, and bytes. ROBERTA_LAB_EXAMPLES=10000 draws so many of each.
"""

import io

import numpy as np
import pytest
from fake_store import FIRST
from faults import outcomes
from faults.drawn import (
    BOOK,
    CONLL,
    CSV,
    JSON_LINES,
    PACK,
    PLAIN,
    RACE,
    SQUAD,
    TSV,
    WIKI,
    changed,
    expect_answer,
    folder,
)
from hypothesis import given
from hypothesis import strategies as st
from test_input_format import SLOW, full_faults, make, pair_faults, unpadded

from roberta_lab.config import ConfigError
from roberta_lab.tasks import families
from roberta_lab.tasks.zero_shot import minimal_pairs


# ---------------------------------------------------------------- corpora
@pytest.mark.parametrize(
    ("kind", "file", "contents"),
    [
        *(("text", "a.txt", PLAIN), ("jsonl", "a.jsonl", JSON_LINES), ("csv", "a.csv", CSV)),
        *(("gutenberg", "a.txt", BOOK), ("wikiextractor", "wiki_00", st.one_of(WIKI, JSON_LINES))),
    ],
)
@given(data=st.data())
def test_corpora(kind: str, file: str, contents: st.SearchStrategy[bytes], data: st.DataObject) -> None:
    ending = "" if kind == "wikiextractor" else data.draw(st.sampled_from(sorted(PACK)))
    content = data.draw(st.one_of(changed(contents), st.binary(max_size=40)))
    packed = PACK[ending](content)
    with folder() as place:
        (place / f"{file}{ending}").write_bytes(data.draw(changed(st.just(packed))) if ending else packed)
        expect_answer(outcomes.corpus_reader(place / f"{file}{ending}", kind))


def test_parquet() -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    written = io.BytesIO()
    parquet.write_table(pyarrow.table({"text": ["a", "b", "a"] * 20}), written)

    @given(content=changed(st.just(written.getvalue())))
    def check(content: bytes) -> None:
        with folder() as place:
            (place / "a.parquet").write_bytes(content)
            expect_answer(outcomes.corpus_reader(place / "a.parquet", "parquet"))

    check()


# ---------------------------------------------------------------- tasks
@pytest.mark.parametrize(
    ("family", "name", "head", "file", "contents"),
    [
        *(
            ("text_classification", "own", "classification", f"train.{e}", c)
            for e, c in {"csv": CSV, "tsv": TSV, "jsonl": JSON_LINES}.items()
        ),
        ("text_classification", "own", "regression", "train.jsonl", JSON_LINES),
        *(("ner", "ner", "tagging", "train.txt", CONLL), ("squad", "squad2", "span", "train-v2.0.json", SQUAD)),
        *(("race", "race", "choice", "train/middle/1.txt", RACE), ("glue", "cola", "classification", "train.tsv", TSV)),
        *(("glue", "rte", "classification", "train.tsv", TSV), ("glue", "stsb", "regression", "train.tsv", TSV)),
    ],
)
@given(data=st.data())
def test_tasks(
    family: str, name: str, head: str, file: str, contents: st.SearchStrategy[bytes], data: st.DataObject
) -> None:
    with folder() as place:
        for own in (file, file.replace("train", "dev")):
            (place / own).parent.mkdir(parents=True, exist_ok=True)
            (place / own).write_bytes(data.draw(changed(contents)))
        expect_answer(outcomes.task_reader(place, family, name, head))


@given(content=changed(JSON_LINES), plain=changed(PLAIN))
def test_minimal_pairs(content: bytes, plain: bytes) -> None:
    with folder() as place:
        (place / "a.jsonl").write_bytes(content)
        (place / "b.txt").write_bytes(plain)
        task = families.TaskConfig(name="blimp", family="minimal_pairs", head="mlm", metric="accuracy", path=str(place))
        expect_answer(lambda: minimal_pairs.read(task))


# ---------------------------------------------------------------- plans
CORPORA = st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=6), min_size=2, max_size=6)


@pytest.mark.parametrize("name", SLOW)
@given(corpus=CORPORA, max_length=st.integers(8, 40))
def test_a_plan_reads_each_token_once_and_packs_as_the_slow_reference(
    name: str, corpus: list[list[int]], max_length: int
) -> None:
    try:
        _, rows = make(name, corpus, max_length)
    except ConfigError as error:
        assert not any(map(sum, corpus)), error
        return
    read = [i for ids in unpadded(rows) for i in ids if i >= FIRST]
    assert read == list(range(FIRST, FIRST + sum(map(sum, corpus))))
    assert unpadded(rows) == SLOW[name](corpus, max_length)
    assert name != "full_sentences" or full_faults(corpus, max_length, rows) == []


@pytest.mark.parametrize("name", ["segment_pair", "sentence_pair"])
@given(corpus=CORPORA, max_length=st.integers(8, 40), key=st.integers(0, 2**64 - 1))
def test_pairs_are_a_walk_of_the_algorithm(name: str, corpus: list[list[int]], max_length: int, key: int) -> None:
    try:
        _, rows = make(name, corpus, max_length, key)
    except ConfigError as error:
        assert sum(any(document) for document in corpus) < 2, error
        return
    assert pair_faults(corpus, max_length, rows, single=name == "sentence_pair") == []
    assert int(rows.lengths.max()) <= max_length and np.isin(rows.next_sentence_label, (0, 1)).all()
