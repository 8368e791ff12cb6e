"""The nine tasks of GLUE (Wang et al. 2019) from their original files (RoBERTa, Section 3.3).

Files are tabs between fields, and a quote is a quote. What is odd about them: CoLA's train and dev have no header; MRPC
comes in Microsoft's own files with a byte order mark, dev being a list of ids; QQP has a few rows with fields missing, which
are left out as everyone does; MNLI has three layouts, and items without agreement (`-`), which are left out. Outer white space
of a text is none of it, as in the paper's preprocessing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from roberta_lab.config import ConfigError, TaskConfig
from roberta_lab.tasks.families import hub, reading
from roberta_lab.tasks.families.base import Family, Submission
from roberta_lab.tasks.families.reading import NO_LABEL, Fields, malformed
from roberta_lab.tasks.items import Item, Predictions, TaskData, TextItem

_BINARY, _ENTAILMENT = ("0", "1"), ("entailment", "not_entailment")
_THREE = {split: (f"{split}.tsv",) for split in ("train", "dev", "test")}


@dataclass(frozen=True)
class Format:
    """The files of one task. Its folder may be `task.path` itself or a sub-folder of GLUE's name."""

    folder: str
    text_a: str
    text_b: str | None
    label: str
    labels: tuple[str, ...]  # as leaderboard files spell them; () for a score from 0 to 5
    official: Mapping[str, int]  # file -> items
    id: str = "index"
    header: tuple[str, ...] = ()  # of a file that has none
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _THREE)
    may_lack_fields: bool = False
    no_label: str | None = None  # the label of items that are left out


def _counts(train: int, dev: int, test: int) -> dict[str, int]:
    return {"train.tsv": train, "dev.tsv": dev, "test.tsv": test}


_MNLI = {
    "train": ("train", 392_702),
    "dev": ("dev_matched", 9_815),
    "dev_mm": ("dev_mismatched", 9_832),
    "test": ("test_matched", 9_796),
    "test_mm": ("test_mismatched", 9_847),
}
_AX = ("diagnostic.tsv", "../diagnostic/diagnostic.tsv")  # which the leaderboard wants of MNLI's model
_MNLI_SPLITS = {**{split: (f"{name}.tsv",) for split, (name, _) in _MNLI.items()}, "test_ax": _AX}
_MNLI_COUNTS = {**{f"{name}.tsv": items for name, items in _MNLI.values()}, "diagnostic.tsv": 1_104}
_RAW_TRAIN, _RAW_TEST, _DEV_IDS = "msr_paraphrase_train.txt", "msr_paraphrase_test.txt", "dev_ids.tsv"
_MRPC_SPLITS = {"train": ("train.tsv", _RAW_TRAIN), "dev": ("dev.tsv",), "test": ("test.tsv", _RAW_TEST)}
_MRPC_COUNTS = _counts(3_668, 408, 1_725) | {_RAW_TEST: 1_725}

FORMATS = {
    "cola": Format(
        *("CoLA", "sentence", None, "label", _BINARY, _counts(8_551, 1_043, 1_063)),
        header=("source", "label", "mark", "sentence"),
    ),
    "sst2": Format("SST-2", "sentence", None, "label", _BINARY, _counts(67_349, 872, 1_821)),
    "mrpc": Format("MRPC", "#1 String", "#2 String", "Quality", _BINARY, _MRPC_COUNTS, splits=_MRPC_SPLITS),
    "stsb": Format("STS-B", "sentence1", "sentence2", "score", (), _counts(5_749, 1_500, 1_379)),
    "qqp": Format(
        *("QQP", "question1", "question2", "is_duplicate", _BINARY, _counts(363_849, 40_430, 390_965)),
        id="id",
        may_lack_fields=True,
    ),
    "mnli": Format(
        *("MNLI", "sentence1", "sentence2", "gold_label", ("entailment", "neutral", "contradiction"), _MNLI_COUNTS),
        splits=_MNLI_SPLITS,
        no_label="-",
    ),
    "qnli": Format("QNLI", "question", "sentence", "label", _ENTAILMENT, _counts(104_743, 5_463, 5_463)),
    "rte": Format("RTE", "sentence1", "sentence2", "label", _ENTAILMENT, _counts(2_490, 277, 3_000)),
    "wnli": Format("WNLI", "sentence1", "sentence2", "label", _BINARY, _counts(635, 71, 146)),
}


def load(task: TaskConfig, corpus: Path) -> TaskData:
    """Return the items of one of GLUE's tasks; `corpus` is not read. Labels are None where a test file has none."""
    form, files = reading.known(task, FORMATS), files_of(task)
    notes: list[str] = []
    items = {split: read(path, form, split, notes) for split, path in files.items() if path.name != _DEV_IDS}
    if files["train"].name == _RAW_TRAIN:
        items = _without_dev(files, items, notes)
    return reading.assembled(task, files, items, form.labels, form.official, notes)


def files_of(task: TaskConfig) -> dict[str, Path]:
    """Return the file of each split. In Microsoft's MRPC, dev is the list of ids, or GLUE's own dev file."""
    form = reading.known(task, FORMATS)
    what = f"{form.folder}'s {', '.join(names[0] for names in form.splits.values())}"
    folder = reading.task_folder(task, what, form.folder)
    is_raw = reading.split_files(task, folder, form.splits, needed=("train",))["train"].name == _RAW_TRAIN
    return reading.split_files(task, folder, {**form.splits, "dev": (_DEV_IDS, "dev.tsv")} if is_raw else form.splits)


def read_from(task: TaskConfig) -> dict[str, Path]:
    """Return what `load` opens, by split, and by name where the name says how it is read."""
    by_name = (_RAW_TRAIN, _DEV_IDS)
    return {f"{s}/{f.name}" if f.name in by_name else s: f for s, f in files_of(task).items()}


def read(path: Path, form: Format, split: str, notes: list[str]) -> list[Item]:
    """Return the items of one file, in its order; `notes` takes a line on those that were left out."""
    fewer: list[int] | None = [] if form.may_lack_fields else None
    _, first = next(reading.lines(path), (1, ""))
    header = () if form.text_a in first.split("\t") else form.header  # of a file that starts without one
    found: list[Item] = []
    unlabelled = 0
    for place, (line, row) in enumerate(reading.tsv_rows(path, header, fewer)):
        if place == 0:
            _expect_columns(path, list(row), form, split)
        if form.no_label is not None and row.get(form.label, "").strip() == form.no_label:
            unlabelled += 1
        else:
            found.append(_item(path, line, row.get(form.id) or str(place), row, form, split))
    if fewer:
        notes.append(f"{path}: {len(fewer)} rows lack fields and were left out (line {fewer[0]} is the first).")
    if unlabelled:
        notes.append(f"{path}: {unlabelled} items have the label {form.no_label!r}, no agreement, and were left out.")
    return found


def _expect_columns(path: Path, there: list[str], form: Format, split: str) -> None:
    wanted = [form.text_a, *([form.text_b] if form.text_b else []), *([] if split.startswith("test") else [form.label])]
    for name in wanted:
        if name not in there:
            raise malformed(path, 1, f"no column {name!r}. It has: {', '.join(there)}.")


def _item(path: Path, line: int, name: str, row: dict[str, str], form: Format, split: str) -> Item:
    text_a, text_b = row[form.text_a].strip(), row[form.text_b].strip() if form.text_b else None
    label = row.get(form.label, NO_LABEL).strip()
    if label == NO_LABEL and split.startswith("test"):
        return TextItem(name, text_a, text_b, None)
    if form.labels and label not in form.labels:
        raise malformed(path, line, f"the label is {label!r}. Allowed: {', '.join(form.labels)}.")
    gold = form.labels.index(label) if form.labels else reading.parse_score(path, line, label, 0, 5)
    return TextItem(name, text_a, text_b, gold)


# ---------------------------------------------------------------- MRPC as Microsoft published it
def _without_dev(files: dict[str, Path], items: dict[str, list[Item]], notes: list[str]) -> dict[str, list[Item]]:
    """Return train and dev of one file; GLUE's list of ids, or its own dev file, says which of the pairs are dev."""
    if files["dev"].name == _DEV_IDS:
        pairs = {tuple(line.split("\t")) for _, line in reading.lines(files["dev"]) if line}
    else:
        pairs = {(row["#1 ID"], row["#2 ID"]) for _, row in reading.tsv_rows(files["dev"])}
    in_dev = [(row["#1 ID"], row["#2 ID"]) in pairs for _, row in reading.tsv_rows(files["train"])]
    everything = list(zip(items["train"], in_dev, strict=True))
    train, dev = ([item for item, here in everything if here == wanted] for wanted in (False, True))
    if (len(train), len(dev)) != (3_668, 408):
        notes.append(
            f"{files['train']}: {len(train):,} train and {len(dev):,} dev; the official MRPC has 3,668 and 408."
        )
    items = {"dev": dev, **items, "train": train}  # a dev file's own items stay
    return {split: items[split] for split in files}


HUB_TEXTS = {"mnli": ("premise", "hypothesis"), "mrpc": ("sentence1", "sentence2")}  # where they have other names there
HUB_SPLITS = {"mnli": {split: (name.replace("dev_", "validation_"),) for split, (name, _) in _MNLI.items()}}


def load_from_hub(task: TaskConfig) -> TaskData:
    """Return the items of a subset of the dataset; labels are numbers in our order there, and -1 where they are not public."""
    form = reading.known(task, FORMATS)
    text_a, text_b = HUB_TEXTS.get(task.name, (form.text_a, form.text_b))

    def item(path: Path, line: int, row: Fields) -> TextItem:
        gold = None if row["label"] in (None, -1) else row["label"]
        if form.labels and gold not in (None, *range(len(form.labels))):
            allowed = f"Allowed: 0 to {len(form.labels) - 1}, or -1 for none"
            raise malformed(path, None, f"row {line}: the label is {gold!r}. {allowed}.")
        gold = gold if gold is None or form.labels else float(gold)
        return TextItem(str(row["idx"]), row[text_a].strip(), row[text_b].strip() if text_b else None, gold)

    columns = [text_a, *([text_b] if text_b else []), "label", "idx"]
    tables = hub.tables(task, columns, task.name, HUB_SPLITS.get(task.name, hub.SPLITS))
    official = {path.name: form.official[form.splits[split][0]] for split, (path, _) in tables.items()}
    return reading.assembled(task, hub.names_of(tables), hub.items(tables, item), form.labels, official)


def leaderboard_files(task: TaskConfig) -> dict[str, str]:
    """Return the name of the file of each test split."""
    if task.name == "mnli":
        return {"test": "MNLI-m", "test_mm": "MNLI-mm", "test_ax": "AX"}
    return {"test": reading.known(task, FORMATS).folder}


def submission(task: TaskConfig, split: str, predictions: Predictions, labels: Sequence[str]) -> dict[str, str]:
    """Return the file of a test split: index and prediction, with tabs. Scores of STS-B lie from 0 to 5."""
    names = leaderboard_files(task)
    if split not in names:
        raise ConfigError(f"finetune.submission: {task.name} has no file for {split}. Allowed: {', '.join(names)}.")
    found = [(p["id"], p["prediction"]) for p in predictions]
    rows = (f"{name}\t{labels[value] if labels else f'{min(5.0, max(0.0, value)):.3f}'}\n" for name, value in found)
    return {f"{names[split]}.tsv": "index\tprediction\n" + "".join(rows)}


FAMILY = Family(
    load=load,
    files=read_from,
    load_from_hub=load_from_hub,
    submission=Submission(submission, splits=lambda task: list(leaderboard_files(task))),
    train_items={name: form.official[form.splits["train"][0]] for name, form in FORMATS.items()},
)
