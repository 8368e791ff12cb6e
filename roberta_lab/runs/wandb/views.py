"""The workspace and the report of a table in W&B, which show its runs; they need the optional package `wandb-workspaces`.

Showing a table again updates the same two, whose ids stand in `wandb.json` beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from roberta_lab.config import Config
from roberta_lab.config.console import say
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.wandb.mirror import Mirror
from roberta_lab.runs.wandb.names import axis_values, row_key

Panels = dict[str, list[object]]  # panels of `wandb_workspaces.reports.v2`, by the title of their section
MISSING = "W&B: no workspace and no report, for wandb-workspaces is missing: pip install 'roberta_lab[workspaces]'"


def show(mirror: Mirror, config: Config, folder: Path, runs: Sequence[Job], known: dict[str, Any]) -> None:
    """Create or update the workspace and the report of this table's runs, and print their addresses.

    Their ids are read from `known`, and new ones are added to it.
    """
    try:
        reports = import_module("wandb_workspaces.reports.v2")
        workspaces = import_module("wandb_workspaces.workspaces")
    except ImportError:
        say(MISSING)
        return
    sweep = config.sweep
    assert sweep is not None
    where = {"entity": mirror.run.entity, "project": mirror.run.project}
    panels = _panels(reports, sweep.name, runs)
    row = row_key(sweep.name)
    # the ids of the runs of this table, also those that another table trained
    shown = f"Config('run_id') in [{', '.join(map(repr, dict.fromkeys(job.path.name for job in runs)))}]"
    view = workspaces.Workspace(
        **where,
        name=f"{sweep.name} {folder.name}",
        sections=[workspaces.Section(name=name, panels=content, is_open=True) for name, content in panels.items()],
        settings=workspaces.WorkspaceSettings(x_axis="tokens_seen"),
        runset_settings=workspaces.RunsetSettings(
            filters=shown, groupby=[workspaces.Config(row)], pinned_columns=[f"config:{row}", "config:seed"]
        ),
    )
    # Private: the public `Workspace.from_url` loads the old panels, but here new ones replace them under the same id.
    view._internal_name, view._internal_id = known.get("workspace", ("", ""))
    view.save()
    known["workspace"] = [view._internal_name, view._internal_id]
    table = (folder / "table.md").read_text(encoding="utf-8")
    runset = reports.Runset(**where, name=sweep.name, filters=shown, groupby=[f"config.{row}"])
    blocks = [reports.P(sweep.question), reports.MarkdownBlock(text=table)]
    for name, content in panels.items():
        blocks += [reports.H2(name), reports.PanelGrid(runsets=[runset], panels=content)]
    title = f"{sweep.title} ({folder.name})"
    page = reports.Report(**where, title=title, description=sweep.question, blocks=blocks)
    page.id = known.get("report", "")
    page.save()
    known["report"] = page.id
    print(f"W&B: {view.url}\nW&B: {page.url}")


def _differing_axes(runs: Sequence[Job]) -> list[str]:
    """Return the names of the axes in which the pretraining runs of a table differ."""
    found = [axis_values(job.config) for job in runs if job.kind == "pretrain"]
    names = (name for name in (found[0] if found else {}) if name != "row")
    return [name for name in names if len({str(values[name]) for values in found}) > 1]


def _panels(reports: ModuleType, sweep: str, runs: Sequence[Job]) -> Panels:
    """Return the panels of pretraining (curves over tokens, settings against perplexity) and of each task (scores, chance)."""
    column, config, summary = reports.ParallelCoordinatesPlotColumn, reports.Config, reports.SummaryMetric
    row = config(row_key(sweep))
    found: Panels = {}
    if any(job.kind == "pretrain" for job in runs):
        varied = [column(config(name)) for name in _differing_axes(runs)]
        best = column(summary("pretrain/val/ppl.min"))

        def curve(title: str, name: str, **options: object) -> object:
            return reports.LinePlot(title=title, x="tokens_seen", y=[f"pretrain/{name}"], **options)

        found["Pretraining"] = [
            curve("held-out perplexity", "val/ppl", log_y=True),
            curve("training loss of MLM", "train/mlm_loss", smoothing_factor=0.6),
            curve("norm of the gradient", "train/grad_norm", log_y=True),
            reports.ParallelCoordinatesPlot(title="rows and perplexity", columns=[column(row), *varied, best]),
            reports.MediaBrowser(title="masks that runs filled", media_keys=["pretrain/filled_masks"]),
        ]
    for task in dict.fromkeys(job.config.task.name for job in runs if job.has_task):
        [kind] = {job.kind for job in runs if job.has_task and job.config.task.name == task}
        found[f"Task {task}"] = _task_panels(reports, f"{kind}/{task}/", row)
    return found


def _task_panels(reports: ModuleType, prefix: str, row: object) -> list[object]:
    """Return the scores of rows beside chance, and what runs predicted."""

    def bars(title: str, name: str) -> object:
        return reports.BarPlot(title=title, metrics=[prefix + name], groupby=row, groupby_aggfunc="median")

    shown = [f"{prefix}predictions", f"{prefix}confusion_matrix"]
    return [
        bars("score", "score"),
        bars("chance", "chance"),
        reports.MediaBrowser(title="predictions", media_keys=shown),
    ]
