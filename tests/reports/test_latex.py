"""LaTeX: its structure everywhere, compiled where there is a LaTeX; hostile names stay text."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from report_runs import META, SWEEP, finetuned, of_own_tasks, pretrained, records

from roberta_lab.reports.table.assembly import assemble
from roberta_lab.reports.table.latex import document, escaped, tabular
from roberta_lab.reports.table.rows import Table

HOSTILE = r"""\input{/etc/passwd} $x_1^2$ 50% #1 & a~b {c} "q" 'r' `s` <t> |u| \\ [v] --- é ß 日本 ⚠"""


def nested(text: str) -> list[str]:
    """The environments and braces of a text, checked to close in order; returns the environments."""
    open_, seen = [], []
    for token in re.finditer(r"\\begin\{(\w+)\}|\\end\{(\w+)\}|\\.|[{}]", re.sub(r"(?m)^%.*$", "", text)):
        if token.group(1):
            open_.append(token.group(1))
            seen.append(token.group(1))
        elif token.group(2):
            assert open_.pop() == token.group(2)
        elif token.group(0) == "{":
            open_.append("{")
        elif token.group(0) == "}":
            assert open_.pop() == "{"
    assert not open_
    return seen


def outer_rows(text: str) -> list[str]:
    """The rows between the rules, without the small tables inside cells."""
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    flat = re.sub(r"\\begin\{tabular\}\[t\].*?\\end\{tabular\}", "X", body)
    return [line for line in flat.splitlines() if line.endswith(r" \\")]


def hostile_table() -> Table:
    found = [replace(r, row=HOSTILE, task=HOSTILE if r.task else None) for r in records() if r.row == "static"]
    return assemble(replace(SWEEP, title=HOSTILE, rows={HOSTILE: []}, tasks=[HOSTILE]), "smoke", found)


@pytest.fixture(params=["usual", "hostile", "grid"])
def made(request: pytest.FixtureRequest) -> Table:
    if request.param == "usual":
        return assemble(SWEEP, "smoke", records())
    if request.param == "hostile":
        return hostile_table()
    grid = replace(SWEEP, rows={"a": ["finetune.lr=1"], "b": ["finetune.lr=2"]}, tasks=["sst2"], published=None)
    return assemble(grid, "smoke", [finetuned(row, "sst2", s, 50.0 + s) for row in "ab" for s in (1, 2, 3)])


def test_every_row_has_every_column(made: Table) -> None:
    text = tabular(made)
    nested(text)
    rows = outer_rows(text)
    assert len(rows) == 1 + len(made.rows) + len(made.published_below)
    assert {row.count("&") - row.count(r"\&") for row in rows} == {len(made.all_columns)}
    assert [text.count(rule) for rule in (r"\toprule", r"\bottomrule")] == [1, 1] and r"\hline" not in text


def test_the_cells_say_what_the_table_says() -> None:
    text = tabular(assemble(SWEEP, "smoke", of_own_tasks(records())))
    assert r"65.5 [78.3]\\{\scriptsize 60.0 to 70.0, n=3}" in text
    assert r"\textit{at chance}" in text and r"\textit{1 of 3 runs missing}" in text
    assert r"{}[76.3]" in text, "a bracket at the beginning of a cell would be an argument of the line before"
    made = assemble(SWEEP, "smoke", records())
    assert r"65.5\textsuperscript{\textdagger{}}\\{\scriptsize 60.0 to 70.0, n=3}" in tabular(
        made
    ) and "[7" not in tabular(made)
    whole = document(made, META)
    assert "reference & 76.3 & 84.3" in whole, "published values have a place"
    assert "commit abc" in whole and "says nothing about the paper's claim".replace("'", r"\textquotesingle{}") in whole
    assert r"\input{tabular.tex}" in whole and nested(whole)[-1] == "itemize"


def test_no_command_can_begin_in_a_name() -> None:
    said = escaped(HOSTILE)
    assert r"\input{" not in said and "[U+65E5]" in said and "é" in said
    known = r"\\(text\w+\{\}|[&%$#_{}])"
    assert "\\" not in re.sub(known, "", said) and not re.search(r"(?<!\\)[%$#&_^~]", said)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")
def test_it_compiles(made: Table, tmp_path: Path) -> None:
    (tmp_path / "table.tex").write_text(document(made, {**META, HOSTILE: HOSTILE}), encoding="utf-8")
    (tmp_path / "tabular.tex").write_text(tabular(made), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "table.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
    assert (tmp_path / "table.pdf").stat().st_size > 10_000


def test_pretraining_alone_makes_a_table() -> None:
    text = tabular(assemble(replace(SWEEP, tasks=[]), "smoke", [pretrained("static", 5.0)]))
    assert set(nested(text)) == {"tabular"} and "static" in text and "5.0" in text
