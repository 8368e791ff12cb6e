"""The copy of a table in W&B: its cells, its claims, its page and its runs.

Logging a table again updates the same W&B run. `wandb.json` beside the table keeps what was logged, so that nothing is logged
twice, and the ids of the table's workspace and report.
"""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from roberta_lab.config import Config
from roberta_lab.data.storage import digest
from roberta_lab.data.verified import recall, remember
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.wandb import environment, offline, views
from roberta_lab.runs.wandb.mirror import FINISH_SECONDS, Mirror, start_run
from roberta_lab.runs.wandb.names import Keys, row_key, run_name, sweep_tag, with_own

if TYPE_CHECKING:
    import wandb

NOTE = "wandb.json"
STAGING = "staging"  # W&B copies files of offline artifacts here, in a folder of its own
CLAIM = ("words", "verdict", "estimate", "why", "source")  # what is shown of one
RUN = ("row", "name", "kind", "task", "seed", "finetune seed", "run_id")
LONGEST_ID = 110  # characters: what W&B itself makes of an id ("run-ID-claims") has at most 128


def log_table(config: Config, folder: Path, runs: Sequence[Job]) -> None:
    """Log what W&B lacks of the files that `roberta-lab table` wrote into `folder`. Print one line when W&B fails."""
    complete = [job for job in runs if job.is_complete]
    if not complete or environment.mode(config) == "off" or environment.under_agent():  # whose run is not the table's
        return
    note = folder / NOTE
    known = recall(note)
    facts = {"digest": _digest(folder, complete), "online": environment.ready(config) == "online"}
    if known.get("digest") == facts["digest"] and (known.get("online") or not facts["online"]):
        return
    if (mirror := _start(config, folder, len(runs))) is None:
        return
    facts["online"] = not mirror.run.offline
    with _staging(config):
        _log(mirror, folder, complete, len(runs))
    if facts["online"]:
        mirror.attempt(lambda: _name_rows(mirror, config, complete), FINISH_SECONDS)
        mirror.attempt(lambda: views.show(mirror, config, folder, runs, known), FINISH_SECONDS)
    mirror.finish(seconds=FINISH_SECONDS)
    if not mirror.failed:
        remember(note, known | facts)


def _digest(folder: Path, complete: Sequence[Job]) -> str:
    """Return a hash of what is logged of a table."""
    files = [(folder / name).read_text(encoding="utf-8") for name in ("table.csv", "table.md")]
    return digest({"files": files, "runs": sorted(job.path.name for job in complete)})


def _start(config: Config, folder: Path, num_runs: int) -> Mirror | None:
    assert config.sweep is not None
    sweep, scale = config.sweep.name, config.scale.name
    facts: dict[str, object] = {"sweep": sweep, "scale": scale, "runs": num_runs}
    tags = with_own(config, [f"scale={scale}", sweep_tag(sweep)])
    return start_run(config, "table", table_id(folder), run_name(f"{sweep} {folder.name}"), facts, tags, Keys(""))


def table_id(folder: Path) -> str:
    """Return the W&B id of a table, which follows from its folder as a run's does from its settings."""
    name = re.sub(r"[^\w.-]", "-", f"table-{folder.parent.name}-{folder.name}")
    return name if len(name) <= LONGEST_ID else f"{name[: LONGEST_ID - 7]}-{digest({'name': name}, 6)}"


def _log(mirror: Mirror, folder: Path, complete: Sequence[Job], num_runs: int) -> None:
    claims = _claims(folder)
    mirror.show(lambda: {**_content(folder, claims), "runs": _runs_table(complete)})
    for job in complete:
        mirror.log_input(job.kind, job.path)
    outcomes = Counter(f"claims/{claim['verdict']}" for claim in claims)
    mirror.summarize({"complete": len(complete), "expected": num_runs, **outcomes})
    mirror.attempt(lambda: mirror.run.log_artifact(_artifact(table_id(folder), folder)))


def _runs_table(complete: Sequence[Job]) -> wandb.Table:
    """Return the runs by their names in this table: a run that another table made first has that one's name in W&B."""
    import wandb

    cells = [[j.row, j.name, j.kind, j.task, j.seed, j.finetune_seed, j.path.name] for j in complete]
    return wandb.Table(columns=[*RUN], data=cells)


def _name_rows(mirror: Mirror, config: Config, complete: Sequence[Job]) -> None:
    """Give runs that other sweeps made the tag of this one, and the name of their row in it."""
    import wandb

    assert config.sweep is not None
    tag, key = sweep_tag(config.sweep.name), row_key(config.sweep.name)
    rows = {job.path.name: job.row for job in complete}
    lacking = {"$and": [{"name": {"$in": [*rows]}}, {"tags": {"$nin": [tag]}}]}
    api = wandb.Api(timeout=int(environment.ANSWER_SECONDS))
    for run in api.runs(f"{mirror.run.entity}/{mirror.run.project}", filters=lacking, lazy=False):
        run.tags.append(tag)
        run.config[key] = rows[run.id]
        run.update()


@contextmanager
def _staging(config: Config) -> Iterator[None]:
    """Make W&B keep the files that an offline run will upload in `outputs/wandb/` instead of in the home folder."""
    before = os.environ.get("WANDB_DATA_DIR")
    os.environ["WANDB_DATA_DIR"] = before or str(offline.home(config).resolve() / offline.FOLDER / STAGING)
    try:
        yield
    finally:
        if before is None:
            del os.environ["WANDB_DATA_DIR"]


def _claims(folder: Path) -> list[dict[str, object]]:
    """Return the verdicts on the sweep's claims, as the table's JSON has them; none for a table of older code."""
    return list(recall(folder / "table.json").get("claims", []))


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
