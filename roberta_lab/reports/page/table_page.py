"""The HTML page of a table: one file, nothing remote; its policy lets run its own script and style and no other."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from roberta_lab.reports.figures.inline_svg import Inline
from roberta_lab.reports.table import notes, wording
from roberta_lab.reports.table.rows import Table

HERE = Path(__file__).parent


@cache
def _text(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def policy() -> str:
    """Content security policy of the pages: the one script and the one style that they have, by hash, and nothing else."""
    own = f"script-src {_hash(_text('page.js'))}; style-src {_hash(_text('page.css'))}"
    return f"default-src 'none'; {own}; base-uri 'none'; form-action 'none'"


def rendered(template: str, **values: Any) -> str:
    """A page of a template that extends frame.html.j2; every text in it is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined
    )
    words = ("number", "spread", "facts", "paper", "marks", "by", "signed", "signs")
    environment.globals |= {name: getattr(wording, name) for name in words}
    parts = {"css": _text("page.css"), "js": _text("page.js"), "policy": policy()}
    return environment.get_template(template).render(**values, **parts)


def html(
    table: Table,
    figures: Sequence[Inline],
    meta: dict[str, str],
    home: str | None = None,
    files: Sequence[str] = (),
    command: str = "",
) -> str:
    """The page. `home` is the way to the landing page; `files` are the other forms of the table beside it."""
    return rendered(
        "page.html.j2",
        table=table,
        figures=figures,
        meta=meta,
        home=home,
        files=files,
        command=command,
        warning=wording.warning(table),
        compared=wording.compared(table),
        cautions=[*notes.cautions(table), *notes.notes(table)],
        tests=wording.TESTS,
        grid=wording.GRID,
        legend_text=wording.legend(table).replace("[published value]", "published value"),
    )
