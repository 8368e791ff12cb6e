"""What a finetuned run is for: files that others score, and predictions on new text. All through the command line."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path
from typing import Any

import pytest
from test_predictor import exported
from test_real_tasks import load

from roberta_lab.cli import main
from roberta_lab.config import ConfigError
from roberta_lab.data import claims
from roberta_lab.reports.page import examples
from roberta_lab.runs.command_line import typed
from roberta_lab.tasks import finetuning, heads, records
from roberta_lab.tasks.items import Choice, Span, Tagging, TextItem

TINY = [
    *("task.max_length=32", "finetune.batch=4", "finetune.epochs=1", "finetune.lr=0.01", "finetune.dropout=0"),
    *("trainer.accelerator=cpu", "trainer.threads=1", "trainer.progress=false", "logger.wandb=off"),
]
THINGS = ["cat", "dog", "mat", "log"]
TASKS = ["mnli", "stsb", "squad2", "race", "ner"]  # one of each head


def table(path: Path, header: str, rows: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def sst2(folder: Path) -> None:
    rows = [f"the {THINGS[i % 4]} sat on {i}\t{i % 2}" for i in range(24)]
    table(folder / "train.tsv", "sentence\tlabel", rows[:16])
    table(folder / "dev.tsv", "sentence\tlabel", rows[16:])
    table(folder / "test.tsv", "index\tsentence", [f"{i + 7}\ta {THINGS[i % 4]}  " for i in range(5)])


def mnli(folder: Path) -> None:
    labels = ("neutral", "entailment", "contradiction", "-")
    rows = [f"{i}\tthe {THINGS[i % 4]} sat\t{THINGS[i % 3]} {i}\t{labels[i % 4]}" for i in range(28)]
    header = "index\tsentence1\tsentence2\tgold_label"
    for name, part in (("train", rows[:16]), ("dev_matched", rows[16:]), ("dev_mismatched", rows[4:9])):
        table(folder / f"{name}.tsv", header, part)
    for name in ("test_matched", "test_mismatched"):
        table(folder / f"{name}.tsv", header[:-11], [row.rpartition("\t")[0] for row in rows[: 3 + len(name) % 4]])


def stsb(folder: Path) -> None:
    rows = [f"{i}\tthe {THINGS[i % 4]} sat\t{THINGS[i % 3]} {i}\t{i % 6}.0" for i in range(24)]
    for name, part in (("train", rows[:16]), ("dev", rows[16:])):
        table(folder / f"{name}.tsv", "index\tsentence1\tsentence2\tscore", part)
    table(folder / "test.tsv", "index\tsentence1\tsentence2", ["0\tthe cat\ta dog", "1\ta mat\tthe log"])


def squad2(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, numbers in (("train", range(12)), ("dev", range(12, 20))):
        questions = []
        for i in numbers:
            context = f"the {THINGS[i % 4]} sat on the mat, a log on it, {i} dogs and \u2028 more"
            answers = [{"text": THINGS[i % 4], "answer_start": 4}] if i % 3 else []
            one = {"id": f"q{i}", "question": f"what sat {i}?", "answers": answers, "is_impossible": not answers}
            questions.append({"context": context, "qas": [one]})
        (folder / f"{name}-v2.0.json").write_text(json.dumps({"data": [{"paragraphs": questions}]}))


def race(folder: Path) -> None:
    for split, number in (("train", 6), ("dev", 4)):
        for i in range(number):
            path = folder / split / "middle" / f"{i}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            record = {"article": f"the {THINGS[i % 4]} sat", "questions": ["the _ sat", "who?"], "options": [THINGS] * 2, "answers": ["ABCD"[i % 4]] * 2}  # fmt: skip
            path.write_text(json.dumps(record))


def ner(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, number in (("train", 8), ("dev", 5)):
        sentences = [f"the O\n{THINGS[i % 4]} B-animal\nsat O\n" for i in range(number)]
        (folder / f"{name}.txt").write_text("\n".join(sentences))


FILES = {"sst2": sst2, "mnli": mnli, "stsb": stsb, "squad2": squad2, "race": race, "ner": ner}


def arguments(task: str, kind: str = "roberta") -> list[str]:
    """Those that address a run; its files and the model it starts from are made."""
    if not Path(task).exists():
        FILES[task](Path(task))
    if not Path("hf").exists():
        exported(Path(), kind)
    return [f"task={task}", f"task.path={task}", "pretrained.path=hf", *TINY]


def only_run() -> Path:
    [result] = Path("outputs/finetune").glob("*/result.json")
    return result.parent


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


# ---------------------------------------------------------------- submission
def test_a_complete_run_makes_its_submission_without_training_and_only_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["finetune", *arguments("mnli")]
    assert main.main(command) == 0
    assert "\npretrained.path=hf: not used: " in f"\n{capsys.readouterr().out}", "the heads for pretraining"
    folder = only_run()
    assert not (folder / "submission").exists()
    before = (folder / "result.json").read_bytes()
    monkeypatch.setattr(finetuning, "finetune", lambda *a: pytest.fail("trained again"))
    assert main.main([*command, "finetune.submission=true"]) == 0
    assert ": complete, " in capsys.readouterr().out and (folder / "result.json").read_bytes() == before
    assert {p.name for p in (folder / "submission").iterdir()} == {"MNLI-m.tsv", "MNLI-mm.tsv"}
    names = ("entailment", "neutral", "contradiction")
    for file, split in (("MNLI-m", "test"), ("MNLI-mm", "test_mm")):
        predicted = lines(folder / f"predictions.{split}.jsonl")
        expected = [("index", "prediction"), *((p["id"], names[p["prediction"]]) for p in predicted)]
        found = (folder / "submission" / f"{file}.tsv").read_text().splitlines()
        assert found == ["\t".join(row) for row in expected] and len(found) > 3
    written = (folder / "submission" / "MNLI-m.tsv").stat().st_mtime_ns
    assert main.main([*command, "finetune.submission=true"]) == 0
    assert (folder / "submission" / "MNLI-m.tsv").stat().st_mtime_ns == written
    assert not [p for p in folder.iterdir() if p.name.startswith(".submission")]


def test_reproduce_makes_the_submissions_of_complete_runs_without_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All rows start from one folder, so there is one run, and none of pretraining."""
    few = ["sweep.tasks=[sst2]", "sweep.finetune_seeds=[1]", "hydra/launcher=basic", *arguments("sst2")[1:]]
    command = ["reproduce", "sweep=table1_masking", "scale=paper", *few]
    assert main.main(command) == 0
    out = capsys.readouterr().out
    assert "2 rows, finetune 0 of 1 there" in out and "1 finetune runs trained" in out  # fmt: skip
    assert "runs are missing" not in out and not Path("outputs/pretrain").exists()
    folder = only_run()
    before = (folder / "result.json").read_bytes()
    monkeypatch.setattr(finetuning, "finetune", lambda *a: pytest.fail("trained again"))
    assert main.main([*command, "finetune.submission=true"]) == 0
    out = capsys.readouterr().out
    assert "missing: 1 finetune runs" in out and "; about 0 s\n" in out
    assert "0 finetune runs trained, 1 were there" in out
    assert (folder / "submission" / "SST-2.tsv").is_file() and (folder / "result.json").read_bytes() == before
    assert main.main([*command, "finetune.submission=true"]) == 0 and "nothing is missing" in capsys.readouterr().out
    assert main.main(["plan", *command[1:]]) == 0
    out = capsys.readouterr().out
    assert "pretraining: 0 runs, 0 complete, 0 to train: 0 tokens" in out and "finetuning: 1 run, 1 complete" in out


def test_a_submission_with_the_run_is_the_same_as_after_it(tmp_path: Path) -> None:
    command = ["finetune", *arguments("sst2")]
    for outputs, asked in (("a", [[True]]), ("b", [[False], [True]])):
        for (submission,) in asked:
            assert main.main([*command, f"paths.outputs={outputs}", f"finetune.submission={submission}"]) == 0
    one, two = (next(Path(name).glob("finetune/*/submission/SST-2.tsv")) for name in "ab")
    assert one.read_text() == two.read_text() and one.parent.parent.name == two.parent.parent.name
    rows = [row.split("\t") for row in one.read_text().splitlines()]
    assert [row[0] for row in rows] == ["index", *"789", "10", "11"] and {row[1] for row in rows[1:]} <= {"0", "1"}


def test_links_in_a_given_run_remove_and_write_nothing_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["finetune", *arguments("sst2")]
    assert main.main(command) == 0
    folder = only_run()
    (folder / "result.json").unlink()
    mine = {Path(name).absolute(): name for name in ("thesis/a.txt", "notes.jsonl", "hf/config.json")}
    Path("thesis").mkdir()
    for path in [*mine][:2]:
        path.write_text("all of it")
    before = {path: path.read_bytes() for path in mine}
    (folder / "predictions.jsonl").unlink()
    for name, target in (("submission", "thesis"), ("predictions.jsonl", "notes.jsonl"), ("model", "hf")):
        (folder / name).symlink_to(Path(target).absolute())
    for asked, name in (("finetune.submission=true", "submission"), ("finetune.save_model=true", "model")):
        assert main.main([*command, asked]) == 1
        assert f"{folder}/{name} is a link to " in capsys.readouterr().err
    assert {path: path.read_bytes() for path in mine} == before
    assert len(lines(folder / "predictions.jsonl")) == 8 and not (folder / "predictions.jsonl").is_symlink()


def test_num_dev_leaves_tests_to_a_submission(tmp_path: Path) -> None:
    """It limits what is scored; a run without test's predictions trains again when they are asked for, to the same score."""
    command = ["finetune", *arguments("mnli"), "task.num_dev=2"]
    assert main.main(command) == 0
    folder = only_run()
    sizes = {path.name: len(lines(path)) for path in folder.glob("predictions*.jsonl")}
    assert sizes == {"predictions.jsonl": 2, "predictions.dev_mm.jsonl": 2}
    before = json.loads((folder / "result.json").read_bytes())
    assert main.main([*command, "finetune.submission=true"]) == 0 and only_run() == folder
    assert {p.name for p in (folder / "submission").iterdir()} == {"MNLI-m.tsv", "MNLI-mm.tsv"}
    after = json.loads((folder / "result.json").read_bytes())
    assert (after["score"], after["metrics"]) == (before["score"], before["metrics"]) and before["at_chance"]
    assert [len(lines(folder / f"predictions.{split}jsonl")) for split in ("", "test.", "test_mm.")] == [2, 3, 6]


def test_a_submission_of_a_part_of_a_split_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Microsoft's own test file of MRPC has labels, so num_dev takes a part of it; so it does of SQuAD's dev."""
    header = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"
    for name in ("train", "test"):
        rows = [f"{i % 2}\t{i}\t{i + 1}\tthe cat\ta dog {i}" for i in range(12)]
        table(Path("mrpc") / f"msr_paraphrase_{name}.txt", header, rows)
    table(Path("mrpc/dev_ids.tsv"), "0\t1", [f"{i}\t{i + 1}" for i in range(1, 5)])
    for name, split in (("mrpc", "test"), ("squad2", "dev")):
        command = ["finetune", *arguments(name), "finetune.submission=true"]
        assert main.main([*command, "task.num_dev=3"]) == 2
        said = f"every item of {split}, but task.num_dev=3 takes a part of {split}, whose labels are there. Leave task.num_dev out."
        assert capsys.readouterr().err == f"roberta-lab: finetune.submission has {said}\n"
    assert not list(Path("outputs").rglob("predictions*"))


def test_squads_files_hold_what_was_predicted_of_dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(examples, "scored_items")  # the run's page has its examples from the items at hand
    assert main.main(["finetune", *arguments("squad2"), "finetune.submission=true"]) == 0
    folder, files = only_run(), {}
    for path in (folder / "submission" / "dev").iterdir():
        files[path.name] = json.loads(path.read_text())
    predicted = lines(folder / "predictions.jsonl")
    assert files["predictions.json"] == {p["id"]: p["prediction"] for p in predicted}
    assert files["answers.json"] == {p["id"]: p["answer"] for p in predicted} and all(files["answers.json"].values())
    odds = {p["id"]: 1 / (1 + math.exp(-p["no_answer"])) for p in predicted}
    assert files["na_odds.json"] == pytest.approx(odds) and [*odds] == [f"q{i}" for i in range(12, 20)]
    shown = json.loads((only_run() / "examples.json").read_text())
    assert sum(shown["counts"].values()) == len(lines(only_run() / "predictions.jsonl"))
    assert all(
        example["texts"].keys() == {"question", "context"} for kind in ("right", "wrong") for example in shown[kind]
    )
    assert "dev items" in (only_run() / "index.html").read_text()


def test_what_has_no_such_files_is_one_line_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = "finetune.submission=true"
    assert main.main(["finetune", *arguments("ner"), asked]) == 2
    assert capsys.readouterr().err == "roberta-lab: finetune.submission: ner has no such files. Allowed: glue, squad tasks.\n"  # fmt: skip
    arguments("sst2")
    Path("sst2/test.tsv").unlink()
    assert main.main(["finetune", *arguments("sst2"), asked]) == 2
    assert capsys.readouterr().err == "roberta-lab: finetune.submission: sst2's files have no split test.\n"
    assert not list(Path("outputs").rglob("predictions*"))


# ---------------------------------------------------------------- weights, and runs that start from them
def test_a_complete_run_keeps_all_of_its_files_until_all_is_ready_to_make_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt that cannot begin, or that finds the run in use, changes nothing: neither hashes nor who made the run."""
    command = ["finetune", *arguments("sst2")]
    assert main.main(command) == 0
    folder = only_run()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    more = [*command, "finetune.save_model=true"]
    with monkeypatch.context() as patch:
        patch.setattr("roberta_lab.tasks.initial_model.InitialModel.from_folder", refused)
        assert main.main(more) == 2
    with monkeypatch.context() as patch:
        patch.setattr("torch.cuda.is_available", lambda: False)
        elsewhere = [word.replace("accelerator=cpu", "accelerator=cuda") for word in more]
        assert main.main(elsewhere) == 2
    with claims.claim(folder):
        assert main.main(more) == 1
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert main.main(more) == 0
    assert (folder / "model").is_dir() and (folder / "result.json").read_bytes() != before[folder / "result.json"]
    assert all("end" in one for one in json.loads((folder / "provenance.json").read_text())["attempts"])


def refused(path: str) -> None:
    raise ConfigError(f"{path} is refused")


def test_init_from_asks_for_the_run_on_the_files_as_they_are_now(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments("mnli")
    command = ["finetune", *arguments("stsb"), "finetune.init_from=mnli"]
    assert main.main(command) == 2
    said = capsys.readouterr().err
    assert "finetune.init_from=mnli is not there with its weights: roberta-lab finetune " in said
    needed = shlex.split(said.split("roberta-lab finetune ")[1])
    assert "task.path=." in needed and main.main(["finetune", *needed]) == 0
    [encoder] = [path.parent for path in Path("outputs/finetune").glob("*/model")]
    assert main.main(command) == 0
    [made] = [path.parent for path in Path("outputs/finetune").glob("*/result.json") if path.parent != encoder]
    assert json.loads((made / "provenance.json").read_text())["data"] == {"init_from": encoder.name}
    file = Path("mnli/train.tsv")
    file.write_text(file.read_text().replace("the cat", "no cat"))
    capsys.readouterr()
    assert main.main(command) == 2
    assert capsys.readouterr().err == said, "and not: complete"


# ---------------------------------------------------------------- new text
def record_of(item: Any) -> dict[str, Any]:
    """A dev item as somebody would write it."""
    return {key: value for key in heads.load(HEAD_OF[type(item)]).fields if (value := getattr(item, key)) is not None}


HEAD_OF = {TextItem: "classification", Span: "span", Choice: "choice", Tagging: "tagging"}


@pytest.mark.parametrize(("task", "kind"), [(t, "bert" if i % 2 else "roberta") for i, t in enumerate(TASKS)])
def test_dev_read_as_new_text_gets_devs_predictions(
    task: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also from the run's own folder alone: the model it began with is not opened."""
    own = arguments(task, kind)
    items: list[Any] = load(task, Path(task))[1].dev
    Path("new.jsonl").write_text("".join(json.dumps({**record_of(i), "id": f"x{i.id}"}) + "\n" for i in items))
    predict = ["predict", *own, "predict.what=task", "predict.file=new.jsonl"]
    assert main.main(predict) == 2
    said = capsys.readouterr().err
    command = typed("finetune", [*own, "finetune.save_model=true"])
    assert said.endswith(f" is not there with its weights: {command}\n") and said.count("\n") == 1
    assert main.main(["finetune", *own, "finetune.save_model=true"]) == 0
    capsys.readouterr()
    assert main.main([*predict, "predict.output=out/new.jsonl"]) == 0 == main.main(predict)
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(items)
    ours, expected = lines(Path("out/new.jsonl")), lines(only_run() / "predictions.jsonl")
    labels = {"mnli": ("entailment", "neutral", "contradiction"), "ner": ("O", "B-animal", "I-animal")}
    for number, (record, was, item) in enumerate(zip(ours, expected, items, strict=True), 1):
        assert record["number"] == number and record["id"] == f"x{item.id}"
        assert {key: record[key] for key in record_of(item)} == json.loads(json.dumps(record_of(item)))
        if task in ("mnli", "race"):
            names = item.choices if task == "race" else labels[task]
            assert record["prediction"] == names[was["prediction"]]
            shares = [math.exp(x - max(was["logits"])) for x in was["logits"]]
            found = record["probabilities"] if task == "race" else [record["probabilities"][name] for name in names]
            assert found == pytest.approx([share / sum(shares) for share in shares], rel=1e-4)
        elif task == "ner":
            assert record["prediction"] == [labels[task][number] for number in was["prediction"]]
            assert record["scores"] == pytest.approx(was["scores"], rel=1e-4)
        elif task == "stsb":
            assert record["prediction"] == pytest.approx(was["prediction"], rel=1e-4)
        else:
            assert (record["prediction"], record["answer"]) == (was["prediction"], was["answer"])
            assert (record["score"], record["no_answer"]) == pytest.approx((was["score"], was["no_answer"]), rel=1e-4)


def test_plain_text_is_shown_with_its_class_and_blanks_change_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = [*arguments("sst2"), "finetune.save_model=true"]
    assert main.main(["finetune", *own]) == 0
    capsys.readouterr()
    text = 'predict.text=["the cat sat", "  the cat sat ", "{\\"text_a\\": \\"the cat sat\\"}", ""]'
    assert main.main(["predict", *own, "predict.what=task", text]) == 0
    first, *rest, empty = capsys.readouterr().out.splitlines()
    number, name, share, shown = first.split("  ")
    assert number == "1" and name in ("0", "1") and 0.5 <= float(share) <= 1 and shown == "the cat sat"
    assert rest == [f"{n}{first[1:]}" for n in (2, 3)] and empty.startswith("4  ")
    assert main.main(["predict", *own, "predict.what=task", 'predict.text={"text_a": "a", "text_b": "b"}']) == 2
    assert capsys.readouterr().err == 'roberta-lab: line 1 has two texts; the task\'s items are {"text_a": TEXT}.\n'


def test_a_text_that_is_too_long_is_marked_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = [*arguments("sst2"), "finetune.save_model=true"]
    assert main.main(["finetune", *own]) == 0
    Path("new").write_text("the cat\n" + "the cat sat " * 40 + "\na dog\n")
    capsys.readouterr()
    predict = ["predict", *own, "predict.file=new", "predict.output=new.jsonl", "predict.what=task"]
    assert main.main(predict) == 0
    assert capsys.readouterr().err == "1 of 3 texts were cut to 32 tokens\n"
    assert [record.get("truncated") for record in lines(Path("new.jsonl"))] == [None, True, None]
    Path("new").write_text("the cat\n")
    assert main.main(predict) == 0 and capsys.readouterr().err == ""


def test_words_come_plain_and_candidates_in_any_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = [*arguments("ner"), "finetune.save_model=true"]
    assert main.main(["finetune", *own]) == 0
    Path("new").write_text('the cat\tsat\n\n{"words": ["the", "cat", "sat"]}\n')
    assert main.main(["predict", *own, "predict.what=task", "predict.file=new", "predict.output=new.jsonl"]) == 0
    one, none, same = lines(Path("new.jsonl"))
    assert one["words"] == ["the", "cat", "sat"] and (none["words"], none["prediction"]) == ([], [])
    assert (same["words"], same["prediction"]) == (one["words"], one["prediction"])
    own = [*arguments("race"), "finetune.save_model=true"]
    assert main.main(["finetune", *own]) == 0
    choices = [["a cat", "a dog"], ["a cat", "a dog", "a log"], ["a dog", "a cat"]]
    Path("new").write_text("".join(json.dumps({"text": "the cat sat", "choices": c}) + "\n" for c in choices))
    assert main.main(["predict", *own, "predict.what=task", "predict.file=new", "predict.output=new.jsonl"]) == 0
    two, three, swapped = lines(Path("new.jsonl"))
    assert [len(r["probabilities"]) for r in (two, three, swapped)] == [2, 3, 2]
    assert two["probabilities"] == pytest.approx(swapped["probabilities"][::-1], rel=1e-4)
    assert two["prediction"] == swapped["prediction"], "the chosen text, wherever it stands"
    a, b, _ = three["probabilities"]
    assert a / b == pytest.approx(two["probabilities"][0] / two["probabilities"][1], rel=1e-4)


# ---------------------------------------------------------------- lines
def test_lines_are_items_without_labels() -> None:
    assert records.item("classification", " a text ", 3) == TextItem("3", "a text", None, None)
    assert records.item("regression", '{"text_a": "a", "text_b": " b", "id": 7}', 3) == TextItem("7", "a", "b", None)
    assert records.item("span", '{"context": "c", "question": "q "}', 1) == Span("1", "q", "c", None)
    assert records.item("choice", '{"text": "t", "choices": ["a", "b"]}', 1) == Choice("1", "t", ("a", "b"), None)
    assert records.item("tagging", "a  b\tc", 1) == Tagging("1", ("a", "b", "c"), None)


@pytest.mark.parametrize(
    ("head", "line", "message"),
    [
        ("span", "what?", 'line 5 is plain text. Allowed: {"question": TEXT, "context": TEXT}.'),
        ("span", '{"question": "q"}', "line 5: context is missing"),
        ("span", '{"question": "q", "context": " "}', "line 5: the context is empty"),
        ("classification", "{no JSON", "line 5 begins with { and is no JSON"),
        ("classification", '{"text": "a"}', "line 5: no field 'text'. Allowed: text_a, text_b, id."),
        ("classification", '{"text_a": 3}', "line 5: text_a is 3, no text"),
        ("classification", '{"text_a": "\\ud83d"}', "line 5: text_a has half a surrogate pair"),
        ("choice", '{"text": "t", "choices": ["a"]}', "line 5: 1 choices. Allowed: 2 or more."),
        ("tagging", '{"words": "a b"}', "line 5: words is no list"),
    ],
)
def test_a_line_that_is_no_item_is_named(head: str, line: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        records.item(head, line, 5)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_pair_task_wants_two_texts() -> None:
    with pytest.raises(
        ConfigError, match=r'line 2 has one text; the task.s items are \{"text_a": TEXT, "text_b": TEXT\}'
    ):
        records.item("classification", "a", 2, is_pair=True)
