"""`reproduce.until`: add pretraining seeds until the intervals of a column are narrow enough, or the budget ends.

An interval that is looked at until it is narrow is too narrow: at its stop a 95% interval covers about 92% to 95%. So the width that
counts is that of the 97% interval, which at its stop covers 95%, from four seeds on (benchmarks/results/inference.md).
"""

import math
from collections.abc import Sequence

from roberta_lab.config import Config, ConfigError
from roberta_lab.config.formatting import counted, duration, number
from roberta_lab.reports.deciding import column_called, table_of
from roberta_lab.reports.table.columns import Column
from roberta_lab.reports.table.comparing import between, of_other_texts
from roberta_lab.reports.table.rows import Table
from roberta_lab.runs.jobs import Job

FEWEST_SEEDS = 4  # before it may stop
STOPPING_LEVEL = 0.03  # of the interval whose width counts


def check(config: Config, runs: Sequence[Job]) -> None:
    """Raise ConfigError where `reproduce.until` is asked of several tables, for its unit is that of a column of one, of a
    column that the table of these runs does not have, or of jobs that nobody waits for.
    """
    if config.reproduce.until is None:
        return
    if config.reproduce.launch == "slurm":
        said = "reproduce.until: whether a seed is added depends on results, and with reproduce.launch=slurm nobody waits for them"
        raise ConfigError(f"{said}. Allowed: more seeds with sweep.seeds=[...].")
    if len(config.reproduce.sweeps) > 1:
        raise ConfigError("reproduce.until: its unit is that of a column, so it needs one table: sweep=NAME.")
    column_called(table_of(config, runs), config.reproduce.column, "reproduce.column")


def more_seeds(
    config: Config, runs: Sequence[Job], hours: float, hours_of_a_seed: float, has_failed: bool
) -> tuple[list[str], list[int] | None]:
    """Return what to print, and the pretraining seeds with one more; None in their place where nothing is to be added.

    `hours` are those of the clock since the command began. The budget is `reproduce.most_seeds` and `reproduce.hours`; a run
    that failed ends it too. Raises ConfigError for a column that the table does not have.
    """
    wanted, table = config.reproduce, table_of(config, runs)
    assert wanted.until is not None
    column = column_called(table, wanted.column, "reproduce.column")
    seeds = sorted({job.seed for job in runs})
    widths = half_widths(config, table, column)
    rows, width = max(widths.items(), key=lambda item: item[1], default=("no two rows to compare", 0.0))
    seen = "not known" if math.isinf(width) else f"{number(width, column.digits + 1)} ({rows})"
    said = f"until: {column.title} to +-{wanted.until:g}; with {counted(len(seeds), 'seed')} it is {seen}"
    if width <= wanted.until and (len(seeds) >= FEWEST_SEEDS or not widths):
        return [said], None
    if has_failed:
        ended = "runs failed"
    elif len(seeds) >= wanted.most_seeds:
        ended = f"reproduce.most_seeds={wanted.most_seeds} is reached"
    elif wanted.hours is not None and hours + hours_of_a_seed > wanted.hours:
        ended = (
            f"another seed takes about {duration(hours_of_a_seed)}, longer than reproduce.hours={wanted.hours:g} allows"
        )
    else:
        return [f"{said}; seed {seeds[-1] + 1} is added"], [*seeds, seeds[-1] + 1]
    return [f"{said}; not reached: {ended}"], None


def half_widths(config: Config, table: Table, column: Column) -> dict[str, float]:
    """Return half the width of the 97% intervals that matter in a column, by `row - other row`: of the pairs that claims name,
    else of each row and the reference. It is 0 where the seeds do not differ, and inf where there are not two of them.
    """
    assert config.sweep is not None
    rows, place = {row.name: row for row in table.rows}, table.all_columns.index(column)
    claimed = [(c.row, c.over) for c in config.sweep.claims if any(map(column.is_called, c.columns))]
    pairs = [pair for pair in dict.fromkeys(claimed) if set(pair) <= rows.keys()]
    pairs = pairs or [(name, table.reference) for name in rows if name != table.reference and table.reference]
    found = {}
    for row, over in pairs:
        difference = between(rows[row], rows[over], column, place, {})
        if of_other_texts(rows[row], rows[over], column) or (difference is not None and difference.same_runs):
            continue  # no seed changes that
        if difference is None or difference.seen.n < 2:
            found[f"{row} - {over}"] = math.inf
        else:
            seen = difference.seen
            found[f"{row} - {over}"] = seen.half_width_at(STOPPING_LEVEL) if seen.deviation else 0.0
    return found
