"""Mark the rows of a table that were not made like its reference row: other cuts, devices, real tokens, or common texts."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from roberta_lab.config import Config
from roberta_lab.reports.table.rows import Cell, Row
from roberta_lab.training.rows import Cut

SAME_TOKENS = 0.01  # share by which the tokens of rows may differ without a mark
OTHER_TEXT = "of another common text: does not compare"
OTHER_ITEMS = "of other dev items: does not compare"
OTHER_METRIC = "of another metric: does not compare"
CUT = (
    "Rows marked with a cut did not cut their steps as the row that they are compared with. With dropout on, the cut decides "
    "which units are dropped, so it changes a run as much as another seed does."
)
DEVICE = "Rows marked with a device ran on another model of it, which gives other last bits and, on a GPU, may drop other units."
TOKENS = (
    "Rows marked with real tokens were asked to read as much as the row that they are compared with (sequences x steps x length), "
    "but their inputs hold more or fewer tokens, padding not counted."
)
UNKNOWN_CUT = "did not note how their steps were cut: that may differ between rows."


def marked(rows: Sequence[Row], reference: str | None) -> list[Row]:
    """Return the rows with marks for what differs from the reference row, by name; of what it lacks, from the first that has it."""
    ordered = sorted(rows, key=lambda row: row.name != reference)  # stable: the reference first, the others as they are
    cut = next((cut for row in ordered for cuts in row.cuts for cut in cuts), None)
    seen = next((row for row in ordered if row.tokens_seen is not None), None)
    text = next((text for row in ordered for text in row.common_texts), None)
    first = [
        next((m for cell in cells if (m := measured(cell))), None)
        for cells in zip(*(r.cells for r in ordered), strict=True)
    ]
    return [
        replace(
            row,
            marks=(*_cut_marks(row, cut, ordered[0].config), *_token_marks(row, seen)),
            common=tuple(_of_text(cell, row.common_texts, text) for cell in row.common),
            cells=tuple(_of_items(cell, base) for cell, base in zip(row.cells, first, strict=True)),
        )
        for row in rows
    ]


def unlike(row: Row, base: Row) -> tuple[str, ...]:
    """Return the marks of a row for what differs from another, and of the other for what differs within it, each once."""
    return tuple(dict.fromkeys(mark for found in marked((base, row), base.name) for mark in found.marks))


def _cut_marks(row: Row, base: Cut | None, reference: Config | None) -> list[str]:
    cuts = [cut for cuts in row.cuts for cut in cuts]
    if base is None:
        return []
    found = []
    shapes = dict.fromkeys(cut.shape for cut in cuts if cut.shape != base.shape)
    if shapes and (_drops(row.config) or _drops(reference)):
        part = " in part" if len(shapes) < len({cut.shape for cut in cuts}) else ""
        found.append(f"cut{part} into {', '.join(shapes)}, not {base.shape}")
    if devices := dict.fromkeys(cut.device for cut in cuts if cut.device != base.device):
        part = "in part " if len(devices) < len({cut.device for cut in cuts}) else ""
        found.append(f"{part}on {', '.join(devices)}, not {base.device}")
    return found


def _drops(config: Config | None) -> bool:
    """Return whether pretraining has dropout; a config that is not known may have it."""
    return config is None or max(config.model.dropout, config.model.attention_dropout) > 0


def _token_marks(row: Row, base: Row | None) -> list[str]:
    """Return a mark where a row was to read as much as the other but did not: where the config asks for more, it is meant."""
    if base is None or row.config is None or base.config is None or row.tokens_seen is None:
        return []
    assert base.tokens_seen is not None
    if not _near(asked(row.config), asked(base.config)) or _near(row.tokens_seen, base.tokens_seen):
        return []
    return [f"{row.tokens_seen:,} real tokens, not {base.tokens_seen:,}"]


def same_inputs(rows: Sequence[Row]) -> bool:
    """Return whether all rows have the same held-out inputs and masks, so that their own figures compare: they differ in how many
    patterns training masks take, and in nothing else that makes inputs.
    """
    configs = [row.config for row in rows if row.config is not None]
    made = [
        (c.tokenizer, c.data_mix, c.input_format, c.nsp, c.objective, replace(c.masking, name="", num_patterns=0))
        for c in configs
    ]
    return 1 < len(made) == len(rows) and all(one == made[0] for one in made)


def of_one_text(rows: Iterable[Row]) -> bool:
    """Return whether no two rows were scored on common texts that differ."""
    return len({text for row in rows for text in row.common_texts}) <= 1


def asked(config: Config) -> int:
    """Return the tokens of a run whose inputs are all full."""
    return config.batch_size.sequences * config.batch_size.steps * config.input_format.max_length


def _near(number: int, other: int) -> bool:
    return abs(number - other) <= SAME_TOKENS * other


def measured(cell: Cell) -> set[tuple[str, int]]:
    """Return by which metrics, and on how many dev items, the shown runs of a task's cell were scored."""
    return {(r.result.scored.metric, r.result.scored.num_dev) for r in cell.shown if r.result is not None and r.task}


def scored_otherwise(found: set[tuple[str, int]], base: set[tuple[str, int]]) -> str:
    """Return the mark of scores that do not compare with others, by what `measured` gives of both; empty where they do."""
    for which, mark in enumerate((OTHER_METRIC, OTHER_ITEMS)):
        if found and base and len({one[which] for one in found | base}) > 1:
            return mark
    return ""


def _of_items(cell: Cell, base: set[tuple[str, int]] | None) -> Cell:
    mark = scored_otherwise(measured(cell), base or set())
    return replace(cell, marks=(*cell.marks, mark)) if mark else cell


def _of_text(cell: Cell, texts: Iterable[str], text: str | None) -> Cell:
    others = [other for other in texts if other != text]
    return replace(cell, marks=(*cell.marks, OTHER_TEXT)) if others else cell


# ---------------------------------------------------------------- in words
def cut_text(cuts: Sequence[Cut]) -> str:
    """Return a run's cuts in words: `micro-batches of 16 (NVIDIA H100), from step 501 micro-batches of 8 (NVIDIA H100)`."""
    parts = [f"{f'from step {cut.start + 1:,} ' if cut.start else ''}{cut.shape} ({cut.device})" for cut in cuts]
    return ", ".join(parts)


def alike_notes(rows: Sequence[Row]) -> list[str]:
    """Return what the marks of rows mean, as far as there are any."""
    found = {mark for row in rows for mark in row.marks}
    holds = {
        CUT: any(mark.startswith("cut ") for mark in found),
        DEVICE: any(mark.startswith(("on ", "in part on ")) for mark in found),
        TOKENS: any(" real tokens, " in mark for mark in found),
    }
    unknown = [row.name for row in rows if row.steps is not None and not all(row.cuts)]
    some_known = any(cuts for row in rows for cuts in row.cuts)
    said = [f"Runs of {', '.join(unknown)} {UNKNOWN_CUT}"] if unknown and some_known else []
    return [*(text for text, is_true in holds.items() if is_true), *said]
