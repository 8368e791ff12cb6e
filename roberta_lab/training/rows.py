"""What training gives back: rows of metrics, the interface of the log that keeps them, and the result of a pretraining run."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Protocol, Self

from roberta_lab.config.formatting import number
from roberta_lab.model.metrics import BITS_PER_BYTE, PERPLEXITY, Metric, accuracy

METRICS = "metrics.jsonl"  # in the folder of a run: its rows
PERF = (
    "perf.jsonl"  # beside it: what was measured of each step's speed, with times in it, so apart from what must repeat
)
PERF_SUMMARY = "perf.json"  # and the medians of that, with what they depend on
HANDED = "ranks.pickle"  # beside them for a moment: what ranks of other machines need to know
EXAMPLES = "examples.json"  # in the folder of a run: what its page shows of its predictions


@dataclass(frozen=True, eq=False)
class Row(Mapping[str, float]):
    """Metrics at one optimizer step, by name: a mapping in which `step` comes first, equal to any mapping of the same."""

    step: int
    metrics: Mapping[str, float]

    def __getitem__(self, name: str) -> float:
        return self.step if name == "step" else self.metrics[name]

    def __iter__(self) -> Iterator[str]:
        return iter(("step", *self.metrics))

    def __len__(self) -> int:
        return 1 + len(self.metrics)

    def to_json(self) -> str:
        """Return the row as JSON in one line, without the newline."""
        return json.dumps(dict(self))

    @classmethod
    def from_json(cls, line: str | bytes) -> Self:
        """Return the row that `to_json` wrote. Raises ValueError for another text."""
        values = json.loads(line)
        if not isinstance(values, dict) or not isinstance(values.get("step"), int):
            raise ValueError("a row of metrics is an object with a step")
        return cls(values.pop("step"), values)


class RowLog(Protocol):
    """A log of the rows of one run, in order."""

    def resume(self, step: int, saved: bytes | None = None) -> None:
        """Keep the rows of an earlier attempt up to `step`, and drop later ones. Called before the first row.

        `saved` are those rows as `saved` gave them at that step; None where that is not known, of older code. Rows that are
        not the same are replaced by them. Raises Damaged where nothing gives them back, and nothing is changed.
        """

    def write(self, row: Row) -> None:
        """Add a row."""

    def flush(self) -> None:
        """Wait until the disk has all rows. Raises RunInUse and Damaged when the run's folder is not this process's any more."""

    def saved(self) -> bytes:
        """Return all rows as they stand in the log, to be kept in a checkpoint. Raises Damaged where they were changed."""

    def read(self) -> list[Row]:
        """Return all rows of the run, with those of earlier attempts."""


class NoRows:
    """A row log that keeps nothing, for the ranks after the first."""

    def resume(self, step: int, saved: bytes | None = None) -> None:
        pass

    def write(self, row: Row) -> None:
        pass

    def flush(self) -> None:
        pass

    def saved(self) -> bytes:
        return b""

    def read(self) -> list[Row]:
        return []


@dataclass(frozen=True)
class Cut:
    """How a process cut the steps of a run, on what device; with dropout on, another cut drops other units."""

    start: int  # the steps that were done when the process began
    micro_batch_size: int  # sequences of one forward pass, as used: of `auto` what was found
    devices: int
    accumulation: int  # forward passes of each device per step
    device: str  # the model of GPU or CPU; another one gives other last bits
    compiled: bool = False  # then dropout drops other units; runs of older code did not note it, nor what follows
    deterministic: bool | None = None  # whether a GPU's kernels repeat their bits; None on CPUs

    def to_json(self) -> dict[str, object]:
        """Return it as files note it; what older code did not note is left out where it is as it was then."""
        found = asdict(self)
        neutral = {"compiled": False, "deterministic": None}
        return {name: value for name, value in found.items() if name not in neutral or value is not neutral[name]}

    @property
    def shape(self) -> str:
        """Return the cut in words: `micro-batches of 16`, `micro-batches of 16 on 4 devices`. How many is the batch's matter."""
        devices = f" on {self.devices} devices" if self.devices > 1 else ""
        compiled = ", compiled" if self.compiled else ""
        varying = ", by kernels that do not repeat their bits" if self.deterministic is False else ""
        return f"micro-batches of {self.micro_batch_size}{devices}{compiled}{varying}"


@dataclass(frozen=True)
class PretrainingResult:
    """The figures of a complete pretraining run."""

    steps: int
    tokens_seen: int  # real tokens, over all ranks
    epochs: float  # passes over the examples
    unigram_ppl: float  # held-out perplexity of a model that knows token frequencies alone
    parameters: int
    plan: Mapping[str, int]  # counts of the input plan (`axes.examples.Plan.counts`)
    metrics: Mapping[str, float]  # of the last validation, by name: val/ppl, val/mlm_loss, ...
    # on the common held-out text, which is the same for every format, mask and tokenizer; None where it was not measured
    common_bits_per_byte: float | None = None
    common_perplexity: float | None = None  # per masked token: compares between rows of one tokenizer
    common_text: str = ""  # hash of that text and of what is masked in it: rows where it is equal compare
    cuts: tuple[Cut, ...] = ()  # in order, each from its `start` on; empty in runs of older code
    num_skipped: int = 0  # steps left out, since their gradients were no numbers (trainer.on_nonfinite=skip)
    # what tables show of them; runs of older code did not note it
    declared: tuple[Metric, ...] = (PERPLEXITY, BITS_PER_BYTE, accuracy("nsp"))

    @property
    def perplexity(self) -> float | None:
        """Return exp(total negative log-likelihood / masked tokens) on the held-out text; None without MLM."""
        return self.metrics.get("val/ppl")

    def figure(self) -> str:
        """Return the first of the declared figures: `ppl 45.2`."""
        first = self.declared[0]
        value = self.metrics[f"val/{first.name}"] * (100 if first.is_share else 1)
        return f"{first.name} {number(value, first.digits)}"
