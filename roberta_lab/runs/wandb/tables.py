"""The copy of a table in W&B: its cells, its page and its runs; and online, a workspace and a report that show them.

Writing the table again updates the same W&B run, and the same workspace and report, whose ids `wandb.json` beside the table
keeps. These two need the optional package `wandb-workspaces`.
"""

from __future__ import annotations

import csv
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from roberta_lab.config import Config
from roberta_lab.data.storage import read_json, write_json
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.wandb.mirror import Mirror, axis_values, start_run

if TYPE_CHECKING:
    import wandb

Panels = dict[str, list[object]]  # panels of `wandb_workspaces.reports.v2`, by the title of their section
NOTE = "wandb.json"
CLAIM = ("words", "verdict", "estimate", "why", "source")  # what is shown of one
MISSING = "W&B: no workspace and no report, for wandb-workspaces is missing: pip install 'roberta_lab[workspaces]'"


def log_table(config: Config, folder: Path, runs: Sequence[Job]) -> None:
    """Log the files that `roberta-lab table` wrote into `folder`. Like `Mirror`, print one line when W&B fails."""
    assert config.sweep is not None
    sweep, scale = config.sweep.name, config.scale.name
    facts: dict[str, object] = {"sweep": sweep, "scale": scale, "runs": len(runs)}
    name, tags = f"{sweep} {scale}", [f"scale={scale}"]
    mirror = start_run(config, folder, "table", f"table-{sweep}-{scale}", name, facts, tags)
    if mirror is None:
        return
    online = not mirror.run.offline
    with _staging(folder):
        claims = _claims(folder)
        mirror.attempt(lambda: mirror.run.log(_content(folder, claims)))
        complete = [job for job in runs if job.is_complete]
        for job in complete:
            mirror.log_input(job.kind, job.path)
        outcomes = Counter(f"claims/{claim['verdict']}" for claim in claims)
        mirror.summarize({"complete": len(complete), "runs": len(runs), **outcomes})
        mirror.attempt(lambda: mirror.run.log_artifact(_artifact(f"table-{sweep}-{scale}", folder)))
    if online and not mirror.failed:
        mirror.attempt(lambda: _show(mirror, config, folder, runs))
    mirror.finish(succeeded=True)


@contextmanager
def _staging(folder: Path) -> Iterator[None]:
    """Make W&B keep the files that an offline run will upload beside the table instead of in the home folder."""
    before = os.environ.get("WANDB_DATA_DIR")
    os.environ["WANDB_DATA_DIR"] = before or str(folder.resolve() / "wandb")
    try:
        yield
    finally:
        if before is None:
            del os.environ["WANDB_DATA_DIR"]


def _claims(folder: Path) -> list[dict[str, object]]:
    """Return the verdicts on the sweep's claims, as the table's JSON has them; none for a table of older code."""
    file = folder / "table.json"
    return list(read_json(file).get("claims", [])) if file.is_file() else []


def _content(folder: Path, claims: Sequence[dict[str, object]]) -> dict[str, object]:
    """Return the table and its claims as `wandb.Table`s, which can be sorted and filtered in W&B, and the page as HTML."""
    import wandb

    with open(folder / "table.csv", newline="", encoding="utf-8") as file:
        header, *lines = csv.reader(file)
    cells = [[_cell(text) for text in line] for line in lines]
    said = {"claims": _claims_table(claims)} if claims else {}
    return {
        **said,
        "table": wandb.Table(columns=[*header], data=cells, allow_mixed_types=True),
        "page": wandb.Html((folder / "index.html").read_text(encoding="utf-8"), inject=False),
    }


def _claims_table(claims: Sequence[dict[str, object]]) -> wandb.Table:
    import wandb

    return wandb.Table(columns=[*CLAIM], data=[[claim[name] for name in CLAIM] for claim in claims])


def _cell(text: str) -> float | str | None:
    try:
        return float(text) if text else None
    except ValueError:
        return text


def _artifact(name: str, folder: Path) -> wandb.Artifact:
    import wandb

    files = wandb.Artifact(name, "table")
    for file in ("table.csv", "index.html"):
        files.add_file(str(folder / file), skip_cache=True)
    return files


def _show(mirror: Mirror, config: Config, folder: Path, runs: Sequence[Job]) -> None:
    """Create or update the workspace and the report, for the runs of this table only, and print their addresses."""
    try:
        reports = import_module("wandb_workspaces.reports.v2")
        workspaces = import_module("wandb_workspaces.workspaces")
    except ImportError:
        print(MISSING, file=sys.stderr)
        return
    sweep = config.sweep
    assert sweep is not None
    note = folder / NOTE
    known = read_json(note) if note.is_file() else {}
    where = {"entity": mirror.run.entity, "project": mirror.run.project}
    panels = _panels(reports, runs)
    # the ids of the runs of this table, also those that another table trained
    run_filter = f"Config('run_id') in [{', '.join(map(repr, dict.fromkeys(job.path.name for job in runs)))}]"
    view = workspaces.Workspace(
        **where,
        name=f"{sweep.name} {config.scale.name}",
        sections=[workspaces.Section(name=name, panels=content, is_open=True) for name, content in panels.items()],
        settings=workspaces.WorkspaceSettings(x_axis="tokens_seen"),
        runset_settings=workspaces.RunsetSettings(filters=run_filter),
    )
    # Private: the public `Workspace.from_url` loads the old panels, but here new ones replace them under the same id.
    view._internal_name, view._internal_id = known.get("workspace", ("", ""))
    view.save()
    known["workspace"] = [view._internal_name, view._internal_id]
    write_json(note, known)
    table = (folder / "table.md").read_text(encoding="utf-8")
    shown = reports.Runset(**where, name=sweep.name, filters=run_filter)
    blocks = [reports.P(sweep.question), reports.MarkdownBlock(text=table)]
    for name, content in panels.items():
        blocks += [reports.H2(name), reports.PanelGrid(runsets=[shown], panels=content)]
    title = f"{sweep.title} ({config.scale.name})"
    page = reports.Report(**where, title=title, description=sweep.question, blocks=blocks)
    page.id = known.get("report", "")
    page.save()
    write_json(note, known | {"report": page.id})
    print(f"W&B: {view.url}\nW&B: {page.url}")


def _differing_axes(runs: Sequence[Job]) -> list[str]:
    """Return the names of the axes in which the pretraining runs of a table differ."""
    found = [axis_values(job.config) for job in runs if job.kind == "pretrain"]
    return [name for name in (found[0] if found else {}) if len({str(values[name]) for values in found}) > 1]


def _panels(reports: ModuleType, runs: Sequence[Job]) -> Panels:
    """Return the panels of pretraining (curves over tokens, settings against perplexity) and of finetuning (scores)."""
    column, config, summary = reports.ParallelCoordinatesPlotColumn, reports.Config, reports.SummaryMetric
    varied = [column(config(name)) for name in _differing_axes(runs)]
    scores = [column(name) for name in (config("row"), config("task"), summary("score"), summary("at_chance"))]
    return {
        "Pretraining": [
            reports.LinePlot(title="held-out perplexity", x="tokens_seen", y=["val/ppl"], log_y=True),
            reports.LinePlot(title="training loss of MLM", x="tokens_seen", y=["train/mlm_loss"], smoothing_factor=0.6),
            reports.LinePlot(title="norm of the gradient", x="tokens_seen", y=["train/grad_norm"], log_y=True),
            reports.ParallelCoordinatesPlot(title="rows and perplexity", columns=[*varied, column(summary("val/ppl"))]),
        ],
        "Finetuning": [
            reports.BarPlot(title="score by row", metrics=["score"], groupby=config("row"), groupby_aggfunc="median"),
            reports.BarPlot(title="majority baseline", metrics=["majority"], groupby=config("task")),
            reports.ParallelCoordinatesPlot(title="rows, tasks and scores", columns=scores),
        ],
    }
