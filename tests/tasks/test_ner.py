"""Tagged columns in four schemes, and entities counted as conlleval counts them, by hand and by its own rules."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roberta_lab.config import ConfigError, TaskConfig
from roberta_lab.tasks import families
from roberta_lab.tasks.heads.tagging import entities
from roberta_lab.tasks.items import Tagging
from roberta_lab.tasks.metrics import constant_predictions, score

CONLL = """-DOCSTART- -X- -X- O

EU NNP I-NP I-ORG
rejects VBZ I-VP O
German JJ I-NP I-MISC
British JJ I-NP B-MISC

Peter NNP I-NP I-PER
Blackburn NNP I-NP I-PER
-DOCSTART- -X- -X- O
Rome NNP I-NP I-LOC
Paris NNP I-NP B-LOC"""


def task(path: Path, name: str = "ner", **options: Any) -> TaskConfig:
    return TaskConfig(name, "ner", "tagging", 0, "f1", str(path), **options)


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return folder


def test_conll_s_own_format_becomes_iob2(tmp_path: Path) -> None:
    write(tmp_path, eng_train=CONLL, eng_testa="x X X O\n", eng_testb="x X X B-NEW\n")
    data = families.load(task(tmp_path, "ner_conll2003"), tmp_path)
    types = ("LOC", "MISC", "NEW", "ORG", "PER")
    assert data.labels == ("O", *(f"{prefix}-{kind}" for kind in types for prefix in "BI"))
    named = [(item.words, tuple(data.labels[number] for number in item.gold)) for item in data.train]
    assert named == [
        (("EU", "rejects", "German", "British"), ("B-ORG", "O", "B-MISC", "B-MISC")),
        (("Peter", "Blackburn"), ("B-PER", "I-PER")),
        (("Rome", "Paris"), ("B-LOC", "B-LOC")),
    ]
    assert any("4 tags are now IOB2" in note for note in data.notes)
    assert any("3 items; the official eng.train has 14,041" in note for note in data.notes)


def test_tabs_blanks_and_odd_characters(tmp_path: Path) -> None:
    text = "a b\tO\n\u00a0\u200b\tB-X\r\n\t\n\n#\tO\nU+2028:\u2028\tI-X\n"
    data = families.load(task(write(tmp_path, train_txt=text, dev_txt=text)), tmp_path)
    assert [item.words for item in data.dev] == [("a b", "\u00a0\u200b"), ("#", "U+2028:\u2028")]
    assert [item.gold for item in data.dev] == [(0, 1), (0, 1)]
    other = "O word 1\nB-X name 2\n"
    write(tmp_path, train_txt=other, dev_txt=other)
    data = families.load(task(tmp_path, columns={"word": "1", "label": "0"}), tmp_path)
    assert data.dev == [Tagging("0", ("word", "name"), (0, 1))]


def test_two_files_of_one_split_are_one_line(tmp_path: Path) -> None:
    write(tmp_path, train_txt="a O\n", dev_conll="a O\n", valid_txt="b O\n")
    with pytest.raises(
        ConfigError, match=r" has valid\.txt and dev\.conll\. Say which is dev: task\.files\.dev=valid\.txt\.$"
    ):
        families.load(task(tmp_path), tmp_path)
    assert families.load(task(tmp_path, files={"dev": "valid.txt"}), tmp_path).dev[0].words == ("b",)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("O I-A I-A O", "O B-A I-A O"),
        ("I-A B-A I-A", "B-A B-A I-A"),
        ("B-A I-B I-B", "B-A B-B I-B"),
        ("B-A I-A E-A S-A S-B", "B-A I-A I-A B-A B-B"),
        ("B-A L-A I-A U-A", "B-A I-A B-A B-A"),
        ("B-A-1 I-A-1", "B-A-1 I-A-1"),
    ],
)
def test_schemes_of_tags(given: str, expected: str, tmp_path: Path) -> None:
    text = "".join(f"w {tag}\n" for tag in given.split())
    data = families.load(task(write(tmp_path, train_txt=text, dev_txt=text)), tmp_path)
    [item] = data.dev
    assert [data.labels[number] for number in item.gold] == expected.split()


def test_a_test_file_of_words_has_no_labels(tmp_path: Path) -> None:
    write(tmp_path, train_txt="a O\n", dev_txt="b B-X\n", test_txt="c\nd\n\ne\n")
    data = families.load(task(tmp_path), tmp_path)
    assert data.others["test"] == [Tagging("0", ("c", "d"), None), Tagging("1", ("e",), None)]
    assert score(task(tmp_path), data.others["test"], []) == {}


@pytest.mark.parametrize(
    ("text", "options", "reason"),
    [
        ("a O\nb\n", {}, "line 2: 1 columns ('b'), where the lines before have 2"),
        ("a O\n\nb X Y O\n", {}, "line 3: 4 columns"),
        ("a O\nb PER\n", {}, "line 2: the tag is 'PER'. Allowed: O, and B-TYPE, I-TYPE"),
        ("a O\nb B-\n", {}, "line 2: the tag is 'B-'"),
        ("a\tO\n\tO\n", {}, "line 2: 2 columns"),
        ("a\n", {}, "line 1: one column"),
        ("a O\n", {"columns": {"label": "3"}}, "line 1: 2 columns, but task.columns asks for 0 and 3"),
        ("a O\n", {"columns": {"tag": "3"}}, "task.columns.tag=3: allowed are word and label"),
        ("a O\n", {"columns": {"word": "x"}}, "task.columns.word=x"),
        ("\n", {}, "holds no items of ner"),
    ],
)
def test_a_wrong_line_is_an_error_with_its_place(text: str, options: Any, reason: str, tmp_path: Path) -> None:
    write(tmp_path, train_txt=text, dev_txt="a O\n")
    with pytest.raises(ConfigError) as error:
        families.load(task(tmp_path, **options), tmp_path)
    assert reason in str(error.value)


# ---------------------------------------------------------------- entities
@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        ([0, 0], set()),
        ([1, 2, 2, 0], {(0, 3, 1)}),
        ([1, 1, 2], {(0, 1, 1), (1, 3, 1)}),
        ([0, 2, 2], {(1, 3, 1)}),  # I- after O begins
        ([1, 4, 4], {(0, 1, 1), (1, 3, 2)}),  # a change of type begins
        ([2, 1, 0, 4], {(0, 1, 1), (1, 2, 1), (3, 4, 2)}),
        ([], set()),
    ],
)
def test_entities_by_hand(classes: list[int], expected: set[Any]) -> None:
    assert entities(classes) == expected


def slow_entities(tags: list[str]) -> set[tuple[int, int, str]]:
    """conlleval's rules for each pair of neighbours: does one end between them, does one start."""
    found, start = set(), None
    for i in range(len(tags) + 1):
        before, here = tags[i - 1] if i else "O", tags[i] if i < len(tags) else "O"
        changes = before[2:] != here[2:]
        ends = before != "O" and (here == "O" or here.startswith("B") or changes)
        starts = here != "O" and (before == "O" or here.startswith("B") or changes)
        if ends and start is not None:
            found.add((start, i, before[2:]))
        if starts:
            start = i
    return found


def test_entity_scores_are_those_of_conlleval_s_rules() -> None:
    labels = ("O", "B-A", "I-A", "B-B", "I-B", "B-C", "I-C")
    rng, items, predictions = np.random.default_rng(0), [], []
    correct = found = true = 0
    for i in range(200):
        right = rng.integers(7, size=rng.integers(1, 12))
        guess = np.where(rng.random(len(right)) < 0.4, rng.integers(7, size=len(right)), right)
        items.append(Tagging(str(i), ("w",) * len(right), tuple(right.tolist())))
        predictions.append({"id": str(i), "prediction": guess.tolist()})
        ours, theirs = (slow_entities([labels[n] for n in numbers]) for numbers in (guess, right))
        correct, found, true = correct + len(ours & theirs), found + len(ours), true + len(theirs)
    scores = score(task(Path()), items, predictions)
    assert scores["precision"] == 100 * correct / found and scores["recall"] == 100 * correct / true
    assert scores["f1"] == pytest.approx(200 * correct / (found + true), abs=1e-9) and 20 < scores["f1"] < 80
    data = families.TaskData(items, items, labels)
    constant = score(task(Path()), items, constant_predictions(task(Path()), data))
    slow = []
    for number in range(7):
        predicted = [{"id": item.id, "prediction": [number] * len(item.words)} for item in items]
        slow.append(score(task(Path()), items, predicted)["f1"])
    assert slow[0] == 0.0 < constant["f1"] == max(slow)


# ---------------------------------------------------------------- files as people have them
@pytest.mark.parametrize("space", ["\u00a0", "\u3000", "\u2009", "\u0085", "\x1f"])
@pytest.mark.parametrize("between", ["\t", " "])
def test_only_tabs_and_blanks_part_columns(space: str, between: str, tmp_path: Path) -> None:
    text = f"Bob{between}B-PER\n{space}{between}O\nde{space}la{between}O\n"
    data = families.load(task(write(tmp_path, train_txt=text, dev_txt=text)), tmp_path)
    assert [item.words for item in data.dev] == [("Bob", space, f"de{space}la")]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("O I I O I", "O B I O B"),
        ("B B I O", "B B I O"),
        ("B I E S", "B I I B"),
        ("I-A I I", "B-A B I"),
    ],
)
def test_tags_without_a_type(given: str, expected: str, tmp_path: Path) -> None:
    text = "".join(f"w {tag}\n" for tag in given.split())
    data = families.load(task(write(tmp_path, train_txt=text, dev_txt=text)), tmp_path)
    [item] = data.dev
    assert [data.labels[number] for number in item.gold] == expected.split()
    assert data.labels[0] == "O" and all(data.labels[i][0] == "OBI"[(i > 0) + (i > 0 and i % 2 == 0)] for i in range(3))
    assert score(task(tmp_path), data.dev, [{"id": "0", "prediction": list(item.gold)}])["f1"] == 100


@pytest.mark.parametrize("between", ["\t", " "])
def test_comments_are_left_out_and_a_word_may_begin_so(between: str, tmp_path: Path) -> None:
    """CoNLL-U's comments, and Twitter's words: what is a row of the file is none."""
    rows = [
        "# newdoc id = 1",
        "# text = Bob lives",
        "Bob B-PER",
        "#hashtag O",
        "# O",
        "",
        "#sent_id=2",
        "He O",
        "# and so O",
    ]
    text = "\n".join(row if row.startswith("# ") and row != "# O" else row.replace(" ", between) for row in rows) + "\n"
    data = families.load(task(write(tmp_path, train_txt=text, dev_txt=text, test_txt="#one\ntwo\n")), tmp_path)
    assert [item.words for item in data.dev] == [("Bob", "#hashtag", "#"), ("He",)]
    assert data.others["test"][0].words == ("#one", "two")
    assert f"{tmp_path / 'dev.txt'}: 4 lines begin with # and are no row, the first is line 1" in " ".join(data.notes)


def test_a_wrong_tag_after_a_hashtag_is_no_comment(tmp_path: Path) -> None:
    text = "Bob B-PER\n#tag PER\n"
    with pytest.raises(ConfigError, match="line 2: the tag is 'PER'"):
        families.load(task(write(tmp_path, train_txt=text, dev_txt=text)), tmp_path)
