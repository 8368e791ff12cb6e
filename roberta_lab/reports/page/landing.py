"""`outputs/index.html`: an index over all runs and tables, what state they are in, and how to go on with them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from roberta_lab.config.formatting import compact, short
from roberta_lab.data.storage import write
from roberta_lab.model.metrics import COMMON_BITS
from roberta_lab.reports.figures.run_curves import held_out
from roberta_lab.reports.figures.small import spark
from roberta_lab.reports.page.claims import write_claims
from roberta_lab.reports.page.known import DAMAGED, STATES, Holder, Known, all_known, holders_of
from roberta_lab.reports.page.run_page import write_page
from roberta_lab.reports.page.summaries import holders_of_tables, summaries
from roberta_lab.reports.page.table_page import rendered

IN_NO_TABLE = "In no table"
NAMES = {COMMON_BITS: "bits per byte of the common text", "val/ppl": "held-out perplexity"}  # the first that all have


@dataclass(frozen=True)
class Small:
    """A run among the small multiples."""

    run: Known
    page: str  # relative to the outputs
    svg: str  # empty without a held-out figure
    last: str


@dataclass(frozen=True)
class Multiples:
    """The curves of the pretraining runs of one table, on the same axes."""

    title: str
    page: str  # of the table; empty for runs in none
    axes: str  # what the curves show, from where to where
    runs: tuple[Small, ...]


def write_landing(outputs: Path) -> Path:
    """Write `index.html` over everything in `outputs`, the page of claims beside it, and the page of each run that has changed."""
    tables, runs = summaries(outputs), all_known(outputs)
    holders, by_id = holders_of_tables(tables), {run.run_id: run for run in runs}
    pages = {run.folder: write_page(run, holders, by_id).relative_to(outputs).as_posix() for run in runs}
    counts = {state: sum(run.state == state for run in runs) for state in STATES}
    path, claims = outputs / "index.html", write_claims(outputs)
    held = {run.folder: holders_of(run, holders) for run in runs}
    multiples = list(_multiples(runs, holders, pages))
    page = rendered(
        "landing.html.j2",
        tables=tables,
        runs=runs,
        pages=pages,
        held=held,
        multiples=multiples,
        counts=counts,
        claims=claims.name,
    )
    write(path, page)
    return path


def _multiples(runs: Sequence[Known], holders: Sequence[Holder], pages: Mapping[Path, str]) -> Iterator[Multiples]:
    """Yield the pretraining runs table by table, each run with the first table that holds it; those in none come first."""
    groups: dict[str, list[Known]] = {"": []}
    groups |= {holder.folder: [] for holder in holders}
    for run in runs:
        if run.kind == "pretrain" and run.state != DAMAGED:
            first = next((holder.folder for holder in holders_of(run, holders)), "")
            groups[first].append(run)
    titles = {holder.folder: f"{holder.title}, {holder.scale} scale" for holder in holders}
    for folder, own in groups.items():
        if own:
            title = titles.get(folder, IN_NO_TABLE)
            yield _on_the_same_axes(title, f"{folder}/index.html" if folder else "", own, pages)


def _on_the_same_axes(title: str, page: str, runs: Sequence[Known], pages: Mapping[Path, str]) -> Multiples:
    curves = {run.folder: held_out(run.folder) for run in runs}
    having = [found for found in curves.values() if found]
    key = next((key for key in NAMES if having and all(key in found for found in having)), "")
    points = {folder: found.get(key, []) for folder, found in curves.items()}
    every = [point for found in points.values() for point in found]
    if not every:
        return Multiples(title, page, "", tuple(Small(run, pages[run.folder], "", "") for run in runs))
    seen, values = zip(*every, strict=True)
    low, high = min(values), max(values)
    axes = f"{NAMES[key]}, from {compact(low)} to {compact(high)}, over {short(max(seen))} tokens"
    drawn = []
    for run in runs:
        own = points[run.folder]
        last = compact(own[-1][1]) if own else ""
        svg = spark(own, max(seen), (low, high), f"{run.name}: {NAMES[key]}, at the end {last}") if own else ""
        drawn.append(Small(run, pages[run.folder], svg, last))
    return Multiples(title, page, axes, tuple(drawn))
