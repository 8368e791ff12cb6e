"""What a diff of two sides found, as data. Differences are B minus A: the second side against the first."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from roberta_lab.data.storage import Json, finite
from roberta_lab.reports.statistics.multi_bootstrap import SeedsAndItems


@dataclass(frozen=True)
class Setting:
    """A key that both sides have unlike values of; None where a side does not read it."""

    key: str
    a: object
    b: object


@dataclass(frozen=True)
class Parting:
    """A training loss of two paired runs: where they part, over the steps that both logged."""

    pair: str  # seed 1; seed 1, sst2 2
    loss: str  # its name in metrics.jsonl
    steps: int  # that were compared
    first: int | None  # the first step with unlike losses; None where all are bitwise equal
    there: float  # B - A at that step; 0 where there is none
    last: int  # the last step that both logged
    end: float  # B - A at the last step


@dataclass(frozen=True)
class MetricDifference:
    """A metric over the paired seeds, in the unit of its name in `result.json`."""

    of: str  # pretraining, or the task's column
    name: str
    a: float  # mean over the paired seeds
    b: float
    difference: float
    low: float | None  # 95% t interval over seeds; None where seeds show no spread, as one seed
    high: float | None
    n: int  # paired seeds: of pretraining; of finetuning where the weights that they start from are the same


@dataclass(frozen=True)
class Flip:
    """An item that the sides predict unlike."""

    id: str
    texts: Mapping[str, str]
    gold: str
    a: str  # of several pairs the most frequent prediction
    b: str
    times: int  # pairs of runs in which it flips so


@dataclass(frozen=True)
class Flips:
    """The items that flip in one direction: how many in each pair of runs, and the first of them, the most frequent ones first."""

    direction: str
    counts: tuple[int, ...]
    items: tuple[Flip, ...]


@dataclass(frozen=True)
class ItemsDifference:
    """A task's dev items, as both sides predict them."""

    task: str
    metric: str
    pairs: tuple[str, ...]  # of runs
    interval: SeedsAndItems | None  # of the score, over pretraining seeds and items; over items alone for one seed
    flips: tuple[Flips, ...]
    note: str = ""  # why something is not there
    is_score: bool = (
        True  # the metric is the task's score; of best_f1 it is f1, for a best threshold is none of resamples
    )


@dataclass(frozen=True)
class Cost:
    """What a side took, all of its runs together."""

    pretraining_seconds: float
    task_seconds: float
    tokens: int  # real ones, that pretraining read
    flops: float | None  # of pretraining, by model/flops.py; None where a config is not known
    devices: tuple[str, ...]  # of pretraining; empty in runs of older code


@dataclass(frozen=True)
class RunOf:
    """A run of a side."""

    kind: str
    id: str
    seed: int
    task: str | None
    finetune_seed: int | None
    folder: str


@dataclass(frozen=True)
class SideOf:
    """A side: a row of a table, or a run."""

    name: str
    what: str  # row of table1_masking at smoke; pretraining run
    runs: tuple[RunOf, ...]
    cost: Cost


@dataclass(frozen=True)
class Comparison:
    """All that a diff says."""

    a: SideOf
    b: SideOf
    pairs: tuple[str, ...]  # of pretraining seeds, or of runs
    science: tuple[Setting, ...]
    circumstance: tuple[Setting, ...]
    losses: tuple[Parting, ...]
    metrics: tuple[MetricDifference, ...]
    items: tuple[ItemsDifference, ...]
    notes: tuple[str, ...]

    @property
    def over_items(self) -> dict[str, SeedsAndItems]:
        """Return the interval of each task's score over seeds and items, where there is one of that very score."""
        return {of.task: of.interval for of in self.items if of.interval is not None and of.is_score}

    def to_json(self) -> dict[str, Json]:
        """Return plain values for JSON, which has no nan: null stands for it."""
        return {name: finite(value) for name, value in asdict(self).items()}
