"""GLUE's original files with their oddities, as exact items; wrong lines by file, number and reason; leaderboard files."""

from pathlib import Path
from typing import Any

import pytest
from split_sizes import counts

from roberta_lab.config import ConfigError, HubConfig, TaskConfig
from roberta_lab.tasks import families, submission
from roberta_lab.tasks.items import TextItem

CASES: dict[str, tuple[dict[str, str], dict[str, list[Any]]]] = {
    "CoLA": (
        {
            "train.tsv": 'gj04\t1\t\tHe said "go.\ngj04\t0\t*\tSleeps he. \n',
            "dev.tsv": "gj04\t1\t\tBirds sing.\n",
            "test.tsv": "index\tsentence\n0\tWho?\n1\tBirds.\n",
        },
        {
            "train": [TextItem("0", 'He said "go.', None, 1), TextItem("1", "Sleeps he.", None, 0)],
            "dev": [TextItem("0", "Birds sing.", None, 1)],
            "test": [TextItem("0", "Who?", None, None), TextItem("1", "Birds.", None, None)],
        },
    ),
    "SST-2": (
        {
            "train.tsv": 'sentence\tlabel\r\na " dull film \t0\r\n\r\n',
            "dev.tsv": "sentence\tlabel\nfine\u2028film\t1\n\n",
            "test.tsv": "index\tsentence\n0\tso so\n",
        },
        {
            "train": [TextItem("0", 'a " dull film', None, 0)],
            "dev": [TextItem("0", "fine\u2028film", None, 1)],
            "test": [TextItem("0", "so so", None, None)],
        },
    ),
    "MRPC": (
        {
            "train.tsv": '\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\t"A\tB"\n',
            "dev.tsv": "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t9\t10\tC\tD\n",
            "test.tsv": "index\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t1\t2\tE\tF\n",
        },
        {
            "train": [TextItem("0", '"A', 'B"', 1)],
            "dev": [TextItem("0", "C", "D", 0)],
            "test": [TextItem("0", "E", "F", None)],
        },
    ),
    "STS-B": (
        {
            "train.tsv": "index\tgenre\tsentence1\tsentence2\tscore\n4\tnews\tA\tB\t3.800\n",
            "dev.tsv": "index\tgenre\tsentence1\tsentence2\tscore\n0\tnews\tC\tD\t0\n",
            "test.tsv": "index\tgenre\tsentence1\tsentence2\n0\tnews\tE\tF\n",
        },
        {
            "train": [TextItem("4", "A", "B", 3.8)],
            "dev": [TextItem("0", "C", "D", 0.0)],
            "test": [TextItem("0", "E", "F", None)],
        },
    ),
    "QQP": (
        {
            "train.tsv": "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n5\t1\t2\tA?\tB?\t1\n6\t3\t4\tcut\n\t\t\tC?\t\t0\n",
            "dev.tsv": "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\npp1\t\t\tD?\tE?\t0\n",
        },
        {
            "train": [TextItem("5", "A?", "B?", 1), TextItem("1", "C?", "", 0)],
            "dev": [TextItem("pp1", "D?", "E?", 0)],
        },
    ),
    "MNLI": (
        {
            "train.tsv": "index\tsentence1\tsentence2\tlabel1\tgold_label\n0\tA\tB\tneutral\tneutral\n1\tC\tD\tneutral\t-\n",
            "dev_matched.tsv": "index\tpromptID\tsentence1\tsentence2\tlabel1\tlabel2\tgold_label\n0\t9\tE\tF\tx\ty\tcontradiction\n",
            "dev_mismatched.tsv": "index\tsentence1\tsentence2\tgold_label\n0\tG\tH\tentailment\n",
            "test_mismatched.tsv": "index\tsentence1\tsentence2\n3\tI\tJ\n",
            "../diagnostic/diagnostic.tsv": "index\tsentence1\tsentence2\n0\tK\tL\n",
        },
        {
            "train": [TextItem("0", "A", "B", 1)],
            "dev": [TextItem("0", "E", "F", 2)],
            "dev_mm": [TextItem("0", "G", "H", 0)],
            "test_mm": [TextItem("3", "I", "J", None)],
            "test_ax": [TextItem("0", "K", "L", None)],
        },
    ),
    "QNLI": (
        {
            "train.tsv": "index\tquestion\tsentence\tlabel\n0\tA?\tB\tentailment\n",
            "dev.tsv": "index\tquestion\tsentence\tlabel\n0\tC?\tD\tnot_entailment\n",
        },
        {"train": [TextItem("0", "A?", "B", 0)], "dev": [TextItem("0", "C?", "D", 1)]},
    ),
    "RTE": (
        {
            "train.tsv": "index\tsentence1\tsentence2\tlabel\n0\tA\tB\tnot_entailment\n",
            "dev.tsv": "index\tsentence1\tsentence2\tlabel\n0\tC\tD\tentailment\n",
        },
        {"train": [TextItem("0", "A", "B", 1)], "dev": [TextItem("0", "C", "D", 0)]},
    ),
    "WNLI": (
        {
            "train.tsv": "index\tsentence1\tsentence2\tlabel\n0\tA\tB\t1\n",
            "dev.tsv": "index\tsentence1\tsentence2\tlabel\n0\tC\tD\t0\n",
        },
        {"train": [TextItem("0", "A", "B", 1)], "dev": [TextItem("0", "C", "D", 0)]},
    ),
}
HEADER = "index\tsentence1\tsentence2\tlabel\n"
GOOD = f"{HEADER}0\tA\tB\tentailment\n"


def name_of(folder: str) -> str:
    return folder.replace("-", "").lower()


def task(name: str, path: Path | str, **options: Any) -> TaskConfig:
    return TaskConfig(name, "glue", "classification", 0, "accuracy", str(path), **options)


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


@pytest.mark.parametrize("folder", CASES)
@pytest.mark.parametrize("above", [0, 1, 2])
def test_original_files_give_these_items(folder: str, above: int, tmp_path: Path) -> None:
    """`task.path` is the task's own folder, GLUE's, or one with GLUE and other families of tasks in it. Hidden files do not count."""
    files, expected = CASES[folder]
    own = write(tmp_path / "GLUE" / folder, dict(files))
    write(tmp_path, {".DS_Store": "", ".hidden/file": ""})
    path = [own, *own.parents][above]
    data = families.load(task(name_of(folder), path), tmp_path)
    assert {"train": data.train, "dev": data.dev, **data.others} == expected
    assert counts(data) == {split: len(items) for split, items in expected.items()}
    assert sum("the official" in note for note in data.notes) == len(expected), "none has the official number of items"


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    for folder, expected in (
        ("QQP", "1 rows lack fields and were left out (line 3"),
        ("MNLI", "1 items have the label '-'"),
    ):
        write(tmp_path / folder, dict(CASES[folder][0]))
        assert any(expected in note for note in families.load(task(name_of(folder), tmp_path), tmp_path).notes)


@pytest.mark.parametrize(
    ("name", "text", "line", "reason"),
    [
        ("rte", f"{HEADER}0\tA\tB\tentailment\n1\tA\tB\tC\tentailment\n", 3, "5 fields, but 4 columns"),
        ("rte", f"{HEADER}0\tA\tentailment\n", 2, "3 fields, but 4 columns"),
        ("rte", f"{HEADER}0\tA\tB\tmaybe\n", 2, "the label is 'maybe'. Allowed: entailment, not_entailment"),
        ("rte", f"{HEADER}\n0\tA\tB\tentailment\n", 2, "blank"),
        ("rte", f"{HEADER}0\tA\tB\tentailment\n1\tA\tB\t-\n", 3, "the label is '-'"),
        ("rte", "index\tsentence1\tlabel\n0\tA\tentailment\n", 1, "no column 'sentence2'. It has: index, sentence1, label"),
        ("rte", "index\tsentence1\tsentence2\n0\tA\tB\n", 1, "no column 'label'"),
        ("rte", HEADER.encode() + b"0\tA\xff\tB\tentailment\n", 2, "not UTF-8"),
        ("rte", HEADER, None, "no items"),
        ("rte", "", None, "no items"),
        ("stsb", "sentence1\tsentence2\tscore\nA\tB\t5.2\n", 2, "the score is '5.2'"),
        ("stsb", "sentence1\tsentence2\tscore\nA\tB\tnan\n", 2, "the score is 'nan'"),
        ("cola", "gj04\t1\tHe goes.\n", 1, "3 fields, but 4 columns"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_an_error_with_its_place(
    name: str, text: str | bytes, line: int | None, reason: str, tmp_path: Path
) -> None:
    write(tmp_path, {"train.tsv": text, "dev.tsv": GOOD})
    with pytest.raises(ConfigError) as error:
        families.load(task(name, tmp_path), tmp_path)
    where = f"train.tsv, line {line}:" if line else "train.tsv:"
    assert where in str(error.value) and reason in str(error.value) and "\n" not in str(error.value)


RAW = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n" + "".join(
    f"{i % 2}\t{i}\t{i + 100}\tA{i}\tB{i}\n" for i in range(5)
)


@pytest.mark.parametrize("dev", ["dev_ids.tsv", "dev.tsv"])
@pytest.mark.parametrize("named", [True, False])
def test_microsoft_s_own_mrpc_files_are_split_by_glue_s_ids(dev: str, named: bool, tmp_path: Path) -> None:
    rows = {
        "dev_ids.tsv": "1\t101\n4\t104\n",
        "dev.tsv": RAW.split("0\t0")[0] + "1\t1\t101\tA1\tB1\n0\t4\t104\tA4\tB4\n",
    }
    write(tmp_path, {"msr_paraphrase_train.txt": RAW, "msr_paraphrase_test.txt": RAW, dev: rows[dev]})
    files = {"train": "msr_paraphrase_train.txt"} if named else {}
    data = families.load(task("mrpc", tmp_path, files=files), tmp_path)
    assert [item.text_a for item in data.train] == ["A0", "A2", "A3"]
    assert [(item.text_a, item.gold) for item in data.dev] == [("A1", 1), ("A4", 0)]
    assert [item.gold for item in data.others["test"]] == [0, 1, 0, 1, 0], "its labels are public"


def test_what_is_missing_is_said_with_its_place(tmp_path: Path) -> None:
    write(tmp_path, {"train.tsv": GOOD})
    hub = HubConfig("nyu-mll/glue", "main")
    for wrong, expected in (
        (
            task("rte", ""),
            "task=rte needs its original files: task.path=FOLDER with RTE's train.tsv, dev.tsv, test.tsv",
        ),
        (task("rte", tmp_path / "no"), "no such folder"),
        (task("rte", tmp_path), f"{tmp_path} has no dev.tsv. Another name: task.files.dev=FILE"),
        (task("rte", tmp_path, files={"dev": "other.tsv"}), "task.files.dev=other.tsv: there is no"),
        (task("mrpc", write(tmp_path / "raw", {"msr_paraphrase_train.txt": RAW})), "has no dev_ids.tsv or dev.tsv"),
        (task("rtee", tmp_path), "'rtee' is unknown in family glue. Allowed: cola, "),
        (task("rte", "", hub=hub), "a branch or tag moves"),
        (task("rte", tmp_path, hub=hub), "both say where rte is"),
    ):
        with pytest.raises(ConfigError) as error:
            families.load(wrong, tmp_path)
        assert expected in str(error.value) and "\n" not in str(error.value)


def test_other_files_and_other_splits_are_read_by_name(tmp_path: Path) -> None:
    write(tmp_path, {"train.10k.tsv": GOOD, "dev.tsv": GOOD, "mine.tsv": GOOD})
    data = families.load(task("rte", tmp_path, files={"train": "train.10k.tsv", "mine": "mine.tsv"}), tmp_path)
    assert list(data.others) == ["mine"] and data.others["mine"] == data.train
    assert not any("10k" in note for note in data.notes), "only files with the official name have an official count"


def test_a_part_of_the_items_is_drawn_by_key_in_file_order(tmp_path: Path) -> None:
    rows = "".join(f"{i}\tA{i}\tB\t{'entailment' if i < 50 else 'not_entailment'}\n" for i in range(100))
    write(tmp_path, {"train.tsv": HEADER + rows, "dev.tsv": HEADER + rows})

    def drawn(**options: Any) -> families.TaskData:
        return families.load(task("rte", tmp_path, **options), tmp_path)

    ids = [int(item.id) for item in drawn(num_train=30).train]
    assert ids == sorted(ids) and len(set(ids)) == 30
    assert 5 <= sum(i < 50 for i in ids) <= 25, "classes are not sorted away"
    assert drawn(num_train=30) == drawn(num_train=30)
    assert set(ids) <= {int(item.id) for item in drawn(num_train=60).train}, "more items hold the fewer"
    assert [int(item.id) for item in drawn(num_dev=30).dev] != ids, "train and dev have draws of their own"
    assert len(drawn(num_train=1000).train) == 100
    with pytest.raises(ConfigError, match="num_train=0"):
        drawn(num_train=0)


def test_num_dev_is_of_all_splits_that_are_scored_and_not_of_tests(tmp_path: Path) -> None:
    rows = "".join(f"{i}\tA{i}\tB\tentailment\n" for i in range(20))
    tests = "index\tsentence1\tsentence2\n" + "".join(f"{i}\tA{i}\tB\n" for i in range(20))
    write(
        tmp_path, {"train.tsv": HEADER + rows, "dev.tsv": HEADER + rows, "mine.tsv": HEADER + rows, "test.tsv": tests}
    )
    data = families.load(task("rte", tmp_path, files={"mine": "mine.tsv"}, num_dev=6), tmp_path)
    assert counts(data) == {"train": 20, "dev": 6, "mine": 6, "test": 20}


def test_leaderboard_files_have_official_names_and_labels(tmp_path: Path) -> None:
    def lines(name: str, split: str, labels: tuple[str, ...], predictions: list[Any]) -> tuple[str, list[str]]:
        rows = [{"id": str(i), "prediction": prediction} for i, prediction in enumerate(predictions)]
        submission.write(tmp_path / name / split, task(name, ""), split, rows, labels)
        [path] = (tmp_path / name / split).iterdir()
        return path.name, path.read_text().splitlines()

    header = "index\tprediction"
    mnli = ("entailment", "neutral", "contradiction")
    assert lines("mnli", "test_mm", mnli, [2, 0]) == ("MNLI-mm.tsv", [header, "0\tcontradiction", "1\tentailment"])
    assert lines("mnli", "test", mnli, [1])[0] == "MNLI-m.tsv"
    assert lines("mnli", "test_ax", mnli, [1]) == ("AX.tsv", [header, "0\tneutral"])
    assert lines("cola", "test", ("0", "1"), [1, 0]) == ("CoLA.tsv", [header, "0\t1", "1\t0"])
    assert lines("stsb", "test", (), [5.3, -0.1, 2.5]) == ("STS-B.tsv", [header, "0\t5.000", "1\t0.000", "2\t2.500"])
    with pytest.raises(ConfigError, match=r"rte has no file for dev\. Allowed: test"):
        lines("rte", "dev", ("entailment", "not_entailment"), [0])
    with pytest.raises(ConfigError, match="race has no such files"):
        submission.write(tmp_path, TaskConfig("race", "race", "choice"), "test", [])


def test_minus_one_in_a_test_file_is_no_label_and_elsewhere_a_mistake(tmp_path: Path) -> None:
    rows = "sentence\tlabel\na\t1\n"
    write(tmp_path, {"train.tsv": rows, "dev.tsv": rows, "test.tsv": "sentence\tlabel\na\t-1\nb\t-1\n"})
    found = families.load(task("sst2", tmp_path), tmp_path).others["test"]
    assert [item.gold for item in found] == [None, None]
    write(tmp_path, {"test.tsv": "sentence\tlabel\na\t-1\nb\t1\n"})
    with pytest.raises(ConfigError, match=r"test\.tsv: 1 of 2 items have no label; allowed is all or none"):
        families.load(task("sst2", tmp_path), tmp_path)
    write(tmp_path, {"dev.tsv": "sentence\tlabel\na\t-1\n"})
    with pytest.raises(ConfigError, match=r"dev\.tsv, line 2: the label is '-1'"):
        families.load(task("sst2", tmp_path), tmp_path)
