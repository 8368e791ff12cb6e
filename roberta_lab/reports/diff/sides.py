"""The sides of a diff: complete runs, of a row of a table or one alone, and how those of two sides are paired."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from roberta_lab.config import Config, ConfigError, Damaged, nearest
from roberta_lab.config.paths import user_path
from roberta_lab.reports.table import assembly
from roberta_lab.reports.table.rows import Record, Row, read_record
from roberta_lab.runs import options
from roberta_lab.runs.command_line import typed
from roberta_lab.runs.composition import composed, composing
from roberta_lab.runs.identity import KINDS, kind_of_task
from roberta_lab.runs.jobs import Job, jobs_of
from roberta_lab.runs.loading import load_run
from roberta_lab.runs.overrides import Override, assign, check_names, parse, room, without
from roberta_lab.runs.results import RunResult
from roberta_lab.runs.tables import runs_of
from roberta_lab.runs.yaml_file import read

ALLOWED = (
    "Allowed: a run's id or folder, SWEEP/ROW, ROW with sweep=NAME, or overrides in quotes ('masking=static seed=2')"
)
NAMES = {"pretrain": "pretraining run", "finetune": "finetuning run", "evaluate": "evaluation"}
_ID = re.compile(r"[0-9a-f]{1,12}")


@dataclass(frozen=True, eq=False)
class Member:
    """A complete run of a side."""

    kind: str
    seed: int
    task: str | None  # the table's column; of a run alone its task; None for pretraining
    finetune_seed: int | None
    path: Path
    result: RunResult
    config: Config | None  # None if that is not known

    @property
    def name(self) -> str:
        """Return `seed 1` or `seed 1, sst2 2`."""
        task = f", {self.task}" if self.task else ""
        return f"seed {self.seed}{task}{f' {self.finetune_seed}' if self.finetune_seed is not None else ''}"


@dataclass(frozen=True)
class Side:
    """Some complete runs under one name."""

    name: str
    what: str
    members: tuple[Member, ...]
    is_row: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Pair:
    """Two runs of the same kind, seed and column."""

    name: str
    a: Member
    b: Member


def pairs_of(a: Side, b: Side) -> list[Pair]:
    """Return the runs that are compared, pretraining first. Raises ConfigError where nothing of the sides can be paired."""
    if a.is_row != b.is_row:
        row, run = (a, b) if a.is_row else (b, a)
        raise ConfigError(f"{row.name} is a {row.what}, {run.name} a {run.what}. Allowed: two rows, or two runs.")
    if not a.is_row:
        [one], [other] = a.members, b.members
        if one.kind != other.kind:
            raise ConfigError(f"{a.name} is a {a.what}, {b.name} a {b.what}. Allowed: two runs of one kind.")
        name = one.name if one.name == other.name else f"{one.name} and {other.name}"
        return [Pair(name, one, other)]
    partners = {(m.kind, m.seed, m.task, m.finetune_seed): m for m in b.members}
    keys = {(m.kind, m.seed, m.task, m.finetune_seed): m for m in a.members}
    found = [Pair(own.name, own, partners[key]) for key, own in keys.items() if key in partners]
    if not found:
        raise ConfigError(f"{a.name} and {b.name} have no complete run of the same seed and column in common.")
    return found


# ---------------------------------------------------------------- rows
def of_row(row: Row, table: str, folder: Path) -> Side | None:
    """Return the complete runs that a row of a table shows, best settings where a grid was searched; None without any.

    `folder` is where the records' directories begin.
    """
    shown = {record.run_id: record for cell in row.all_cells for record in cell.shown}
    members = tuple(member for record in shown.values() if (member := _member(record, folder)) is not None)
    missing = len(shown) - len(members)
    notes = (f"{missing} of {len(shown)} runs of {row.name} are missing",) if missing else ()
    return Side(row.name, f"row of {table}", members, True, notes) if members else None


def _member(record: Record, folder: Path) -> Member | None:
    if record.result is None:
        return None
    path = Path(os.path.normpath(folder / record.directory))
    seeds = record.seed, record.task, record.finetune_seed
    return Member(record.kind, *seeds, path, record.result, record.config)


def _row(sweep: str, row: str, overrides: Sequence[Override]) -> Side:
    """Return the side of `SWEEP/ROW`; to be called while `composing`. Raises ConfigError."""
    own = [assign("sweep", sweep), *(o for o in overrides if o.key_or_group not in ("sweep", "sweep.only"))]
    config = composed(own)
    assert config.sweep is not None
    if row not in config.sweep.rows:
        hint = nearest(row, list(config.sweep.rows))
        raise ConfigError(f"{row}: no such row in {sweep}.{hint} Allowed: {', '.join(config.sweep.rows)}.")
    own.append(assign("sweep.only", [row]))
    config, here = composed(own), Path.cwd()
    records = [read_record(run, here) for run in runs_of(config, own)]
    assert config.sweep is not None
    table = assembly.assemble(config.sweep, config.scale.name, records, config.scale.leaves_out)
    side = of_row(table.rows[0], f"{sweep} at {config.scale.name}", here) if table.rows else None
    if side is None:
        raise ConfigError(f"{sweep}/{row}: none of its {len(records)} runs is complete: {typed('reproduce', own)}")
    return side


# ---------------------------------------------------------------- what was typed
def of_word(word: str, config: Config, overrides: Sequence[Override]) -> Side:
    """Return the side that a word of the command line means, to be called while `composing`.

    Args:
        config, overrides: of the command itself, which say where runs lie, the sweep of a row, and what else addresses it.

    Raises: ConfigError in one line, with what is allowed and the nearest name.
    """
    overrides, outputs = without(overrides, "diff"), user_path(config.paths.outputs)
    sweep, _, row = word.partition("/")
    if not word or Path(word).is_dir():
        return _run(word, outputs)
    if config.sweep is not None and word in config.sweep.rows:
        return _row(config.sweep.name, word, overrides)
    if row and sweep in options.files(options.SWEEP):
        return _row(sweep, row, overrides)
    if "=" in word:  # behind the rows, whose names may have one
        return _addressed(word, without(overrides, "sweep"))
    if _ID.fullmatch(word):
        return _run(word, outputs)
    raise ConfigError(f"{word}: no run, row or override.{_hint(word, config)} {ALLOWED}.")


def _hint(word: str, config: Config) -> str:
    """Return the nearest row of the chosen sweep; else the first sweep that has the row, or the nearest SWEEP/ROW."""
    if config.sweep is not None:
        return nearest(word, list(config.sweep.rows))
    sweeps = sorted(options.files(options.SWEEP).items(), key=lambda entry: options.reading_order(entry[0]))
    every = [f"{name}/{row}" for name, file in sweeps for row in read(file).get("rows", {})]
    same = next((name for name in every if name.endswith(f"/{word}")), None)
    return f" Did you mean {same!r}?" if same is not None else nearest(word, every)


def _run(word: str, outputs: Path) -> Side:
    try:
        run = load_run(word, outputs)
    except ConfigError as error:
        if not word or (Path(word).is_dir() and "no folder of a run" in str(error)):
            raise ConfigError(f"{word or 'an empty word'}: no run. {ALLOWED}.") from None
        raise
    if run.result is None:
        raise ConfigError(f"{run.path} is not complete; a diff is of complete runs.")
    has = KINDS[run.kind]
    task = run.config.task.name if has.has_task else None
    tuning = run.config.finetune.seed if has.has_seed else None
    member = Member(run.kind, run.config.seed, task, tuning, run.path, run.result, run.config_here)
    return Side(run.id, _kind(member), (member,), False)


def _addressed(word: str, overrides: Sequence[Override]) -> Side:
    """Return the run that overrides in quotes address: of pretraining, or with a task of that task."""
    try:
        own = parse(shlex.split(word))
    except ValueError as error:
        raise ConfigError(f"{word}: {error}. {ALLOWED}.") from None
    if any(room(o) in ("sweep", "diff", "hydra") for o in own):
        raise ConfigError(f"{word}: a row is SWEEP/ROW. {ALLOWED}.")
    check_names(own)
    every = [*(o for o in overrides if o.key_or_group not in {p.key_or_group for p in own}), *own]
    config = composed(every)
    has_task = any(o.key_or_group == "task" or o.key_or_group.startswith(("finetune.", "evaluate.")) for o in own)
    kind = kind_of_task(config.task.family) if has_task else "pretrain"
    [job] = jobs_of(kind, every, config)
    record = read_record(job, Path.cwd())
    if record.damage is not None:
        raise Damaged(record.damage)
    member = _member(record, Path.cwd())
    if member is None:
        raise ConfigError(f"{word}: the run {job.path} is not complete: {typed(kind, job.overrides)}")
    return Side(word, _kind(member), (member,), False)


def _kind(member: Member) -> str:
    """Return `pretraining run (static seed 1)`."""
    return f"{NAMES[member.kind]} ({member.result.label})"


def sides(job: Job) -> tuple[Side, Side]:
    """Return both sides of a `diff` job; rows of one name by that of their sweep too. Raises ConfigError."""
    words = job.config.diff.a, job.config.diff.b
    with composing():
        a, b = (of_word(word, job.config, job.overrides) for word in words)
    if a.name == b.name and a.what != b.what:
        a, b = (replace(side, name=word) for side, word in zip((a, b), words, strict=True))
    return a, b
