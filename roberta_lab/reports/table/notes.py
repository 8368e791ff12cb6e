"""What a reader must mind of a table: said below it in every rendering."""

from __future__ import annotations

import math

from roberta_lab.reports.table.columns import Column
from roberta_lab.reports.table.rows import AT_CHANCE, Row, Table
from roberta_lab.reports.table.wording import number

SAME_UNIGRAM, SAME_TOKENS, SAME_BYTES = 0.005, 0.02, 1e-6  # shares by which rows may differ without a word
CHOSEN = "Each score is that of the epoch that is best on dev, as in the paper: an optimistic number."
LAST = "Held-out figures are those of the last step, which need not be the best one."
CHANCE = (
    "At chance: on dev items, at least half of the cell's runs (or as many as it says) are no better than the best prediction "
    "that is the same for all of them."
)
FOLDED = (
    "BERT's WordPiece drops case, accents and white space, unless its vocabulary is a cased one, so it has less to predict: that "
    "alone lowers bits per byte."
)
LIMITED = "data_mix.train_tokens counts tokens, so rows of another encoding have read another amount of text."
FRESH = "no masking pattern came back, so this row was masked as dynamic masking does it."
BYTES = "Bits per byte are of the masked text without white space, which WordPiece drops."
PAIRS = "A run draws its pairs of texts once, and each pass sees the same."
SHARED = "Columns with the same stand-in are the same runs."


def notes(table: Table) -> list[str]:
    """Everything but what is said of each row and of each task."""
    there = [record for record in table.records if record.result]
    stand_ins = [column.stand_in for column in table.columns if column.stand_in and column.principal]
    said = {
        SHARED: len(set(stand_ins)) < len(stand_ins),
        CHANCE: any(AT_CHANCE in mark for row in table.rows for cell in row.cells for mark in cell.marks),
        CHOSEN: any(record.task for record in there),
        LAST: any(record.task is None for record in there),
        BYTES: any(column.metric == "bits_per_byte" for column in table.held_out),
    }
    return [*unlike(table), *(text for text, holds in said.items() if holds)]


def unlike(table: Table) -> list[str]:
    """Where rows differ in what their figures rest on."""
    found = []
    unigram = [row.unigram_ppl for row in table.rows if row.unigram_ppl is not None]
    if unigram and shared_unigram(table) is None:
        ends = f"Unigram perplexities differ between rows ({number(min(unigram))} to {number(max(unigram))})"
        found.append(f"{ends}: {_why(table)}.")
    seen = [row.tokens_seen for row in table.rows if row.tokens_seen is not None]
    if seen and max(seen) > (1 + SAME_TOKENS) * min(seen):
        found.append(f"Rows have not seen equally many tokens: {min(seen):,} to {max(seen):,}.")
    configs = {row.name: row.config for row in table.rows if row.config is not None}
    if len({config.tokenizer.kind for config in configs.values()}) > 1:
        found += [f"{name}: {FOLDED}" for name, config in configs.items() if config.tokenizer.kind == "wordpiece"]
        found += [LIMITED] if any(config.data_mix.train_tokens for config in configs.values()) else []
    found += [f"{row.name}: {FRESH}" for row in table.rows if _never_repeats(row)]
    accuracies = [f"{row.name} {100 * row.nsp_accuracy:.1f}" for row in table.rows if row.nsp_accuracy is not None]
    if accuracies:
        found.append(f"Next-sentence accuracy on held-out pairs: {', '.join(accuracies)}. {PAIRS}")
    return found


def _why(table: Table) -> str:
    same = same_tokens(table)
    if same is None:
        return "they predict other tokens (then compare bits per byte) or had other text"
    return (
        "they were trained on other text, and predict the same tokens"
        if same
        else "they predict other tokens, so compare bits per byte"
    )


def same_tokens(table: Table) -> bool | None:
    """Whether all rows predict tokens of the same mean length, bytes, as they do if those are the same; None if it is not known."""
    lengths = []
    for row in table.rows:
        found = {column.metric: cell.by_seed for column, cell in zip(table.held_out, row.held_out, strict=True)}
        bits = found.get("bits_per_byte", {})
        for seed, perplexity in found["ppl"].items():
            if not bits.get(seed):
                return None
            lengths.append(math.log2(perplexity) / bits[seed])
    return max(lengths) <= (1 + SAME_BYTES) * min(lengths) if lengths else None


def shared_unigram(table: Table) -> float | None:
    """The unigram model's perplexity if it is about that of every row."""
    unigram = [row.unigram_ppl for row in table.rows if row.unigram_ppl is not None]
    return unigram[0] if unigram and max(unigram) <= (1 + SAME_UNIGRAM) * min(unigram) else None


def _never_repeats(row: Row) -> bool:
    """Whether static masking had a pattern left for each pass."""
    masking = row.config.masking if row.config is not None else None
    return masking is not None and masking.name == "static" and 0 < (row.passes or 0) <= masking.num_patterns


def baselines(table: Table) -> list[str]:
    """Of each task: how many dev items, what a constant prediction gets, and what a reader must mind."""
    said = {}
    for column in table.columns:
        if column.majority is not None and column.num_dev is not None:
            caution = f". {column.caution}" if column.caution else ""
            baseline = f"{column.num_dev:,} dev items, constant prediction {number(column.majority)}"
            said[_measured(column)] = f"{baseline}{caution}"
    return [f"{task}: {text}" for task, text in said.items()]


def cautions(table: Table) -> list[str]:
    """What a reader must mind of a task's scores."""
    said = {_measured(column): column.caution for column in table.columns if column.caution}
    return [f"{task}: {text}" for task, text in said.items()]


def _measured(column: Column) -> str:
    return column.stand_in or column.task
