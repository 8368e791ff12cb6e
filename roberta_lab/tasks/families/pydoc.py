"""Four tasks with natural labels from the embedded corpus, in the shapes of the paper's tasks (Section 3.3).

`pydoc_topic` (one text), `pydoc_pair` (two texts), `pydoc_span` (a span or none), `pydoc_choice` (one of four). Dev items
come from held-out modules, which pretraining never sees; no text is in both splits.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from roberta_lab.axes.rng import generator
from roberta_lab.config import ConfigError, TaskConfig
from roberta_lab.data.corpus.parts import SPLITS, read_documents
from roberta_lab.data.corpus.sources.pydoc import prose
from roberta_lab.data.corpus.sources.text import segment
from roberta_lab.data.verified import check
from roberta_lab.tasks.families.base import Family
from roberta_lab.tasks.families.reading import Fields, known
from roberta_lab.tasks.items import Choice, Item, Span, TaskData, TextItem

T = TypeVar("T")
Splits = dict[bool, list[Item]]  # by whether they are held out
PACKAGES = ("python", "torch", "numpy", "lightning")
LABELS = {"pydoc_topic": PACKAGES, "pydoc_pair": ("false", "true")}
NUM_CHOICES = 4
BODY_WORDS = 40
CONTEXT_CHARACTERS = 200


def load(task: TaskConfig, corpus: Path) -> TaskData:
    """Return the items of one of this file's tasks, the same for every run on the same corpus."""
    train, dev = known(task, BUILDERS)(corpus)
    for split, items in (("train", train), ("dev", dev)):
        if not items:
            raise ConfigError(f"task={task.name}: the corpus gives no {split} items; check data_mix.held_out_share.")
    return TaskData(train[: task.num_train], dev[: task.num_dev], LABELS.get(task.name, ()))  # both are shuffled


def _shuffled(items: Sequence[T], *name: str) -> list[T]:
    return [items[i] for i in generator(0, "/".join(("pydoc", *name))).permutation(len(items))]


def _train_and_dev(splits: Splits, name: str) -> tuple[list[Item], list[Item]]:
    return _shuffled(splits[False], name, "train"), _shuffled(splits[True], name, "dev")


def _derangement(number: int, *name: str) -> np.ndarray:
    """Return a random permutation of 0 to number - 1 without fixed points, (number,) int64."""
    circle = generator(0, "/".join(("pydoc", *name))).permutation(number)
    other = np.empty(number, np.int64)
    other[circle] = np.roll(circle, 1)
    return other


def _topic(corpus: Path) -> tuple[list[Item], list[Item]]:
    by_split: dict[str, list[Item]] = {}
    seen: set[str] = set()
    for split in reversed(SPLITS):  # a text in both splits stays in dev
        by_package: dict[str, list[Item]] = defaultdict(list)
        for document in read_documents(corpus, split):
            for number, sentence in enumerate(document["sentences"]):
                text = sentence.strip()
                if len(text.split()) >= 5 and text.lower() not in seen:
                    seen.add(text.lower())
                    label = PACKAGES.index(document["package"])
                    item = TextItem(f"{document['id']}:{number}", text, None, label)
                    by_package[document["package"]].append(item)
        shuffled = [_shuffled(by_package[package], "topic", split, package) for package in PACKAGES]
        by_split[split] = list(chain.from_iterable(zip(*shuffled, strict=False)))  # as many of each as of the rarest
    return by_split["train"], by_split["validation"]


class Described(NamedTuple):
    """A docstring's first sentence, and the start of what follows it."""

    id: str
    summary: str
    body: str
    sentence: str  # the body's first: it is no summary but speaks of the same thing


def _described(corpus: Path) -> dict[tuple[str, bool], list[Described]]:
    """Return docstrings with summary and body, by (package, held out), in random order; no summary and no body is there twice."""
    found: dict[tuple[str, bool], list[Described]] = defaultdict(list)
    seen: set[str] = set()
    for record in _docstrings(corpus):
        paragraphs = prose(record["text"])
        if not paragraphs:
            continue
        summary, *rest = segment(paragraphs[0])
        body = " ".join(" ".join([*rest, *paragraphs[1:]]).split()[:BODY_WORDS])
        if len(body.split()) < 6 or summary.lower() in body.lower():
            continue
        shown = (summary, body, segment(body)[0])
        texts = {text.lower() for text in shown}
        if 4 <= len(summary.split()) <= 25 and not texts & seen:
            seen |= texts
            name = f"{record['module']}:{record['qualname']}"
            found[record["package"], record["held_out"]].append(Described(name, *shown))
    return {key: _shuffled(items, "described", *map(str, key)) for key, items in sorted(found.items())}


def _docstrings(corpus: Path) -> list[Fields]:
    """Return the docstrings, those of dev first: a text in both splits stays there."""
    with open(check(corpus / "docstrings.jsonl"), encoding="utf-8") as lines:
        return sorted(map(json.loads, lines), key=lambda record: not record["held_out"])


def _pair(corpus: Path) -> tuple[list[Item], list[Item]]:
    """Return pairs: does this line sum up that body? A true line is its summary, a false one a sentence of another body.

    The other docstring is of the same package, and each is used once.
    """
    splits: Splits = {False: [], True: []}
    for (package, held_out), described in _described(corpus).items():
        if len(described) < 2:
            continue
        other = _derangement(len(described), "pair", package, str(held_out))
        for i, (name, summary, body, _) in enumerate(described):
            splits[held_out].append(TextItem(f"{name}:true", summary, body, 1))
            splits[held_out].append(TextItem(f"{name}:false", described[other[i]].sentence, body, 0))
    return _train_and_dev(splits, "pair")


def _choice(corpus: Path) -> tuple[list[Item], list[Item]]:
    """Return questions: which of four lines sums up this body? The others are sentences of other bodies of the package."""
    splits: Splits = {False: [], True: []}
    for (package, held_out), described in _described(corpus).items():
        if len(described) < NUM_CHOICES:
            continue
        for i, (name, summary, body, _) in enumerate(described):
            draw = generator(0, f"pydoc/choice/{package}/{held_out}", i)
            others = draw.choice(len(described) - 1, NUM_CHOICES - 1, replace=False)
            lines = [summary, *(described[j].sentence for j in others + (others >= i))]
            order = draw.permutation(NUM_CHOICES)
            splits[held_out].append(Choice(name, body, tuple(lines[j] for j in order), int(np.argmin(order))))
    return _train_and_dev(splits, "choice")


# ---------------------------------------------------------------- where is this parameter described
_GOOGLE = re.compile(r"^(?:Args|Arguments|Parameters|Params):[ ]*\n((?:[ \t]+\S.*\n|[ \t]*\n)+)", re.MULTILINE)
_GOOGLE_ENTRY = re.compile(
    r"^( +)\*{0,2}`{0,2}(?P<name>\w+)`{0,2} *(?:\([^\n]*?\))?: +(?P<text>\S.*(?:\n\1[ ]+\S.*)*)", re.MULTILINE
)
_NUMPY = re.compile(r"^Parameters\n-{3,}\n((?:(?!\w[^\n]*\n-{3,}\n).*\n)+)", re.MULTILINE)
_NUMPY_ENTRY = re.compile(r"^(?P<name>\w+) *:[^\n]*\n+(?P<text>(?: +\S.*\n?)+)", re.MULTILINE)
_REST_ENTRY = re.compile(r"^ *:param (?:\w+ )?(?P<name>\w+): +(?P<text>\S.*(?:\n +\S.*)*)", re.MULTILINE)


def described_parameters(text: str) -> tuple[str, dict[str, str]]:
    """Return a docstring's section of parameters (Google's, NumPy's or reST's), its white space squeezed, and each description.

    Returns: ("", {}) where there is none.
    """
    text = text + "\n"
    for section, entry in ((_GOOGLE, _GOOGLE_ENTRY), (_NUMPY, _NUMPY_ENTRY), (None, _REST_ENTRY)):
        found = section.search(text) if section else None
        body = found[1] if found else (text if section is None else "")
        entries = {m["name"]: " ".join(m["text"].split()) for m in entry.finditer(body)}
        if entries:
            squeezed = " ".join(body.split()) if section else " ".join(f"{k}: {v}" for k, v in entries.items())
            return squeezed, entries
    return "", {}


def _span(corpus: Path) -> tuple[list[Item], list[Item]]:
    """Return questions: a parameter's name. Context: a section of parameters. A third of the names are from another docstring."""
    splits: Splits = {False: [], True: []}
    known: dict[tuple[str, bool], list[tuple[str, str, dict[str, str]]]] = defaultdict(list)
    seen: set[str] = set()
    for record in _docstrings(corpus):
        section, entries = described_parameters(record["text"])
        context = section[:CONTEXT_CHARACTERS].rsplit(" ", 1)[0] if len(section) > CONTEXT_CHARACTERS else section
        if len(entries) >= 2 and context.lower() not in seen:
            seen.add(context.lower())
            name = f"{record['module']}:{record['qualname']}"
            known[record["package"], record["held_out"]].append((name, context, entries))
    for (package, held_out), sections in known.items():
        names = sorted({name for _, _, entries in sections for name in entries})
        for i, (name, context, entries) in enumerate(sections):
            draw = generator(0, f"pydoc/span/{package}/{held_out}", i)
            splits[held_out] += _questions(name, context, entries, names, draw)
    return _train_and_dev(splits, "span")


def _questions(
    name: str, context: str, entries: dict[str, str], names: list[str], draw: np.random.Generator
) -> list[Item]:
    """Return two answerable questions of a context, if it has them, and one whose answer is not there."""
    answers = {parameter: _place(context, parameter, text) for parameter, text in entries.items()}
    here = [parameter for parameter, place in answers.items() if place]
    words = {*entries, *re.findall(r"\w+", context)}
    absent = [name for name in names if name not in words]
    asked = [here[j] for j in draw.permutation(len(here))[:2]]
    if absent and len(asked) == 2:
        asked.append(absent[draw.integers(len(absent))])
    return [Span(f"{name}:{parameter}", parameter, context, answers.get(parameter)) for parameter in asked]


def _place(context: str, name: str, description: str) -> tuple[int, int] | None:
    """Return where a description stands after its own name: parameters of one section may share their words."""
    found = re.search(rf"(?<!\w){re.escape(name)}(?!\w).*? ({re.escape(description)})(?: |$)", context)
    return found.span(1) if found else None


BUILDERS: dict[str, Callable[[Path], tuple[list[Item], list[Item]]]] = {
    "pydoc_topic": _topic,
    "pydoc_pair": _pair,
    "pydoc_span": _span,
    "pydoc_choice": _choice,
}
FAMILY = Family(load=load)
