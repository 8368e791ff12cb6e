"""Entities in columns: a word a line, its tag last, a blank line between sentences (CoNLL-2003, WNUT-17, any such file).

Not in the paper. Columns are between tabs or blanks, and nothing else: a no-break space is a word. Lines that begin with # and
are no row of the file are comments. Tags become IOB2, which changes no entity as conlleval reads them: a tag I- that continues nothing begins one
(IOB1, which CoNLL-2003's own files have), and IOBES's S and E (BILOU's U and L) are B and I. Classes are numbered so that their
numbers say what they are: 0 is O, 2t-1 begins an entity of type t, 2t continues it. Tags B and I alone are of one type.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from roberta_lab.config import ConfigError, TaskConfig
from roberta_lab.tasks.families import hub
from roberta_lab.tasks.families.base import Family
from roberta_lab.tasks.families.reading import Candidates, assembled, lines, malformed, split_files, task_folder
from roberta_lab.tasks.items import Item, Tagging, TaskData

FILES: dict[str, Candidates] = {
    "ner_conll2003": {
        "train": ("eng.train", "train.txt"),
        "dev": ("eng.testa", "valid.txt", "dev.txt"),
        "test": ("eng.testb", "test.txt"),
    },
    "wnut17": {"train": ("wnut17train.conll",), "dev": ("emerging.dev.conll",), "test": ("emerging.test.annotated",)},
    "ner": {
        "train": ("train.txt", "train.conll"),
        "dev": ("dev.txt", "valid.txt", "dev.conll", "valid.conll"),
        "test": ("test.txt", "test.conll"),
    },
}
OFFICIAL = {
    "ner_conll2003": {"eng.train": 14_041, "eng.testa": 3_250, "eng.testb": 3_453},
    "wnut17": {"wnut17train.conll": 3_394, "emerging.dev.conll": 1_009, "emerging.test.annotated": 1_287},
}
COLUMNS = {"word": "0", "label": "-1"}
_PREFIXES = ("B", "I", "S", "U", "E", "L", "M")
_BEGINS_ALWAYS, _ENDS = ("B", "S", "U"), ("E", "L", "S", "U")
Tagged = tuple[list[str], list[str] | None]  # words, tags
Sentence = tuple[int, list[list[str]]]  # the number of its first line, and the fields of its words


def load(task: TaskConfig, corpus: Path) -> TaskData:
    """Return the sentences of a tagged corpus; `corpus` is not read. The types are those of all files together, sorted by name."""
    files = read_from(task)
    notes: list[str] = []
    tagged = {split: read(path, _columns(task), split, notes) for split, path in files.items()}
    labels, items = numbered(tagged)
    return assembled(task, files, items, labels, OFFICIAL.get(task.name), notes)


def read_from(task: TaskConfig) -> dict[str, Path]:
    """Return the file of each split that `load` opens."""
    candidates = FILES.get(task.name, FILES["ner"])
    what = f"files of a word and its tag a line ({', '.join(names[0] for names in candidates.values())})"
    folder = task_folder(task, what, task.name, task.name.removeprefix("ner_"))
    return split_files(task, folder, candidates, expect_one=True)


def numbered(tagged: Mapping[str, list[Tagged]]) -> tuple[tuple[str, ...], dict[str, list[Item]]]:
    """Return the classes of all splits, and their items."""
    everything = [tags for sentences in tagged.values() for _, tags in sentences if tags is not None]
    types = sorted({tag[2:] for tags in everything for tag in tags if tag != "O"})
    labels = ("O", *(_tag(prefix, kind) for kind in types for prefix in "BI"))
    number = {label: i for i, label in enumerate(labels)}
    items: dict[str, list[Item]] = {
        split: [
            Tagging(str(i), tuple(words), None if tags is None else tuple(number[tag] for tag in tags))
            for i, (words, tags) in enumerate(sentences)
        ]
        for split, sentences in tagged.items()
    }
    return labels, items


def _columns(task: TaskConfig) -> tuple[int, int]:
    """Return the columns of the word and of the tag, from 0, or from -1 backwards."""
    for key, text in task.columns.items():
        if key not in COLUMNS or not text.removeprefix("-").isdigit():
            raise ConfigError(
                f"task.columns.{key}={text}: allowed are {' and '.join(COLUMNS)}, each the number of a column from 0, or "
                "from -1 backwards."
            )
    word, label = ({**COLUMNS, **task.columns}[key] for key in ("word", "label"))
    return int(word), int(label)


def read(path: Path, columns: tuple[int, int], split: str, notes: list[str]) -> list[Tagged]:
    """Return words and IOB2 tags of each sentence; no tags where a test file has one column only."""
    found: list[Tagged] = []
    rewritten = 0
    comments: list[int] = []
    for first, rows in _sentences(path, columns[1], split, comments):
        untagged = len(rows[0]) == 1 and split.startswith("test")
        try:
            words = [row[columns[0]] for row in rows]
            given = None if untagged else [row[columns[1]] for row in rows]
        except IndexError:
            what = f"{len(rows[0])} columns, but task.columns asks for {columns[0]} and {columns[1]}"
            raise malformed(path, first, f"{what}.") from None
        if given is not None and len(rows[0]) == 1:
            raise malformed(path, first, "one column; allowed are two or more, the word first and its tag last.")
        tags = None if given is None else iob2(path, first, given)
        rewritten += sum(a != b for a, b in zip(given or (), tags or (), strict=True))
        found.append((words, tags))
    if comments:
        notes.append(
            f"{path}: {len(comments):,} lines begin with # and are no row, the first is line {comments[0]}: comments."
        )
    if rewritten:
        notes.append(f"{path}: {rewritten:,} tags are now IOB2; the entities are the same.")
    return found


def _sentences(path: Path, label: int, split: str, comments: list[int]) -> Iterator[Sentence]:
    """Yield sentences between blank lines and -DOCSTART- lines. Fields are between tabs, in a line without tabs between blanks.

    `comments` takes the numbers of lines that are comments; `label` is the column of the tags.
    """
    first, rows, width = 0, list[list[str]](), 0
    for number, line in lines(path):
        fields = [field.strip(" ") for field in line.split("\t")] if "\t" in line else line.split(" ")
        fields = fields if "\t" in line else list(filter(None, fields))
        if line.startswith("#") and _is_comment(line, fields, width, label, split):
            comments.append(number)
            continue
        if not any(fields) or fields[0] == "-DOCSTART-":
            if rows:
                yield first, rows
            rows = []
            continue
        width = width or len(fields)
        if len(fields) != width or not fields[0]:
            raise malformed(path, number, f"{len(fields)} columns ({line!r}), where the lines before have {width}.")
        first = first if rows else number
        rows.append(fields)
    if rows:
        yield first, rows


def _is_comment(line: str, fields: list[str], width: int, label: int, split: str) -> bool:
    """Return whether a line that begins with # is no row of a file of `width` columns (0: not known yet): # is a word, too."""
    if width and len(fields) != width:
        return True
    if len(fields) == 1:
        return not split.startswith("test")  # which may have words alone
    return line[1] in " \t" and not _is_tag(fields[label] if -len(fields) <= label < len(fields) else "")


def _is_tag(text: str) -> bool:
    prefix, dash, kind = text.partition("-")
    return text == "O" or (prefix in _PREFIXES and bool(kind) == bool(dash))


def _tag(prefix: str, kind: str) -> str:
    return f"{prefix}-{kind}" if kind else prefix


def iob2(path: Path, first: int, tags: list[str]) -> list[str]:
    """Return the tags of a sentence in IOB2. Errors name `path`, and lines from `first` on."""
    found: list[str] = []
    before = "O"  # as it stands in the file
    for line, tag in enumerate(tags, first):
        prefix, _, kind = tag.partition("-")
        if not _is_tag(tag):
            allowed = "O, and B-TYPE, I-TYPE or B, I alone (IOB1, IOB2, IOBES, BILOU)"
            raise malformed(path, line, f"the tag is {tag!r}. Allowed: {allowed}.")
        begins = prefix in _BEGINS_ALWAYS or before[:1] in _ENDS or before == "O" or before[2:] != kind
        found.append("O" if tag == "O" else _tag("B" if begins else "I", kind))
        before = tag
    return found


def load_from_hub(task: TaskConfig) -> TaskData:
    """Return the sentences of `task.hub`, where tags are numbers with names."""
    words, label = (task.columns.get(key, default) for key, default in (("word", "tokens"), ("label", "ner_tags")))
    tables = hub.tables(task, (words, label))
    tagged: dict[str, list[Tagged]] = {}
    for split, (path, source) in tables.items():
        names, found = hub.class_names(source, label), list[Tagged]()
        for number, row in hub.rows(source):
            tags = [tag if isinstance(tag, str) or names is None else names[tag] for tag in row[label]]
            if len(tags) != len(row[words]) or not all(isinstance(tag, str) for tag in tags):
                what = f"{len(row[words])} words and {len(tags)} tags, or tags without names"
                raise malformed(path, None, f"row {number}: {what}.")
            if tags:
                found.append((list(row[words]), iob2(path, number, tags)))
        tagged[split] = found
    labels, items = numbered(tagged)
    return assembled(task, hub.names_of(tables), items, labels)


FAMILY = Family(
    load=load,
    files=read_from,
    load_from_hub=load_from_hub,
    train_items={name: official[FILES[name]["train"][0]] for name, official in OFFICIAL.items()},
)
