"""The page of a run, `index.html` in its folder: curves, settings, provenance, examples, and the tables that hold it.

It is made when the run ends and whenever an index is made. One that is newer than all it shows is left as it is.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from roberta_lab.config import TaskConfig
from roberta_lab.config.formatting import elapsed, number
from roberta_lab.data.storage import write
from roberta_lab.reports import run_notes
from roberta_lab.reports.diff.settings import flat
from roberta_lab.reports.figures.run_curves import curves
from roberta_lab.reports.figures.small import small
from roberta_lab.reports.items import own_items
from roberta_lab.reports.page.examples import examples_of, keep
from roberta_lab.reports.page.known import DAMAGED, Holder, Known, holders_of, known
from roberta_lab.reports.page.summaries import holders_in
from roberta_lab.reports.page.table_page import HERE, rendered
from roberta_lab.runs.perf import Speed
from roberta_lab.runs.provenance import Attempt
from roberta_lab.tasks.items import TaskData
from roberta_lab.training.rows import EXAMPLES, METRICS, PERF, PERF_SUMMARY

PAGE = "index.html"
READ = ("result.json", METRICS, "config.yaml", "overrides.yaml", "provenance.json", "predictions.jsonl", PERF_SUMMARY)
FILES = (*READ, "metrics.csv", PERF, EXAMPLES)
START = 4096  # bytes of a page in which the hash of what it was made of stands


@dataclass(frozen=True)
class Link:
    """Another run or a table, with the place of its page as seen from the run's folder."""

    name: str
    page: str


def write_page(run: Known, holders: Sequence[Holder], relatives: Mapping[str, Known]) -> Path:
    """Write a run's page unless the one that is there shows the same; return its path.

    `holders` are the tables there are, `relatives` the runs there are, by id: which it started from, and which started from it.
    """
    path = run.folder / PAGE
    parents, children = _relatives(run, relatives)
    tables = [Link(f"{h.title}, {h.scale} scale", f"../../{h.page}") for h in holders_of(run, holders)]
    made_of = _made_of(run, [*tables, *parents, *children])
    if path.is_file() and made_of.encode() in _start_of(path):
        return path
    found, why = examples_of(run.folder, run.result)
    page = rendered(
        "run.html.j2",
        run=run,
        made_of=made_of,
        summary=run.result.summary() if run.result is not None else "",
        tables=tables,
        parents=parents,
        children=children,
        figures=[small(figure) for figure in curves(run.folder, run.result)] if run.state != DAMAGED else [],
        examples=found,
        why_no_examples=why,
        facts=_facts(run),
        settings=_settings(run.folder),
        attempts=[dict(_said(attempt)) for attempt in _attempts(run.folder)],
        files=[name for name in FILES if (run.folder / name).is_file()],
    )
    write(path, page)
    return path


def write_own(folder: Path, data: TaskData | None = None, task: TaskConfig | None = None) -> Path:
    """Write the page of a run that has just ended: with the run it started from, and the tables that held it before.

    `data` and `task` are those of a finetuning run, whose items need not be read again then.
    """
    if data is not None and task is not None:
        items = own_items(folder, data, task)
        if items.right is not None:
            keep(folder, items, items.right)
    run, outputs = known(folder), folder.parent.parent
    parent = run.result.pretrain_run_id if run.result is not None else None
    around = [known(outputs / "pretrain" / parent)] if parent and (outputs / "pretrain" / parent).is_dir() else []
    return write_page(run, holders_in(outputs), {one.run_id: one for one in around})


def _relatives(run: Known, relatives: Mapping[str, Known]) -> tuple[list[Link], list[Link]]:
    """Return the run whose weights this one started from, and the runs that started from this one."""
    source = run.result.pretrain_run_id if run.result is not None else None
    parents = [_link(relatives[source])] if source is not None and source in relatives else []
    started = (other for other in relatives.values() if other.result and other.result.pretrain_run_id == run.run_id)
    return parents, [_link(other) for other in started]


def _link(run: Known) -> Link:
    figure = f": {run.figure}" if run.figure else ""
    return Link(f"{run.name}{figure}", f"../../{run.kind}/{run.run_id}/{PAGE}")


# ---------------------------------------------------------------- whether there is anything new
def _made_of(run: Known, links: Sequence[Link]) -> str:
    """Return a hash of all that a page shows: the files it reads, the links, and the code that makes it."""
    stats = [(name, _stat(run.folder / name)) for name in READ]
    return hashlib.sha256(repr((_code(), run.name, run.state, run.detail, stats, links)).encode()).hexdigest()[:24]


def _stat(file: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


@cache
def _code() -> str:
    """Return a hash of what pages are made by."""
    files = [*sorted(HERE.iterdir()), *sorted((HERE.parent / "figures").iterdir())]
    content = hashlib.sha256()
    for file in files:
        if file.is_file():
            content.update(file.read_bytes())
    return content.hexdigest()


def _start_of(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(START)


# ---------------------------------------------------------------- facts, settings, provenance
def _facts(run: Known) -> dict[str, str]:
    """Return the figures of its result by name."""
    result = run.result
    if result is None:
        return {}
    if result.kind == "pretrain":
        found = result.pretraining
        own = {name.removeprefix("val/").replace("_", " "): number(v, 3) for name, v in found.metrics.items()}
        if found.common_bits_per_byte is not None:
            own["common bits per byte"] = number(found.common_bits_per_byte, 3)
        own |= {"unigram perplexity": number(found.unigram_ppl), "steps": number(found.steps, 0)}
        own |= {"tokens seen": number(found.tokens_seen, 0), "passes over the data": number(found.epochs)}
        own |= {"parameters": number(found.parameters, 0)}
        speed = Speed.of(run.folder)
        own |= {} if speed is None else speed.facts()
    else:
        scored = result.scored
        own = {name.replace("_", " "): number(v) for name, v in scored.metrics.items()}
        own |= {"a constant prediction": number(scored.majority), "dev items": number(scored.num_dev, 0)}
    return {**own, "time": elapsed(result.seconds)}


def _settings(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """Return the values of `config.yaml` by the first part of their keys."""
    found = run_notes.settings(folder)
    groups: dict[str, list[tuple[str, str]]] = {}
    for key, value in flat(found):
        room, _, rest = key.partition(".")
        groups.setdefault(room, []).append((rest or room, "" if value is None else str(value)))
    return groups


def _attempts(folder: Path) -> Iterable[Attempt]:
    noted = run_notes.provenance(folder)
    return noted["attempts"] if noted is not None else ()


def _said(attempt: Attempt) -> Iterator[tuple[str, str]]:
    """Yield what one attempt noted, as far as it did."""
    begin, end = attempt.get("start"), attempt.get("end")
    yield "time", f"{begin or '?'} to {end or 'not noted'}"
    if (git := attempt.get("git")) is not None:
        changed = " with uncommitted changes" if git.get("dirty") else ""
        yield "code", f"commit {git['commit']}{changed}" if git.get("commit") else "no git"
    if (hardware := attempt.get("hardware")) is not None:
        yield "machine", ", ".join(f"{name} {value}" for name, value in hardware.items() if value)
    if (cut := attempt.get("cut")) is not None:
        yield "device and cut", ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in cut.items())
    if (packages := attempt.get("packages")) is not None:
        yield "packages", ", ".join(f"{name} {version}" for name, version in packages.items())
    if (python := attempt.get("python")) is not None:
        yield "python", python
