"""A run as pages know it: its state, its result, what it is called, and which tables hold it."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from roberta_lab.config import ConfigError, PathsConfig
from roberta_lab.config.formatting import number
from roberta_lab.data import claims
from roberta_lab.reports import run_notes
from roberta_lab.runs import identity, names, tracking
from roberta_lab.runs.command_line import places, typed
from roberta_lab.runs.overrides import parse, texts, without_sweep
from roberta_lab.runs.results import RunResult, is_complete

DAMAGED = "damaged"  # complete, but a file is not as it was written
STATES = ("complete", "in progress", "interrupted", DAMAGED)


@dataclass(frozen=True)
class Known:
    """A run's folder, as it was when it was looked at."""

    folder: Path
    name: str
    state: str  # one of STATES
    detail: str  # how far, who holds it, or why its result cannot be read
    result: RunResult | None
    marks: tuple[str, ...]
    words: tuple[str, ...]  # the overrides that address it, without its sweep
    resume: str  # the command that goes on with it; empty when it is complete

    @property
    def kind(self) -> str:
        return self.folder.parent.name

    @property
    def run_id(self) -> str:
        return self.folder.name

    @property
    def figure(self) -> str:
        """Return its result in short: a perplexity, or a score; empty without one."""
        if self.result is None:
            return ""
        if self.result.kind == "pretrain":
            return self.result.pretraining.figure()
        found = self.result.scored
        return f"{found.task} {found.metric} {number(found.score)}"


def known(folder: Path) -> Known:
    """Look at a run's folder. Nothing in it is changed, and what cannot be read counts as not there."""
    overrides = run_notes.overrides(folder)
    state, detail = state_of(folder)
    result, damage = run_notes.result(folder)
    if damage is not None:
        state, detail = DAMAGED, damage
    marks: tuple[str, ...] = (DAMAGED,) if damage else ()
    if result is not None and result.kind != "pretrain":
        marks = result.scored.marks
    words = _without_sweep(overrides or [])
    resume = state not in ("complete", DAMAGED) and overrides is not None
    return Known(
        folder=folder,
        name=name_of(folder, result, overrides),
        state=state,
        detail=detail,
        result=result,
        marks=marks,
        words=words,
        resume=_resume(folder, words) if resume else "",
    )


def _resume(folder: Path, words: tuple[str, ...]) -> str:
    """Return the command that goes on with a run where it lies now, wherever its outputs were when it began."""
    own = [word for word in words if not word.lstrip("+").startswith("paths.outputs=")]
    outputs = places(replace(PathsConfig(), outputs=str(folder.parent.parent)))
    return typed(folder.parent.name, [*own, *texts(outputs)])


def _without_sweep(overrides: list[str]) -> tuple[str, ...]:
    """Return overrides without those of a sweep; as they are where one cannot be read."""
    try:
        return tuple(texts(without_sweep(parse(overrides))))
    except ConfigError:
        return tuple(overrides)


def all_known(outputs: Path) -> list[Known]:
    """Return the runs in the outputs: by kind, what is not complete first, then by name."""
    order = list(identity.KINDS)
    found = _told_apart([known(folder) for kind in order for folder in outputs.glob(f"{kind}/*/")])
    return sorted(found, key=lambda run: (order.index(run.kind), run.state == "complete", run.name, run.run_id))


def _told_apart(runs: list[Known]) -> list[Known]:
    """Return the runs, those with the same name called by what they differ in too: no two are called the same."""
    alike: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, run in enumerate(runs):
        alike[run.kind, run.name].append(place)
    for same in (numbers for numbers in alike.values() if len(numbers) > 1):
        for place, more in zip(same, _differences([runs[i] for i in same]), strict=True):
            runs[place] = replace(runs[place], name=f"{runs[place].name}, {more or runs[place].run_id}")
    return runs


def _differences(runs: list[Known]) -> list[str]:
    try:
        found = names.told_apart([parse(run.words) for run in runs])
    except ConfigError:  # one is of other code
        return [""] * len(runs)
    return [name if found.count(name) == 1 else "" for name in found]


def name_of(folder: Path, result: RunResult | None, overrides: list[str] | None) -> str:
    """Return what a run is called: as its result says; until then its row, seed and task; else its id."""
    return (result.label if result is not None else "") or _name(overrides) or folder.name


def _name(overrides: list[str] | None) -> str:
    """Return the row, seed and task of a run that is not complete."""
    values = dict(o.lstrip("+~").partition("=")[::2] for o in overrides or [])
    names = [values.get("sweep.row"), f"seed {values['seed']}" if "seed" in values else None, values.get("task")]
    names.append(values.get("finetune.seed") if "task" in values else None)
    return " ".join(name for name in names if name) or " ".join(overrides or [])


def state_of(folder: Path) -> tuple[str, str]:
    """Return one of `STATES`, and how far the run is and which process works on it.

    A run is in progress while a process holds it: one of this machine that lives, one of another that was heard of lately.
    """
    if is_complete(folder):
        return "complete", ""
    owner = claims.owner(folder / claims.NOTE)
    if owner is not None and owner.pid and (not owner.is_gone if owner.is_here else claims.is_held(folder)):
        return "in progress", f"{_progress(folder)}; process {owner.pid} on {owner.host}"
    return "interrupted", _progress(folder)


def _progress(folder: Path) -> str:
    rows = tracking.read(folder / "metrics.jsonl")
    if not rows:
        return "no step logged"
    steps = run_notes.setting(folder, "batch_size", "steps") if folder.parent.name == "pretrain" else None
    return f"step {rows[-1].step:,}" + (f" of {steps:,}" if isinstance(steps, int) else "")


@dataclass(frozen=True)
class Holder:
    """A table that holds runs."""

    folder: str  # relative to the outputs
    name: str  # of the sweep
    title: str
    scale: str  # with the settings that make it another table than the sweep's own
    runs: frozenset[str]  # ids

    @property
    def page(self) -> str:
        return f"{self.folder}/index.html"


def holders_of(run: Known, holders: Iterable[Holder]) -> list[Holder]:
    """Return the tables that hold a run."""
    return [holder for holder in holders if run.run_id in holder.runs]
