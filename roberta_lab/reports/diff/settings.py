"""The settings in which two sides differ: of their science, and of their circumstance."""

from collections.abc import Iterable, Iterator, Mapping

from roberta_lab.config import ConfigError
from roberta_lab.reports import run_notes
from roberta_lab.reports.diff.comparison import Setting
from roberta_lab.reports.diff.sides import Member, Pair, Side
from roberta_lab.runs.identity import KINDS, starts_from_run
from roberta_lab.runs.results import RunResult
from roberta_lab.training.rows import PretrainingResult

STARTS = "pretrained."  # of the science of a task's run: what its pretraining run is


def science(pairs: Iterable[Pair]) -> tuple[tuple[Setting, ...], tuple[str, ...]]:
    """Return the science keys that differ, dotted, each once; and notes on runs whose science cannot be told."""
    found, notes = dict[str, Setting](), dict[str, None]()
    for pair in pairs:
        try:
            a, b = (_science(member) for member in (pair.a, pair.b))
        except ConfigError as error:
            notes[f"{pair.name}: settings are not compared, {error}"] = None
            continue
        for key in [*a, *(key for key in b if key not in a)]:
            setting = Setting(key, a.get(key), b.get(key))
            if setting.a != setting.b:
                found.setdefault(repr(setting), setting)
    return tuple(found.values()), tuple(notes)


def _science(member: Member) -> dict[str, object]:
    if member.config is None:
        raise ConfigError("the config is not known.")
    values = dict(flat(KINDS[member.kind].science(member.config)))
    if KINDS[member.kind].has_task and starts_from_run(member.config):
        values = {key.removeprefix(STARTS).removeprefix("evaluated."): value for key, value in values.items()}
    return values


def flat(values: Mapping[str, object], before: str = "") -> Iterator[tuple[str, object]]:
    """Yield each value with its dotted key."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def circumstance(a: Side, b: Side) -> tuple[Setting, ...]:
    """Return in what the sides' machines, cuts, code, packages and data differ; of several runs all values that occur."""
    ours, theirs = _circumstance(a.members), _circumstance(b.members)
    keys = [*ours, *(key for key in theirs if key not in ours)]
    return tuple(Setting(key, ours.get(key), theirs.get(key)) for key in keys if ours.get(key) != theirs.get(key))


def _circumstance(members: Iterable[Member]) -> dict[str, str]:
    found: dict[str, dict[str, None]] = {}
    for member in members:
        for key, value in [*_of_result(member.result), *_of_provenance(member)]:
            found.setdefault(key, {})[value] = None
    return {key: "; ".join(sorted(values)) for key, values in found.items()}


def _of_result(result: RunResult) -> Iterator[tuple[str, str]]:
    if isinstance(result.found, PretrainingResult):
        for cut in result.found.cuts:
            yield "device", cut.device
            yield "cut", cut.shape


def _of_provenance(member: Member) -> Iterator[tuple[str, str]]:
    noted = run_notes.provenance(member.path)
    for attempt in noted["attempts"] if noted else []:
        git = attempt.get("git")
        if git is not None and (commit := git.get("commit")):
            yield "code", commit[:12] + (" with changes" if git.get("dirty") else "")
        if "python" in attempt:
            yield "python", attempt["python"]
        for name, version in attempt.get("packages", {}).items():
            yield f"packages.{name}", version
    for name, content in (noted["data"] if noted else {}).items():
        yield f"data.{name}", content
