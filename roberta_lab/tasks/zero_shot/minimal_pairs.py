"""Minimal pairs: of two sentences that differ in little, the good one should be the likelier (BLiMP, Warstadt et al. 2020).

A pair counts 1 if the good sentence has the higher pseudo-log-likelihood, 0.5 if both have the same, else 0. A paradigm's
score is the mean of its pairs; the score of all, or of a field, is the mean of its paradigms.

A guess gets 50. But each token costs likelihood, so a model that knows nothing prefers the sentence with fewer tokens, and
good sentences are not always the longer ones: what that alone scores is chance, where it is more than 50.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from roberta_lab.axes import Ints
from roberta_lab.axes.rng import generator
from roberta_lab.axes.tokenizer import Encoding
from roberta_lab.config import ConfigError, EvaluateConfig, TaskConfig
from roberta_lab.config.paths import user_path
from roberta_lab.tasks.families.reading import jsonl_rows, lines, malformed, sample
from roberta_lab.tasks.zero_shot.base import Measured, Progress, Yardstick

if TYPE_CHECKING:
    from roberta_lab.tasks.zero_shot.masked_model import MaskedModel

GUESS = 50.0
FILES = "minimal pairs in .jsonl or .txt"
ENDINGS = (".jsonl", ".txt")
NO_PAIRS = ("readme", "license", "licence")  # names of files, in any case of letters
NUM_RESAMPLES = 2000
QUANTILES = (0.025, 0.975)


class Pair(NamedTuple):
    """Two sentences, and where they were read."""

    id: str
    good: str
    bad: str
    paradigm: str
    field: str  # empty: none
    file: Path
    line: int  # of the good sentence


@dataclass(frozen=True)
class Pairs:
    """The pairs of all paradigms, those of one after those of another."""

    pairs: Sequence[Pair]

    def __len__(self) -> int:
        return len(self.pairs)

    def notes(self, encoding: Encoding, max_length: int) -> tuple[str, ...]:
        """Return how many pairs there are, and how many of them count half whatever the model says."""
        said = [f"{len(self.pairs):,} pairs in {len(self.paradigms):,} paradigms"]
        if same := sum(pair.good == pair.bad for pair in self.pairs):
            said.append(f"{same} hold the same sentence twice and count half")
        if too_long := len(self.pairs) - len(self._readable(encoding, max_length)):
            said.append(f"{too_long} hold a sentence of more than the model's {max_length} tokens and count half")
        return ("; ".join(said),)

    @cached_property
    def paradigms(self) -> dict[str, np.ndarray]:
        """Return the places of each paradigm's pairs, (P,) int64."""
        return _places([pair.paradigm for pair in self.pairs])

    @property
    def texts(self) -> list[str]:
        """Return the sentences, the good one of each pair before its bad one."""
        return [text for pair in self.pairs for text in (pair.good, pair.bad)]

    def _readable(self, encoding: Encoding, max_length: int) -> np.ndarray:
        """Return the places of the pairs that a model can read, `<s>` and `</s>` included, int64."""
        lengths = encoding.encode(self.texts)[1].reshape(-1, 2)
        return np.flatnonzero(lengths.max(1) + 2 <= max_length)

    def measure(self, model: MaskedModel, config: EvaluateConfig, progress: Progress) -> Measured:
        """Return the scores with both likelihoods of each pair; a pair with a sentence that is too long counts half.

        Raises ConfigError when every pair is.
        """
        from roberta_lab.tasks.zero_shot import pseudo_likelihood  # torch: only when there is work

        readable = self._readable(model.encoding, model.max_length)
        if not len(readable):
            first = self.pairs[0]
            said = f"every pair holds a sentence of more than {model.max_length} tokens, which the model reads at most."
            raise malformed(first.file, first.line, said)
        texts = [text for i in readable for text in (self.pairs[i].good, self.pairs[i].bad)]
        sentences = pseudo_likelihood.encode(model.encoding, texts, config.within_word)
        found, lengths = np.full((len(self), 2), np.nan), np.zeros((len(self), 2), np.int64)
        lengths[readable] = sentences.lengths.reshape(-1, 2)
        found[readable] = pseudo_likelihood.pseudo_log_likelihoods(model, sentences, progress).reshape(-1, 2)
        return self.scored(*found.T, *lengths.T)

    def scored(self, good: np.ndarray, bad: np.ndarray, good_lengths: Ints, bad_lengths: Ints) -> Measured:
        """Return the scores of log-likelihoods, float64 (P,), NaN where not known, and of lengths in tokens, int64 (P,), of each pair's sentences."""
        points = points_of(good, bad)
        by_paradigm, by_field = self._by_paradigm(points), dict[str, list[float]]()
        for name, places in self.paradigms.items():
            if field := self.pairs[places[0]].field:
                by_field.setdefault(field, []).append(by_paradigm[name])
        score = fmean(by_paradigm.values())
        fewer = fmean(self._by_paradigm(points_of(bad_lengths, good_lengths)).values())
        metrics = {
            "accuracy": score,
            "fewer_tokens": fewer,
            **{f"field/{name}": fmean(scores) for name, scores in sorted(by_field.items())},
            **{f"paradigm/{name}": found for name, found in by_paradigm.items()},
        }
        low, high = interval([points[places] for places in self.paradigms.values()])
        return Measured(score, low, high, max(GUESS, fewer), metrics, self._lines(good, bad))

    def _by_paradigm(self, points: np.ndarray) -> dict[str, float]:
        return {name: 100 * float(points[places].mean()) for name, places in self.paradigms.items()}

    def weighted(self, points: np.ndarray) -> np.ndarray:
        """Return points, (P,) of 0 to 1, as figures whose mean is the score: pairs of small paradigms count more."""
        found = 100.0 * points * len(points) / len(self.paradigms)
        for places in self.paradigms.values():
            found[places] /= len(places)
        return found

    def _lines(self, good: np.ndarray, bad: np.ndarray) -> Iterator[Mapping[str, object]]:
        for pair, *both in zip(self.pairs, good.tolist(), bad.tolist(), strict=True):
            one, other = (None if math.isnan(value) else value for value in both)
            yield {"id": pair.id, "paradigm": pair.paradigm, "good": one, "bad": other}


def points_of(good: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """Return 1 for each pair whose good sentence has more, 0.5 for equal or unknown ones, else 0; float64 (P,)."""
    points: np.ndarray = (np.sign(np.nan_to_num(good - bad)) + 1) / 2
    return points


def interval(points: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return the 95% bootstrap interval, 0 to 100, of the mean over paradigms of their pairs' means.

    Pairs are drawn again within each paradigm: it says how the score would differ with other pairs of the same paradigms.
    `points` are 0, 0.5 or 1 for each pair of a paradigm.
    """
    means = np.zeros(NUM_RESAMPLES)
    for number, own in enumerate(points):
        values, counts = np.unique(own, return_counts=True)  # so a resample is a few counts
        draw = generator(0, "minimal_pairs/interval", number)
        drawn = draw.multinomial(len(own), counts / len(own), size=NUM_RESAMPLES)
        means += drawn @ values / len(own) / len(points)
    low, high = 100 * np.quantile(means, QUANTILES)
    return float(low), float(high)


# ---------------------------------------------------------------- files
def files(task: TaskConfig) -> dict[str, Path]:
    """Return the files of `task.path`, or of a folder `blimp` or `data` in it, by the names that paradigms take from them."""
    allowed = f"Allowed: a folder with {FILES}."
    if not task.path:
        raise ConfigError(f"task={task.name} needs its files: task.path=FOLDER with {FILES}.")
    folder = user_path(task.path)
    if not folder.is_dir():
        raise ConfigError(f"task.path={task.path}: no such folder. {allowed}")
    own = sorted(path for path in folder.iterdir() if path.is_dir() and path.name.lower() == "blimp")
    for place in (*(path / "data" for path in own), *own, folder, folder / "data"):
        if there := _files(place):
            return there
    raise ConfigError(f"task.path={task.path}: there are none in it. {allowed}")


def _files(folder: Path) -> dict[str, Path]:
    found = sorted(path for path in folder.glob("[!.]*") if path.suffix in ENDINGS and _is_pairs(path))
    names = [path.stem for path in found]
    if twice := [path for path in found if names.count(path.stem) > 1]:
        raise ConfigError(f"{twice[0]} and {twice[1].name}: two files of one name would be one paradigm.")
    return dict(zip(names, found, strict=True))


def _is_pairs(path: Path) -> bool:
    return path.is_file() and path.stem.lower() not in NO_PAIRS


def read(task: TaskConfig) -> Pairs:
    """Return the pairs of a task, at most `task.num_dev` of each paradigm by a draw that is the same for every run."""
    if task.hub is not None and task.hub.revision:
        raise ConfigError(f"task.hub: {task.name} is not read from the hub. Allowed: task.path=FOLDER with {FILES}.")
    found = list(chain.from_iterable(_pairs(name, file) for name, file in files(task).items()))
    places = _places([pair.paradigm for pair in found])
    name = f"{task.name}/dev"
    return Pairs([found[i] for own in places.values() for i in sample(own.tolist(), task.num_dev, name)])


def _pairs(name: str, file: Path) -> list[Pair]:
    found = [*(_json_pairs if file.suffix == ".jsonl" else _text_pairs)(name, file)]
    if not found:
        raise malformed(file, None, "there are no pairs in it.")
    return found


def _json_pairs(name: str, file: Path) -> Iterator[Pair]:
    for number, row in jsonl_rows(file):
        for key in ("sentence_good", "sentence_bad"):
            if not isinstance(row.get(key), str) or not row[key].strip():
                raise malformed(file, number, f"{key} is {row.get(key)!r}. Allowed: a sentence.")
        for key in ("UID", "field"):
            if not isinstance(row.get(key, ""), str):
                raise malformed(file, number, f"{key} is {row[key]!r}. Allowed: a name.")
        paradigm = row.get("UID") or name
        field = row.get("field", "").replace("/", "_")  # BLiMP spells one field in two ways
        yield Pair(f"{name}/{number}", row["sentence_good"], row["sentence_bad"], paradigm, field, file, number)


def _text_pairs(name: str, file: Path) -> Iterator[Pair]:
    found = [(number, line) for number, line in lines(file) if line.strip()]
    if len(found) % 2:
        raise malformed(
            file, found[-1][0], "the last sentence stands alone. Allowed: two lines a pair, the good one first."
        )
    for (number, good), (_, bad) in zip(found[::2], found[1::2], strict=True):
        yield Pair(f"{name}/{number}", good, bad, name, "", file, number)


def _places(names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return where each name stands, int64; names in the order in which they come first."""
    found: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        found.setdefault(name, []).append(place)
    return {name: np.array(places) for name, places in found.items()}


YARDSTICK = Yardstick(read=read, files=files, metrics=("accuracy",), counted="pairs", reads=("within_word",))
