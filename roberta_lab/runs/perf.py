"""How fast a run trained: `perf.jsonl`, a row for each step, and `perf.json`, medians with all that they depend on.

Times are in these files alone, so that `metrics.jsonl` compares. `perf.json` is sealed and has the hash of the rows; it is written
before each checkpoint and at the end. Rows that do not fit it are left out with a line: nothing of a run but this depends on them.
"""

import hashlib
import json
import math
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from roberta_lab.config import Config, Damaged, ModelConfig, RunInUse
from roberta_lab.config.console import say, say_once
from roberta_lab.config.formatting import short
from roberta_lab.data import claims
from roberta_lab.data.storage import replacing
from roberta_lab.data.verified import SEAL, read_sealed, remember
from roberta_lab.model.costs import Costs, Rate, costs_of, shape_of
from roberta_lab.model.flops import forward_flops
from roberta_lab.model.hardware import HARDWARE
from roberta_lab.runs.provenance import now
from roberta_lab.training.rows import PERF, PERF_SUMMARY, Row

PREFIX = "perf/"  # how the names of what is measured begin
NO_SETUP = ("since", "starts", "steps", "medians", "rows", "date")  # keys of `perf.json` that are no setup
FEWEST_STEPS = 5  # by whose medians plans reckon
WAY_OUT = "what was measured of the run's speed before is left out, and nothing else"


class PerfFile:
    """The two files of one run: the `PerfLog` that training writes to. None of its methods raises an error of these files."""

    def __init__(self, directory: Path, also: Callable[[Row], None] = lambda row: None) -> None:
        """Name the folder; `also` gets each row that is written."""
        self.directory, self.also = directory, also
        self.setup: Mapping[str, object] = {}
        self.measured: dict[str, array[float]] = {}  # what medians are taken of
        self.steps = 0  # of which they are taken
        self.kept: list[tuple[bytes, Row]] = []  # of earlier attempts
        self._file: TextIO | None = None

    def resume(self, step: int) -> None:
        """Keep what earlier attempts measured up to a step, and drop the rest. Call it before `begin`."""
        self.step, self.since, self.starts = step, step, [step]
        self.noted = _noted(self.directory)
        self.kept = [(line, row) for line, row in _rows(self.directory, self.noted) if row.step <= step]
        content = b"".join(line for line, _ in self.kept)
        self._hash, self._bytes = hashlib.sha256(content), len(content)
        with self._noting():
            with replacing(self.directory / PERF, size=len(content)) as file:
                file.write(content)
            self._file = open(self.directory / PERF, "a", buffering=1, encoding="utf-8")  # noqa: SIM115 (`close` ends it)

    def begin(self, setup: Mapping[str, object]) -> None:
        """Take what the speed depends on. Where it is another than before, medians are those from here on."""
        self.setup = json.loads(json.dumps(setup))
        if self.kept and _setup(self.noted) == self.setup:
            self.since, self.starts = self.noted["since"], [*self.noted["starts"], self.step]
        for _, row in self.kept:
            self._count(row)

    def rows(self) -> list[Row]:
        """Return the rows that earlier attempts have left."""
        return [row for _, row in self.kept]

    def write(self, row: Row) -> None:
        """Append a row."""
        if self._file is None:
            return
        line = row.to_json() + "\n"
        with self._noting():
            self._file.write(line)
            self._hash.update(line.encode())
            self._bytes += len(line)
        self._count(row)
        self.also(row)

    def _count(self, row: Row) -> None:
        """Keep a row's values for the medians, unless it is the first of an attempt, which waits and compiles."""
        if row.step <= self.since or row.step - 1 in self.starts:
            return
        self.steps += 1
        for name, value in row.metrics.items():
            self.measured.setdefault(name.removeprefix(PREFIX), array("d")).append(value)

    def flush(self) -> None:
        """Write the medians so far, with the hash of the rows. Call it before a checkpoint is saved."""
        if self._file is None or not self.setup:
            return
        medians = {name: float(_MIDDLE.get(name, np.median)(values)) for name, values in self.measured.items()}
        own = {"since": self.since, "starts": self.starts, "steps": self.steps, "medians": medians, "date": now()}
        rows = {"bytes": self._bytes, "sha256": self._hash.hexdigest()}
        with self._noting():
            self._file.flush()
            remember(self.directory / PERF_SUMMARY, {**self.setup, **own, "rows": rows})

    def close(self) -> None:
        """Write the medians and end; nothing where the folder is not this process's any more."""
        with suppress(Damaged, RunInUse):  # which is said by whoever closes the run
            claims.check(self.directory)
            self.flush()
        self._end()

    def _end(self) -> None:
        file, self._file = self._file, None
        with suppress(OSError):
            if file is not None:
                file.close()

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Answer an error of the system with a line: nothing more is measured, and the run goes on."""
        try:
            yield
        except OSError as error:
            say(f"{self.directory / PERF}: {error.strerror}; the speed is measured no more")
            self._end()


def _noted(run: Path) -> dict[str, Any]:
    """Return what `perf.json` holds; nothing where it is not there, or with a line where it is damaged."""
    path = run / PERF_SUMMARY
    try:
        found = read_sealed(path, WAY_OUT)
        if found.pop(SEAL, None) is None:
            raise Damaged.at(path, "is damaged: it has no seal", WAY_OUT)
    except Damaged as damage:
        say_once(str(damage))
        return {}
    except OSError:
        return {}
    return found


def _setup(noted: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in noted.items() if name not in NO_SETUP}


def _rows(directory: Path, noted: Mapping[str, Any]) -> Iterator[tuple[bytes, Row]]:
    """Yield the lines of `perf.jsonl` that `perf.json` knows, each with its row; none, with a note, where they are others."""
    path = directory / PERF
    if not path.is_file():
        return
    known = noted.get("rows", {"bytes": 0, "sha256": hashlib.sha256().hexdigest()})
    content = path.read_bytes()[: known["bytes"]]
    if len(content) != known["bytes"] or hashlib.sha256(content).hexdigest() != known["sha256"]:
        say_once(str(Damaged.at(path, "is damaged: its SHA-256 is not the one in perf.json", WAY_OUT)))
        return
    for line in content.splitlines(keepends=True):
        yield line, Row.from_json(line)


def read(directory: Path) -> list[Row]:
    """Return the rows of a run's `perf.jsonl`; none of a run of older code, and none with a note where they are damaged."""
    return [row for _, row in _rows(directory, _noted(directory))]


@dataclass(frozen=True)
class Speed:
    """What a run measured: its medians, and what they depend on."""

    run: Path
    setup: Mapping[str, Any]
    medians: Mapping[str, float]
    steps: int  # of which they are medians
    date: str

    @classmethod
    def of(cls, run: Path) -> "Speed | None":
        """Return the speed of the run in a folder; None where nothing was measured, or where its file is damaged."""
        noted = _noted(run)
        if not noted.get("medians", {}).get("tokens_per_second"):
            return None
        return cls(run, _setup(noted), noted["medians"], noted["steps"], noted["date"])

    @property
    def per_device(self) -> float:
        """Return the tokens per second of one GPU, or of one core of a CPU."""
        rate: float = self.medians["tokens_per_second"] / (self.setup["devices"] * (self.setup["threads"] or 1))
        return rate

    def facts(self) -> dict[str, str]:
        """Return the medians in words, by name."""
        found = {"tokens per second": short(self.medians["tokens_per_second"])}
        found |= {name: f"{self.medians[key]:.1%}" for name, key in _SHARES.items() if key in self.medians}
        if "peak_memory" in self.medians:
            found["memory of the GPU, at most"] = f"{self.medians['peak_memory'] / 1e9:.3g} GB"
        return found


_MIDDLE = {"peak_memory": np.max}  # of which a median says nothing
_SHARES = {"MFU": "mfu", "waiting for data": "data_wait"}


# ---------------------------------------------------------------- for plans
def speeds_in(outputs: Path) -> list[Speed]:
    """Return the speeds that runs in a folder of outputs have measured over some steps, complete or not."""
    found = (Speed.of(path.parent) for path in sorted(outputs.glob(f"pretrain/*/{PERF_SUMMARY}")))
    return [speed for speed in found if speed is not None and speed.steps >= FEWEST_STEPS]


def costs_with(config: Config, speeds: Sequence[Speed]) -> Costs:
    """Return the costs of a run, by the speed of one that is like it where there is one."""
    return costs_of(config, lambda micro_batch: rate_of(config, speeds, micro_batch))


def rate_of(config: Config, speeds: Sequence[Speed], micro_batch: int) -> Rate | None:
    """Return the rate of the run that is most like one of a config on `plan.hardware`; None where no run is like it.

    It has the same model, vocabulary, format, length, share of masks, objective and precision (`shape_of`) on the same kind of
    device. Where there is none, a run of the same model at the same precision tells the FLOP/s, whatever its inputs. Of
    several, one with as many runs beside it is taken first, then one with the micro-batch, then the newest.
    """
    shape = {**shape_of(config), "kind": config.plan.hardware}
    same_model = [speed for speed in speeds if all(speed.setup.get(name) == shape[name] for name in _OF_FLOPS)]
    alike = [
        speed
        for speed in same_model
        if all(speed.setup.get(name) == value for name, value in shape.items())
        and math.isclose(speed.setup["vocab_size"], config.tokenizer.vocab_size, rel_tol=0.05)
    ]
    if not same_model:
        return None

    def likeness(speed: Speed) -> tuple[bool, bool, str]:
        setup = speed.setup
        return setup["side_by_side"] == config.trainer.jobs, setup["micro_batch"] == micro_batch, speed.date

    best = max(alike or same_model, key=likeness)
    setup, unit = best.setup, HARDWARE[config.plan.hardware].unit
    beside = f", {setup['side_by_side']} runs side by side" if setup["side_by_side"] > 1 else ""
    many = f"{setup['devices']} x " if setup["devices"] > 1 else ""
    where = f"a {unit} in pretrain/{best.run.name}, {best.date[:10]} ("
    how = f"micro-batches of {setup['micro_batch']} on {many}{setup['device']}{beside})"
    if alike:
        return Rate(best.per_device, f"measured: {short(best.per_device)} tokens/s {where}{how}")
    flops = best.per_device * flops_per_token(best.setup, config.model)
    rate = flops / flops_per_token({**shape, "vocab_size": config.tokenizer.vocab_size}, config.model)
    inputs = f"{setup['format']} of {setup['max_length']} tokens, "
    return Rate(rate, f"reckoned from what was measured: {flops / 1e9:.3g} GFLOP/s {where}{inputs}{how}")


_OF_FLOPS = ("model", "precision", "activation_checkpointing", "kind")  # what FLOP/s depend on most


def flops_per_token(setup: Mapping[str, Any], model: ModelConfig) -> float:
    """Return the FLOPs of training on one token of inputs of full length, by what `shape_of` and a vocabulary say."""
    length: int = setup["max_length"]
    return forward_flops(model, setup["vocab_size"], length, setup["nsp"], setup["mask_prob"]).training / length
