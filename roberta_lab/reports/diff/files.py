"""Write a diff: text, JSON and a page; and a page for each row of a table, against its reference row."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from roberta_lab.config import ConfigError
from roberta_lab.config.paths import user_path
from roberta_lab.data.storage import digest, write
from roberta_lab.reports.diff import text
from roberta_lab.reports.diff.compare import compare
from roberta_lab.reports.diff.comparison import Comparison
from roberta_lab.reports.diff.sides import of_row
from roberta_lab.reports.page import run_page
from roberta_lab.reports.page.table_page import rendered
from roberta_lab.reports.table.rows import Table
from roberta_lab.runs.names import slug

FOLDER = "diffs"  # of a table, in its folder; of what was asked for, in the outputs
NUM_ITEMS = 20  # of each direction on the page of a table's row


def page(found: Comparison, folder: Path, home: Path, up: str, command: str = "") -> str:
    """Return the page of a diff that lies in a folder; `home` is the page above it, named `up`."""

    def place(path: str | Path) -> str:
        return Path(os.path.relpath(path, folder)).as_posix()

    words = (text.digits, text.shown, text.interval, text.parted, text.over, text.named)
    return rendered(
        "diff.html.j2",
        found=found,
        home=place(home),
        up=up,
        command=command,
        costs=text.cost_rows(found.a.cost, found.b.cost),
        places={
            run.folder: place(Path(run.folder) / run_page.PAGE) for side in (found.a, found.b) for run in side.runs
        },
        **{word.__name__: word for word in words},
    )


def write_diff(found: Comparison, outputs: Path, output: str = "", command: str = "") -> list[Path]:
    """Write `diff.txt`, `diff.json` and `index.html` into `output`, or a folder of the outputs; return the files.

    In the outputs a diff of other runs, as of rows of these names at another scale, is not written over: this one goes beside it.
    """
    folder = user_path(output) if output else _own_folder(found, outputs)
    folder.mkdir(parents=True, exist_ok=True)
    for run in (*found.a.runs, *found.b.runs):
        if not (Path(run.folder) / run_page.PAGE).is_file():  # of older code
            run_page.write_own(Path(run.folder))
    forms = {
        "diff.txt": "\n".join(text.lines(found)) + "\n",
        "diff.json": json.dumps(found.to_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        "index.html": page(found, folder, outputs / "index.html", "All tables and runs", command),
    }
    for name, content in forms.items():
        write(folder / name, content)
    return [folder / name for name in forms]


def _own_folder(found: Comparison, outputs: Path) -> Path:
    folder = outputs / FOLDER / f"{slug(found.a.name)}--{slug(found.b.name)}"
    own = {run.id for side in (found.a, found.b) for run in side.runs}
    return folder if _runs_in(folder) <= own else folder.with_name(f"{folder.name}--{digest({'runs': sorted(own)}, 6)}")


def _runs_in(folder: Path) -> set[str]:
    """Return the ids of the runs of which there is a diff in a folder; none where there is none that can be read."""
    try:
        there = json.loads((folder / "diff.json").read_text(encoding="utf-8"))
        return {str(run["id"]) for side in ("a", "b") for run in there[side]["runs"]}
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return set()


# ---------------------------------------------------------------- of a table
def of_rows(table: Table, folder: Path) -> dict[str, Comparison]:
    """Return each row of a table against the reference row, where both have complete runs with a seed in common.

    `folder` is where the directories of the table's records begin.
    """
    where, found = f"{table.name} at {table.scale}", dict[str, Comparison]()
    sides = {row.name: of_row(row, where, folder) for row in table.rows}
    reference = sides.pop(table.reference, None) if table.reference is not None else None
    for name, side in sides.items():
        if reference is not None and side is not None:
            with suppress(ConfigError):  # no seed in common
                found[name] = compare(reference, side, NUM_ITEMS)
    return found


def write_rows(table: Table, folder: Path, found: Mapping[str, Comparison]) -> dict[str, str]:
    """Write the page of each row's diff into `diffs/` of the table's folder; return its path by row, from that folder."""
    if found:
        (folder / FOLDER).mkdir(exist_ok=True)
    links = {name: f"{FOLDER}/{slug(name)}.html" for name in found}
    for name, comparison in found.items():
        write(folder / links[name], page(comparison, folder / FOLDER, folder / "index.html", table.title))
    return links
