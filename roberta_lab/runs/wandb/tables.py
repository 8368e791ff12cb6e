"""A finished table in W&B: its cells, its page, the runs it is made of; and, online, a workspace and a report that show them.

The table's run has an id of its own (sweep and scale), so making the table again updates it. Workspace and report are made
once by `wandb-workspaces` (an extra), noted in `wandb.json` beside the table, and updated from then on.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from roberta_lab.config import Config
from roberta_lab.data.storage import write_json
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.wandb.mirror import Mirror, axes, begin

NOTE = "wandb.json"
MISSING = "W&B: no workspace and no report, for wandb-workspaces is missing: pip install 'roberta_lab[workspaces]'"


def log_table(config: Config, folder: Path, runs: Sequence[Job]) -> None:
    """Logs what `roberta-lab table` wrote into `folder`; whatever fails is one line, as in `wandb_mirror`."""
    assert config.sweep is not None
    sweep, scale = config.sweep.name, config.scale.name
    facts = {"sweep": sweep, "scale": scale, "runs": len(runs)}
    mirror = begin(config, folder, "table", f"table-{sweep}-{scale}", f"{sweep} {scale}", facts, [f"scale={scale}"])
    if mirror is None:
        return
    online = not mirror.run.offline
    with _staging(folder):
        mirror.attempt(lambda: mirror.run.log(_content(folder)))
        for one in runs:
            if one.is_complete:
                mirror.used(one.kind, one.path)
        mirror.summarize({"complete": sum(one.is_complete for one in runs), "runs": len(runs)})
        mirror.attempt(lambda: mirror.run.log_artifact(_artifact(sweep, scale, folder)))
    if online and not mirror.failed:
        mirror.attempt(lambda: _show(mirror, config, folder, runs))
    mirror.finish(succeeded=True)


@contextmanager
def _staging(folder: Path) -> Iterator[None]:
    """W&B copies what an offline run will upload into the home folder; here it stays with the run."""
    before = os.environ.get("WANDB_DATA_DIR")
    os.environ["WANDB_DATA_DIR"] = before or str(folder.resolve() / "wandb")
    try:
        yield
    finally:
        if before is None:
            del os.environ["WANDB_DATA_DIR"]


def _content(folder: Path) -> dict[str, Any]:
    """The table as W&B's own kind, which can be sorted and filtered there, and the page as it is."""
    import wandb

    with open(folder / "table.csv", newline="", encoding="utf-8") as file:
        header, *lines = csv.reader(file)
    cells = [[_cell(text) for text in line] for line in lines]
    return {
        "table": wandb.Table(columns=header, data=cells, allow_mixed_types=True),
        "page": wandb.Html((folder / "index.html").read_text(encoding="utf-8"), inject=False),
    }


def _cell(text: str) -> float | str | None:
    try:
        return float(text) if text else None
    except ValueError:
        return text


def _artifact(sweep: str, scale: str, folder: Path) -> Any:
    import wandb

    made = wandb.Artifact(f"table-{sweep}-{scale}", "table")
    for name in ("table.csv", "index.html"):
        made.add_file(str(folder / name), skip_cache=True)
    return made


# ---------------------------------------------------------------- workspace and report
def _show(mirror: Mirror, config: Config, folder: Path, runs: Sequence[Job]) -> None:
    """Makes or updates both, and says where they are."""
    try:
        import wandb_workspaces.reports.v2 as reports
        import wandb_workspaces.workspaces as workspaces
    except ImportError:
        print(MISSING, file=sys.stderr)
        return
    note = folder / NOTE
    known = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
    entity, project = mirror.run.entity, mirror.run.project
    panels, only = _panels(reports, runs), _only(runs)
    view = workspace(workspaces, config, entity, project, panels, only)
    view._internal_name, view._internal_id = known.get("workspace", ("", ""))
    view.save()
    known["workspace"] = [view._internal_name, view._internal_id]
    write_json(note, known)
    page = report(reports, config, entity, project, panels, only, (folder / "table.md").read_text(encoding="utf-8"))
    page.id = known.get("report", "")
    page.save()
    write_json(note, known | {"report": page.id})
    print(f"W&B: {view.url}\nW&B: {page.url}")


def _only(runs: Sequence[Job]) -> str:
    """The runs of this table, also those that another table trained: in W&B's language of filters."""
    return f"Config('run_id') in [{', '.join(repr(path.name) for path in dict.fromkeys(one.path for one in runs))}]"


def differing(runs: Sequence[Job]) -> list[str]:
    """The axes in which the pretraining runs of a table differ."""
    found = [axes(one.config) for one in runs if one.kind == "pretrain"]
    return [name for name in (found[0] if found else {}) if len({str(values[name]) for values in found}) > 1]


def _panels(reports: Any, runs: Sequence[Job]) -> dict[str, list[Any]]:
    """Panels by section: curves over tokens, what the rows differ in against perplexity, scores beside their baseline."""
    column, config, summary = reports.ParallelCoordinatesPlotColumn, reports.Config, reports.SummaryMetric
    varied = [column(config(name)) for name in differing(runs)]
    return {
        "Pretraining": [
            reports.LinePlot(title="held-out perplexity", x="tokens_seen", y=["val/ppl"], log_y=True),
            reports.LinePlot(title="training loss of MLM", x="tokens_seen", y=["train/mlm_loss"], smoothing_factor=0.6),
            reports.ParallelCoordinatesPlot(title="rows and perplexity", columns=[*varied, column(summary("val/ppl"))]),
        ],
        "Finetuning": [
            reports.BarPlot(title="score by row", metrics=["score"], groupby=config("row"), groupby_aggfunc="median"),
            reports.BarPlot(title="majority baseline", metrics=["majority"], groupby=config("task")),
            reports.ParallelCoordinatesPlot(
                title="rows, tasks and scores",
                columns=[
                    column(config("row")),
                    column(config("task")),
                    column(summary("score")),
                    column(summary("at_chance")),
                ],
            ),
        ],
    }


def workspace(library: Any, config: Config, entity: str, project: str, panels: dict[str, list[Any]], only: str) -> Any:
    """A saved view of the project: the panels, over the runs of this table alone."""
    assert config.sweep is not None
    return library.Workspace(
        entity=entity,
        project=project,
        name=f"{config.sweep.name} {config.scale.name}",
        sections=[library.Section(name=name, panels=drawn, is_open=True) for name, drawn in panels.items()],
        settings=library.WorkspaceSettings(x_axis="tokens_seen"),
        runset_settings=library.RunsetSettings(filters=only),
    )


def report(
    library: Any, config: Config, entity: str, project: str, panels: dict[str, list[Any]], only: str, table: str
) -> Any:
    """A page of prose and panels: the question, the table beside the published numbers, the panels."""
    assert config.sweep is not None
    runs = library.Runset(entity=entity, project=project, name=config.sweep.name, filters=only)
    grids = [
        block
        for name, drawn in panels.items()
        for block in (library.H2(name), library.PanelGrid(runsets=[runs], panels=drawn))
    ]
    return library.Report(
        entity=entity,
        project=project,
        title=f"{config.sweep.title} ({config.scale.name})",
        description=config.sweep.question,
        blocks=[library.P(config.sweep.question), library.MarkdownBlock(text=table), *grids],
    )
