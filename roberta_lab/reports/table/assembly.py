"""Assemble a table: group a sweep's runs by row and column, mark what is wrong with them, and compare the rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from roberta_lab.config import ConfigError, SweepConfig
from roberta_lab.reports.table.columns import Column, held_out_columns, published, source, task_columns
from roberta_lab.reports.table.differences import difference
from roberta_lab.reports.table.rows import Best, Cell, Record, Row, Table
from roberta_lab.runs.results import RunResult

AT_CHANCE = "at chance"


def assemble(sweep: SweepConfig, scale: str, runs: Iterable[Record]) -> Table:
    """Return the table of a sweep, its rows in the sweep's order.

    Raises: ConfigError when `sweep.reference` is no row of the sweep.
    """
    records = list(runs)
    if sweep.reference is not None and sweep.reference not in sweep.rows:
        raise ConfigError(f"sweep.reference={sweep.reference}: no such row. Allowed: {', '.join(sweep.rows)}.")
    paper = published(sweep.published) if sweep.published else {}
    columns = task_columns(
        sweep, {t: [r.result.finetuning for r in records if r.task == t and r.result] for t in sweep.tasks}
    )
    held_out = held_out_columns(r.result.pretraining for r in records if r.kind == "pretrain" and r.result)
    names = sorted({record.row for record in records}, key=list(sweep.rows).index)
    rows = [_row(n, columns, held_out, [r for r in records if r.row == n], paper.get(n, {})) for n in names]
    reference = sweep.reference if sweep.reference in names else next(iter(names), None)
    rows = [_compared(row, rows[names.index(reference)], sweep.name) if reference else row for row in rows]
    metrics = [column.metric for column in (*columns, *held_out)]
    return Table(
        name=sweep.name,
        title=sweep.title,
        question=sweep.question,
        scale=scale,
        columns=columns,
        held_out=held_out,
        rows=tuple(rows),
        published_only={k: tuple(v.get(m) for m in metrics) for k, v in paper.items() if k not in sweep.rows},
        source=source(sweep.published) if sweep.published else None,
        reference=reference,
        best=_best(columns, rows) if is_grid(sweep) else (),
    )


def _row(
    name: str,
    columns: tuple[Column, ...],
    held_out: tuple[Column, ...],
    records: list[Record],
    paper: Mapping[str, float | None],
) -> Row:
    pretrained = [record for record in records if record.kind == "pretrain"]
    row = Row(
        name=name,
        cells=tuple(_cell([r for r in records if r.task == c.task], c, paper) for c in columns),
        held_out=tuple(_cell(pretrained, c, paper) for c in held_out),
    )
    first = next((record.result.pretraining for record in pretrained if record.result), None)
    if first is None:
        return row
    return replace(
        row,
        held_out=(_against_unigram(row.perplexity, first.unigram_ppl), *row.held_out[1:]),
        unigram_ppl=first.unigram_ppl,
        tokens_seen=first.tokens_seen,
        passes=first.epochs,
        steps=first.steps,
        nsp_accuracy=first.metrics.get("val/nsp_acc"),
    )


def _against_unigram(perplexity: Cell, unigram: float) -> Cell:
    """Return the cell, with a mark if word frequencies alone would give such a perplexity."""
    if perplexity.median is None or perplexity.median < unigram:
        return perplexity
    return replace(perplexity, marks=(*perplexity.marks, "no better than the unigram model"))


def _cell(records: list[Record], column: Column, paper: Mapping[str, float | None]) -> Cell:
    values = [(r, column.value(r.result)) for r in records if r.result is not None]
    finite = {(r.seed, r.finetune_seed): float(v) for r, v in values if v is not None and math.isfinite(v)}
    marks = [*_absent(records), *_unusable(column, [value for _, value in values], len(finite))]
    marks += _doubtful(column, [record.result for record, _ in values if record.result])
    if column.stand_in:
        marks.append(f"stand-in: {column.stand_in}")
    return Cell(tuple(records), finite, paper.get(column.metric), tuple(marks))


def _absent(records: Sequence[Record]) -> list[str]:
    """Return marks of runs that have no result, and of results that cannot be read."""
    damaged = sum(record.damage is not None for record in records)
    missing = sum(record.result is None for record in records) - damaged
    counts = ((missing, "missing"), (damaged, "unreadable"))
    return [f"{count} of {len(records)} runs {what}" for count, what in counts if count]


def _unusable(column: Column, values: Sequence[float | None], num_finite: int) -> list[str]:
    """Return marks of values that cannot be shown. What no run measures is another matter than a run that broke."""
    unmeasured = bool(values) and all(value is None for value in values)
    if unmeasured and (column.optional or not column.principal):
        return [f"not measured{f' by {column.stand_in}' if column.stand_in else ''}"]
    broken = len(values) - num_finite  # a NaN sorts nowhere, so a median over it would depend on the order of the runs
    return [f"{broken} of {len(values)} runs nan"] if broken else []


def _doubtful(column: Column, results: Sequence[RunResult]) -> list[str]:
    """Return marks of finetuning runs that learned nothing."""
    found = [result.finetuning for result in results if result.kind == "finetune"]
    marks = []
    if column.principal and (chance := sum(result.at_chance for result in found)):
        marks.append(AT_CHANCE if 2 * chance >= len(found) else f"{chance} of {len(found)} {AT_CHANCE}")
    if diverged := sum(result.diverged for result in found):
        marks.append(f"{diverged} diverged")
    return marks


# ---------------------------------------------------------------- rows against each other
def _compared(row: Row, reference: Row, name: str) -> Row:
    """Return a row, each cell with its difference from the reference row's."""
    if row is reference:
        return row
    pairs = zip(row.all_cells, reference.all_cells, strict=True)
    cells = tuple(_with_difference(cell, against, f"{name}/{row.name}") for cell, against in pairs)
    return replace(row, cells=cells[: len(row.cells)], held_out=cells[len(row.cells) :])


def _with_difference(cell: Cell, against: Cell, name: str) -> Cell:
    found = difference(cell.by_seed, against.by_seed, name)
    if found is not None and {r.run_id for r in cell.records} == {r.run_id for r in against.records}:
        found = replace(found, same_runs=True)
    return replace(cell, difference=found)


def is_grid(sweep: SweepConfig) -> bool:
    """Return whether the rows are settings of finetuning, of which the best one counts (RoBERTa, Section 5.1)."""
    keys = [o.lstrip("+~").partition("=")[0] for overrides in sweep.rows.values() for o in overrides]
    return len(sweep.rows) > 1 and all(sweep.rows.values()) and all(key.startswith("finetune.") for key in keys)


def _best(columns: tuple[Column, ...], rows: Sequence[Row]) -> tuple[Best, ...]:
    found = []
    for i, column in enumerate(columns):
        medians = {row.name: median for row in rows if (median := row.cells[i].median) is not None}
        if column.principal and medians:
            name = max(medians, key=medians.__getitem__)  # the first of equal ones
            cell = next(row.cells[i] for row in rows if row.name == name)
            found.append(Best(column, name, replace(cell, difference=None), len(medians)))
    return tuple(found)
