"""The HTML page of a table: one file with nothing remote, whose policy allows its own script and style alone."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType

import jinja2

from roberta_lab.config.formatting import number, signed
from roberta_lab.reports.figures.inline_svg import Inline
from roberta_lab.reports.table import notes, row_facts, wording
from roberta_lab.reports.table.first_sentence import first_sentence
from roberta_lab.reports.table.rows import Table

HERE = Path(__file__).parent


def policy(js: str, css: str) -> str:
    """Return the content security policy of a page: its own script and style, by hash, and nothing else."""
    digests = (hashlib.sha256(part.encode()).digest() for part in (js, css))
    script, style = (f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return f"default-src 'none'; script-src {script}; style-src {style}; base-uri 'none'; form-action 'none'"


@cache
def jinja_environment() -> jinja2.Environment:
    """Return an environment of the templates beside this file, which escapes every text and refuses unknown names."""
    return jinja2.Environment(loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined)


def rendered(template: str, **values: object) -> str:
    """Return a page of a template that extends frame.html.j2; every text in it is escaped."""
    environment = jinja_environment()
    words = (
        *(number, signed, wording.spread, wording.paper, wording.marks, wording.signs),
        *(row_facts.own, wording.ends_of, wording.over_items, wording.p_text, wording.said),
    )
    environment.globals |= {word.__name__: word for word in words}
    js, css = ((HERE / name).read_text(encoding="utf-8") for name in ("page.js", "page.css"))
    return environment.get_template(template).render(**values, css=css, js=js, policy=policy(js, css))


def html(
    table: Table,
    figures: Sequence[Inline],
    meta: Mapping[str, str],
    home: str | None = None,
    files: Sequence[str] = (),
    command: str = "",
    diffs: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Return the page of a table.

    `meta` names where the numbers come from, `home` is the path of the landing page, `files` are the other forms of the table
    beside the page, `command` makes what is missing, and `diffs` are pages against the reference row, by row.
    """
    return rendered(
        "page.html.j2",
        table=table,
        figures=figures,
        meta=meta,
        home=home,
        files=files,
        command=command,
        diffs=diffs,
        first_sentence=first_sentence(table),
        answers=wording.answers(table),
        shared=row_facts.shared(table.rows),
        apart=wording.apart_rows(table),
        apart_text=wording.APART,
        warning=wording.warning(table),
        compared=wording.compared_rows(table),
        cautions=[*notes.task_notes(table, with_baselines=False), *notes.notes(table)],
        tests=wording.TESTS,
        claims=wording.CLAIMS,
        grid=wording.GRID,
        legend_text=wording.legend(table).replace("[published value]", "published value"),
    )
