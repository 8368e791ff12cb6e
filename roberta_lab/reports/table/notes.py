"""The footnotes of a table in every rendering: what a reader must mind, and where the numbers come from."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from roberta_lab.axes.input_format import format_of
from roberta_lab.config import Config, FinetuneConfig
from roberta_lab.config.formatting import counted, number
from roberta_lab.reports import run_notes
from roberta_lab.reports.table.alike import SAME_TOKENS, alike_notes
from roberta_lab.reports.table.columns import are_same_tokens
from roberta_lab.reports.table.marks import AT_CHANCE
from roberta_lab.reports.table.rows import Record, Row, Table
from roberta_lab.reports.table.wording import ONE_SETTING, SEARCHED, SEEDS_OF_FINETUNING
from roberta_lab.runs.provenance import Attempt

SAME_UNIGRAM = 0.005  # share by which unigram perplexities may differ without a note
COMMON = (
    "Common figures are of one held-out text for all rows: whole sentences, with the same characters masked for every format, "
    "mask and tokenizer. They compare between rows; the run's own figures are of its own inputs, and need not."
)
LEFT_OUT = "left out at this scale, where the model is too small for it, or the time too short; sweep.tasks=[...] asks for a task."
CHOSEN = "Each score is that of the epoch that is best on dev, as in the paper: an optimistic number."
LAST = "Held-out figures are those of the last step, which need not be the best one."
CHANCE = (
    "At chance: on dev items, at least half of the cell's runs (or as many as it says) are no better than the best prediction "
    "that is the same for all of them, beyond luck; a run has as many chances of luck as it has epochs, and settings to choose from."
)
ZERO_SHOT = (
    "Scored without finetuning: the mean over paradigms of how often the good sentence of a pair has the higher "
    "pseudo-log-likelihood. Chance is 50, or what the sentence with fewer tokens gets if that is more; a run is at chance where "
    "its 95% interval over pairs begins no higher."
)
FOLDED = (
    "BERT's WordPiece drops case, accents and white space, unless its vocabulary is a cased one, so it has less to predict: that "
    "alone lowers bits per byte."
)
ENCODING = (
    "The paper's models of this table probably have BERT's WordPiece: 110M parameters (Section 4) are BERT-base with its vocabulary, "
    "and byte-level BPE is for the rest of the experiments (Section 4.4). Rows here have byte-level BPE, unless "
    "tokenizer=wordpiece_30k."
)
LIMITED = "data_mix.train_tokens counts tokens, so rows of another encoding have read another amount of text."
FRESH = "no masking pattern came back, so this row was masked as dynamic masking does it."
BYTES = "Bits per byte are of the masked text without white space, which WordPiece drops."
WHY = {  # unigram perplexities differ, by whether rows predict the same tokens
    None: "they predict other tokens (then compare bits per byte) or had other text",
    True: "they were trained on other text, and predict the same tokens",
    False: "they predict other tokens, so compare bits per byte",
}
PAIRS = "A run with nsp.copies=1 draws its pairs of texts once, and each pass sees the same."
SKIPPED = "of its steps were left out, since their gradients were no numbers (trainer.on_nonfinite=skip)."
SHARED = "Columns with the same stand-in are the same runs."


def notes(table: Table) -> list[str]:
    """Return the notes on the whole table."""
    complete = [record for record in table.records if record.result]
    stand_ins = [column.stand_in for column in table.columns if column.stand_in and column.principal]
    holds = {
        COMMON: any(cell.by_seed for row in table.rows for cell in row.common),
        SHARED: len(set(stand_ins)) < len(stand_ins),
        CHANCE: any(AT_CHANCE in mark for row in table.rows for cell in row.cells for mark in cell.marks),
        SEEDS_OF_FINETUNING: any(
            c.difference is not None and c.difference.same_weights for row in table.rows for c in row.cells
        ),
        CHOSEN: any(record.kind == "finetune" for record in complete),
        SEARCHED: any(cell.num_settings > 1 for row in table.rows for cell in row.cells),
        ONE_SETTING: table.source is not None and _leaves_out_settings(table),
        ENCODING: table.encoding is not None and any(kind != table.encoding for kind in _encodings(table)),
        ZERO_SHOT: any(column.zero_shot for column in table.columns),
        LAST: any(record.task is None for record in complete),
        BYTES: any(column.metric == "bits_per_byte" for column in table.held_out),
        PAIRS: any(r.config is not None and draws_pairs_once(r.config) for r in complete),
    }
    damage = dict.fromkeys(record.damage for record in table.records if record.damage)
    left_out = [f"{', '.join(table.left_out)}: {LEFT_OUT}"] if table.left_out else []
    said = (text for text, is_true in holds.items() if is_true)
    return [*damage, *left_out, *_skipping(complete), *unlike_rows(table), *recipes(table), *said]


def _skipping(complete: Sequence[Record]) -> list[str]:
    """Return which runs of pretraining left steps out, and how many."""
    results = [record.result for record in complete if record.result is not None and record.kind == "pretrain"]
    return [f"{r.label}: {n} {SKIPPED}" for r in results if (n := r.pretraining.num_skipped)]


def draws_pairs_once(config: Config) -> bool:
    """Return whether a run sees the same pairs in each pass."""
    return format_of(config.input_format).pairs and config.nsp.copies == 1


def recipes(table: Table) -> list[str]:
    """Return by which procedure each task was finetuned: whose it is, and its settings; several where a grid was searched."""
    tasks: dict[str, dict[str, None]] = {}
    grids: dict[str, list[FinetuneConfig]] = {}
    for task, tune in _tunings(table):
        said = f"at most {counted(tune.epochs, 'epoch')}, warmup over {100 * tune.warmup_ratio:g}% of the steps, weight decay "
        said = f"{said}{tune.weight_decay:g}, dropout {tune.dropout:g}, beta2 {tune.beta2:g}"
        recipe = f"{tune.recipe or 'a recipe without a name'}; {said}"
        tasks.setdefault(recipe, {})[task] = None
        grids.setdefault(recipe, []).append(tune)
    found = []
    for recipe, tunes in grids.items():
        batches, rates = sorted({tune.batch for tune in tunes}), sorted({tune.lr for tune in tunes})
        tried = f"batch {_listed(batches)}, peak rate {_listed(rates)}"
        found.append(f"Finetuning of {', '.join(tasks[recipe])}: {recipe}, {tried}.")
    return found


def _tunings(table: Table) -> list[tuple[str, FinetuneConfig]]:
    """Return the task and the settings of each finetuning run of the table, as its row composes them."""
    return [(r.task, r.config.finetune) for r in table.records if r.task is not None and r.config is not None]


def _listed(values: Sequence[float]) -> str:
    """Return `16, 32 or 64`."""
    *first, last = (f"{value:g}" for value in values)
    return f"{', '.join(first)} or {last}" if first else last


def _leaves_out_settings(table: Table) -> bool:
    """Return whether a recipe of the table has a grid of which one setting was run."""
    grids = [tune.grid or {} for _, tune in _tunings(table)]
    return all(not record.setting for record in table.records) and any(
        math.prod(map(len, grid.values())) > 1 for grid in grids
    )


def _encodings(table: Table) -> set[str]:
    return {row.config.tokenizer.kind for row in table.rows if row.config is not None}


def unlike_rows(table: Table) -> list[str]:
    """Return in what rows differ, so that their figures do not simply compare."""
    found = []
    unigram = [row.unigram_ppl for row in table.rows if row.unigram_ppl is not None]
    if unigram and shared_unigram(table) is None:
        ends = f"{number(min(unigram))} to {number(max(unigram))}"
        found.append(f"Unigram perplexities differ between rows ({ends}): {WHY[same_tokens(table)]}.")
    found += alike_notes(table.rows)
    seen = [row.tokens_seen for row in table.rows if row.tokens_seen is not None]
    if seen and max(seen) > (1 + SAME_TOKENS) * min(seen):
        found.append(f"Rows have not seen equally many tokens: {min(seen):,} to {max(seen):,}.")
    configs = {row.name: row.config for row in table.rows if row.config is not None}
    if len({config.tokenizer.kind for config in configs.values()}) > 1:
        found += [f"{name}: {FOLDED}" for name, config in configs.items() if config.tokenizer.kind == "wordpiece"]
        found += [LIMITED] if any(config.data_mix.train_tokens for config in configs.values()) else []
    found += [f"{row.name}: {FRESH}" for row in table.rows if _never_repeats(row)]
    return found


def same_tokens(table: Table) -> bool | None:
    """Return whether the predicted tokens have the same mean length, in bytes, in all rows, as the same tokens have; None if it
    is not known."""
    figures = []
    for row in table.rows:
        found = {column.metric: cell.by_seed for column, cell in zip(table.held_out, row.held_out, strict=True)}
        bits = found.get("bits_per_byte", {})
        figures += [(perplexity, bits.get(seed)) for seed, perplexity in found["ppl"].items()]
    return are_same_tokens(figures)


def shared_unigram(table: Table) -> float | None:
    """Return the unigram model's perplexity if it is about the same in every row."""
    unigram = [row.unigram_ppl for row in table.rows if row.unigram_ppl is not None]
    return unigram[0] if unigram and max(unigram) <= (1 + SAME_UNIGRAM) * min(unigram) else None


def _never_repeats(row: Row) -> bool:
    """Return whether static masking had a new pattern for each pass."""
    masking = row.config.masking if row.config is not None else None
    return masking is not None and masking.name == "static" and 0 < (row.passes or 0) <= masking.num_patterns


def task_notes(table: Table, with_baselines: bool = True) -> list[str]:
    """Return for each task what a reader must mind; baselines are its dev items and what a constant prediction scores."""
    found = {}
    for column in table.columns:
        said = [column.caution] if column.caution else []
        if with_baselines and column.majority is not None and column.num_dev is not None:
            items, beside = ("pairs", "chance") if column.zero_shot else ("dev items", "constant prediction")
            said.insert(0, f"{column.num_dev:,} {items}, {beside} {number(column.majority)}")
        if column.principal and said:
            found[column.stand_in or column.task] = ". ".join(said)
    return [f"{task}: {text}" for task, text in found.items()]


def footnotes(table: Table) -> list[str]:
    """Return what is said below a table in Markdown and LaTeX: notes on each task, then on the whole."""
    return [*task_notes(table), *notes(table)]


def origins(table: Table, meta: dict[str, str]) -> list[str]:
    """Return where the numbers come from, ours and the published ones."""
    published = {"published values": table.source} if table.source else {}
    return [f"{key}: {text}" for key, text in (meta | published).items()]


def provenance(config: Config, records: Sequence[Record], folder: Path) -> dict[str, str]:
    """Return what the runs noted of code, packages, hardware, data and dates, each attempt of a resumed run included.

    Different notes stand side by side. The directories of the records are relative to `folder`.
    """
    notes: dict[str, dict[str, None]] = {}
    days: set[str] = set()
    complete = {record.directory: (record.kind, record.result) for record in records if record.result is not None}
    for directory, (kind, _) in complete.items():
        noted = run_notes.provenance(folder / directory)
        if noted is None:
            continue
        if kind == "pretrain":
            notes.setdefault("data", {})[_data(config, folder / directory, noted["data"])] = None
        for attempt in noted["attempts"]:
            days |= {time[:10] for time in (attempt.get("start"), attempt.get("end")) if time}
            for key, value in _circumstances(attempt).items():
                notes.setdefault(key, {})[value] = None
    seconds = sum(result.seconds for _, result in complete.values())
    times = {"computing time": f"{seconds:,.0f} s over {len(complete)} runs"}
    if days:
        times["date"] = " to ".join(dict.fromkeys((min(days), max(days))))
    return {"scale": config.scale.name, **{key: "; ".join(values) for key, values in notes.items()}, **times}


def _data(config: Config, run: Path, fingerprints: Mapping[str, str]) -> str:
    """Return the sources and prepared data of a run: `pydoc (corpus 61d7, tokens f251)`. Rows may differ in their sources."""
    sources = run_notes.setting(run, "data_mix", "sources")
    names = sources if isinstance(sources, dict) and sources else config.data_mix.sources
    known = [f"{name} {fingerprints[name]}" for name in ("corpus", "tokens") if name in fingerprints]
    return " + ".join(names) + (f" ({', '.join(known)})" if known else "")


def _circumstances(attempt: Attempt) -> dict[str, str]:
    """Return the code, packages and hardware of one attempt in words."""
    commit, hardware = attempt["git"]["commit"], dict(attempt["hardware"])
    dirty = " with uncommitted changes" if attempt["git"]["dirty"] else ""
    machine = [str(hardware.pop("platform")), f"{hardware.pop('cpus')} CPUs"]
    machine += [f"{key} {value}" for key, value in hardware.items() if key != "host" and value]
    return {
        "code": f"commit {commit}{dirty}" if commit else "no git",
        "packages": ", ".join(f"{name} {version}" for name, version in attempt["packages"].items()),
        "python": attempt["python"],
        "hardware": ", ".join(machine),
    }
