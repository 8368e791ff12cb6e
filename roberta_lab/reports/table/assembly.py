"""Assemble a table: group a sweep's runs by row and column, mark what is wrong with them, and compare the rows."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from roberta_lab.config import ConfigError, SweepConfig
from roberta_lab.reports.table.alike import marked
from roberta_lab.reports.table.columns import (
    Column,
    beside,
    common_columns,
    encoding,
    held_out_columns,
    published,
    source,
    task_columns,
)
from roberta_lab.reports.table.comparing import compared_with
from roberta_lab.reports.table.judging import judged
from roberta_lab.reports.table.marks import UNIGRAM, doubtful, unusable
from roberta_lab.reports.table.rows import Best, Cell, Record, Row, Table

PAPER = "paper"  # the scale at which text is the paper's, or what stands for it


def assemble(sweep: SweepConfig, scale: str, runs: Iterable[Record], leaves_out: Collection[str] = ()) -> Table:
    """Return the table of a sweep, its rows in the sweep's order, without the held-out figures that its scale leaves out.

    Raises: ConfigError when `sweep.reference` is no row of the sweep.
    """
    records = list(runs)
    if sweep.reference is not None and sweep.reference not in sweep.rows:
        raise ConfigError(f"sweep.reference={sweep.reference}: no such row. Allowed: {', '.join(sweep.rows)}.")
    tasks = _tasks(sweep, records)
    keys = [*([sweep.published] if sweep.published else []), *beside([*sweep.tasks, *tasks])]
    paper = {name: values for key in keys for name, values in published(key).items()}
    results = {t: [r.result.scored for r in records if r.task == t and r.result] for t in tasks}
    scored_by = {r.task: r.config.task.name for r in records if r.task is not None and r.config is not None}
    columns = task_columns(sweep, results, scored_by)
    pretrained = [r.result.pretraining for r in records if r.kind == "pretrain" and r.result]
    common, measured = common_columns(pretrained), held_out_columns(pretrained)
    held_out = tuple(replace(c, other_text=scale != PAPER) for c in measured if c.metric not in leaves_out)
    names = sorted({record.row for record in records}, key=list(sweep.rows).index)
    every = (common, columns, held_out)
    rows = [_row(n, every, [r for r in records if r.row == n], paper.get(n, {})) for n in names]
    reference = sweep.reference if sweep.reference in names else next(iter(names), None)
    rows = compared_with(marked(rows, reference), reference, [*common, *columns, *held_out], sweep.margins)
    in_order = [column for columns_of in every for column in columns_of]
    apart = [c for c in in_order if c.is_apart and any(values.get(c.metric) is not None for values in paper.values())]
    table = Table(
        name=sweep.name,
        title=sweep.title,
        question=sweep.question,
        scale=scale,
        common=common,
        columns=columns,
        left_out=(
            *(task for task in sweep.tasks if task not in tasks),
            *(column.title for column in measured if column.metric in leaves_out),
        ),
        held_out=held_out,
        rows=tuple(rows),
        published_only={
            name: tuple(column.published_in(values) for column in in_order)
            for name, values in paper.items()
            if name not in sweep.rows
        },
        stood_in_for=tuple(apart),
        published_apart=_values_of(apart, paper),
        encoding=encoding(sweep.published) if sweep.published else None,
        source="; ".join(map(source, keys)) or None,
        reference=reference,
        best=_best(columns, rows) if is_grid(sweep) else (),
    )
    return replace(table, verdicts=judged(table, sweep, leaves_out))


def _tasks(sweep: SweepConfig, records: Iterable[Record]) -> list[str]:
    """Return the tasks that there are runs of, in the sweep's order; those that it has at one scale alone come last."""
    found = dict.fromkeys(record.task for record in records if record.task is not None)
    return sorted(found, key=lambda task: sweep.tasks.index(task) if task in sweep.tasks else len(sweep.tasks))


def _values_of(
    columns: Sequence[Column], paper: Mapping[str, Mapping[str, float | None]]
) -> dict[str, tuple[float | None, ...]]:
    """Return the published values of some columns, of each row that has any."""
    found = {name: tuple(values.get(column.metric) for column in columns) for name, values in paper.items()}
    return {name: values for name, values in found.items() if any(value is not None for value in values)}


def _row(
    name: str,
    every: tuple[tuple[Column, ...], ...],  # the columns of the common set, of tasks, and of own held-out figures
    records: list[Record],
    paper: Mapping[str, float | None],
) -> Row:
    pretrained = [record for record in records if record.kind == "pretrain"]
    of_task = {column.task: [record for record in records if record.task == column.task] for column in every[1]}
    best = {c.task: _best_setting(of_task[c.task], c) for c in every[1] if c.principal}
    cells = tuple(_cell(of_task[c.task], c, c.published_in(paper), best[c.task]) for c in every[1])
    common, held_out = (
        tuple(_cell(pretrained, c, c.published_in(paper)) for c in part) for part in (every[0], every[2])
    )
    row = Row(name, cells, held_out, common)
    found = [record.result.pretraining for record in pretrained if record.result]
    if not found:
        return row
    first = found[0]
    perplexity = row.perplexity
    if perplexity.median is not None and not perplexity.median < first.unigram_ppl:
        perplexity = replace(perplexity, marks=(*perplexity.marks, UNIGRAM))
    return replace(
        row,
        held_out=(perplexity, *row.held_out[1:]),
        cuts=tuple(result.cuts for result in found),
        common_texts=tuple(dict.fromkeys(r.common_text for r in found if r.common_bits_per_byte is not None)),
        unigram_ppl=first.unigram_ppl,
        tokens_seen=first.tokens_seen,
        passes=first.epochs,
        steps=first.steps,
    )


def _cell(
    records: Sequence[Record], column: Column, paper: float | None, setting: str = "", num_settings: int | None = None
) -> Cell:
    """Return the cell of a setting's runs, each once: from a folder, pretraining seeds give the same runs.

    `num_settings`: of how many it is the best, if not of those of the records.
    """
    records = list({r.run_id: r for r in reversed(records)}.values())[::-1]
    cell = Cell(tuple(records), {}, paper, setting=setting, num_settings=len({r.setting for r in records}) or 1)
    values = [(r, column.value(r.result)) for r in cell.shown if r.result is not None]
    finite = {(r.seed, r.finetune_seed): float(v) for r, v in values if v is not None and math.isfinite(v)}
    marks = [*unusable(records, column, [v for _, v in values], len(finite))]
    marks += doubtful(cell.shown, num_settings or cell.num_settings)
    if column.stand_in:
        marks.append(f"stand-in: {column.stand_in}")
    return replace(cell, by_seed=finite, marks=tuple(marks))


def _best_setting(records: Sequence[Record], column: Column) -> str:
    """Return the setting of finetuning with the best median over seeds, on dev by the task's score; of equal ones the first."""
    settings = dict.fromkeys(record.setting for record in records)
    medians = {setting: _cell(records, column, None, setting).median for setting in settings}
    return max(settings, key=lambda setting: -math.inf if (m := medians[setting]) is None else m, default="")


def is_grid(sweep: SweepConfig) -> bool:
    """Return whether the rows are settings of finetuning, of which the best one counts (RoBERTa, Section 5.1)."""
    keys = [o.lstrip("+~").partition("=")[0] for overrides in sweep.rows.values() for o in overrides]
    return len(sweep.rows) > 1 and all(sweep.rows.values()) and all(key.partition(".")[0] == "finetune" for key in keys)


def _best(columns: tuple[Column, ...], rows: Sequence[Row]) -> tuple[Best, ...]:
    found = []
    for i, column in enumerate(columns):
        medians = {row.name: median for row in rows if (median := row.cells[i].median) is not None}
        if column.principal and medians:
            name = max(medians, key=medians.__getitem__)  # the first of equal ones
            cell = next(row.cells[i] for row in rows if row.name == name)
            cell = _cell(cell.records, column, cell.published, cell.setting, len(medians) * cell.num_settings)
            found.append(Best(column, name, cell, len(medians)))
    return tuple(found)
