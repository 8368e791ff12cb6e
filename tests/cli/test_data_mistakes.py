"""Mistakes in a user's files are said before anything is prepared or trained, with the file and what it has."""

import json
import re
from pathlib import Path

import pytest

from roberta_lab.cli import finetune, main, pretrain, reproduce
from roberta_lab.config import ConfigError, DataMixConfig, SourceConfig
from roberta_lab.data.corpus import preparation

HEADER = "body,topic\nhello,a\nother,b\n"
MINE = ["task=text_classification", "task.columns.text_a=body", "task.columns.label=topic"]
SST2 = "sentence\tlabel\na film\t1\n"
SQUAD = {"data": [{"paragraphs": [{"context": "A b.", "qas": [{"id": "1", "question": "q", "answers": []}]}]}]}
PASSAGE = {"article": "A.", "questions": ["q"], "options": [["a", "b", "c", "d"]], "answers": ["E"]}
MISTAKES = {
    "no such file": ({}, [*MINE, "task.files.train=x.csv"], "task.files.train=x.csv: there is no data/x.csv."),
    "no train file": ({}, MINE, "data has no train.csv or train.tsv or train.jsonl"),
    "no such text": ({"train.csv": HEADER}, [*MINE, "task.columns.text_a=bdoy"], "data/train.csv, line 1: no column 'bdoy' (task.columns.text_a). Did you mean 'body'? It has: body, topic."),
    "no such label": ({"train.csv": HEADER}, [*MINE, "task.columns.label=class"], "data/train.csv, line 1: no column 'class' (task.columns.label). It has: body, topic."),
    "a column of dev": ({"train.csv": HEADER, "dev.csv": "body,class\nx,a\n"}, MINE, "data/dev.csv, line 1: no column 'topic' (task.columns.label). It has: body, class."),
    "a key of an object": ({"train.jsonl": '{"body": "x", "topic": 1}\n{"body": "y"}\n'}, MINE, "data/train.jsonl, line 2: no column 'topic' (task.columns.label). It has: body."),
    "columns": ({"train.csv": HEADER + "a,b,c\n"}, MINE, "data/train.csv, line 4: 3 fields, but 2 columns (body, topic)."),
    "empty label": ({"train.csv": HEADER + "x,\n"}, MINE, "data/train.csv, line 4: the label is ''"),
    "label of dev": ({"train.csv": HEADER, "dev.csv": "body,topic\nx,c\n"}, MINE, "data/dev.csv, line 2: the label is 'c', which no train item has. Known: a, b."),
    "empty file": ({"train.csv": ""}, MINE, "data/train.csv: holds no items"),
    "tags": ({"train.txt": "a B-X\n", "dev.txt": "a X\n"}, ["task=ner"], "data/dev.txt, line 1: the tag is 'X'"),
    "columns of words": ({"train.txt": "a B-X\nb\n", "dev.txt": ""}, ["task=ner"], "data/train.txt, line 2: 1 columns"),
    "glue": ({"train.tsv": SST2, "dev.tsv": "text\tlabel\nx\t1\n"}, ["task=sst2"], "data/dev.tsv, line 1: no column 'sentence'. It has: text, label."),
    "squad": ({"train-v1.1.json": json.dumps(SQUAD), "dev-v1.1.json": "{}"}, ["task=squad1"], "data/train-v1.1.json: question 1 has no answer"),
    "race": ({"train/middle/1.txt": json.dumps(PASSAGE), "dev/middle/2.txt": "{}"}, ["task=race"], "data/train/middle/1.txt: question 1:0 has 4 options and the answer 'E'"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_is_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    def prepared_for(config: object) -> None:
        raise AssertionError("prepared before the mistake was found")

    for module in (preparation, finetune, reproduce, pretrain):
        monkeypatch.setattr(module, "prepared_for", prepared_for)


def write(files: dict[str, str]) -> None:
    Path("data").mkdir()
    for name, content in files.items():
        (Path("data") / name).parent.mkdir(parents=True, exist_ok=True)
        (Path("data") / name).write_text(content)


@pytest.mark.parametrize(("files", "words", "said"), MISTAKES.values(), ids=MISTAKES)
def test_finetune_says_it_first(
    files: dict[str, str], words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the pretraining run, too, which is not there."""
    write(files)
    assert main.main(["finetune", *words, "task.path=data"]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_reproduce_says_it_before_pretraining(capsys: pytest.CaptureFixture[str]) -> None:
    write({"SST-2/train.tsv": SST2, "SST-2/dev.tsv": SST2, "RTE/train.tsv": "a\tb\n1\t2\n", "RTE/dev.tsv": ""})
    sweep = [
        "sweep=table1_masking",
        "data_mix=pydoc",
        "scale=laptop",
        "task.path=data",
        "sweep.seeds=[1]",
        "sweep.only=[static]",
    ]
    assert main.main(["reproduce", *sweep, "sweep.tasks=[sst2,rte]"]) == 2
    assert "data/RTE/train.tsv, line 1: no column 'sentence1'. It has: a, b." in capsys.readouterr().err
    with pytest.raises(AssertionError, match="prepared before"):  # without the mistake it goes on
        main.main(["reproduce", *sweep, "sweep.tasks=[sst2]"])


def test_pretraining_that_scores_a_task_says_it_first(capsys: pytest.CaptureFixture[str]) -> None:
    write({"pairs.jsonl": '{"sentence_good": "a"}\n'})
    assert main.main(["pretrain", "task=blimp", "task.path=data", "evaluate.every=5"]) == 2
    assert "data/pairs.jsonl, line 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "kind", "said"),
    [
        ("a.csv", "body,id\nx,1\n", "csv", "data/a.csv has no field 'text'. It has: body, id."),
        ("a.jsonl", '{"body": 1}\n', "jsonl", "data/a.jsonl has no field 'text'. It has: body."),
        ("a.md", "x", "text", "data: no .txt file"),
        ("a.csv", "text,text\nx,y\n", "csv", "data/a.csv: the column 'text' is there twice"),
        ("a.csv.gz", "text\nx\n", "csv", "data/a.csv.gz cannot be read"),
    ],
)
def test_a_mistake_in_a_corpus_is_said_by_the_first_file(name: str, content: str, kind: str, said: str) -> None:
    write({name: content})
    with pytest.raises(ConfigError, match=re.escape(said)):
        preparation.check(DataMixConfig({"own": SourceConfig(kind, "data")}))


def test_reproduce_says_what_is_wrong_with_a_corpus_first(capsys: pytest.CaptureFixture[str]) -> None:
    write({"a.csv": "body,id\nx,1\n"})
    own = ["data_mix=own", "data_mix.own.path=data", "data_mix.own.kind=csv", "sweep.seeds=[1]", "sweep.only=[static]"]
    assert main.main(["reproduce", "sweep=table1_masking", *own, "sweep.tasks=[]"]) == 2
    assert "data/a.csv has no field 'text'. It has: body, id." in capsys.readouterr().err


def test_the_last_of_many_files_is_looked_at_before_the_first_is_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.undo()

    def write_unit(*arguments: object, **more: object) -> None:
        raise AssertionError("read before the mistake was found")

    monkeypatch.setattr(preparation.parts, "write_unit", write_unit)
    write({f"{number}.csv": "text\nx\n" if number < 30 else "body\nx\n" for number in range(31)})
    words = ["data_mix=own", "data_mix.own.path=data", "data_mix.own.kind=csv", "prepare.workers=1"]
    assert main.main(["prepare", *words]) == 2
    assert "data/30.csv has no field 'text'. It has: body." in capsys.readouterr().err


def test_a_task_is_finetuned_on_one_device(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["finetune", "task=pydoc_pair", "trainer=ddp", "trainer.devices=2"]) == 2
    assert "trainer.devices=2: a task is finetuned on one device. Allowed: 1; " in capsys.readouterr().err
