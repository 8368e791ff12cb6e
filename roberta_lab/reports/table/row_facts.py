"""What rows were made with: in what they differ is said of each row, what all of them share is said once."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from roberta_lab.config import Config
from roberta_lab.config.formatting import number
from roberta_lab.config.later_keys import settings
from roberta_lab.reports.table.alike import cut_text
from roberta_lab.reports.table.rows import Row
from roberta_lab.runs.identity import LATER_GROUPS, mask_settings, starts_from_run

SETTINGS = ("input_format", "nsp", "masking", "optimizer", "precision", *LATER_GROUPS)
SAID = ("warmup_steps", "matched_to")  # settings that follow from others, or that a fact says already


def facts(row: Row) -> str:
    """Return how long a row was pretrained, how its steps were cut, with what, and on which text."""
    return ", ".join(parts(row).values())


def parts(row: Row) -> dict[str, str]:
    """Return the facts of a row by what they are about."""
    if row.tokens_seen is None:
        return {"start": _start(row)}
    config, steps = row.config, f"{number(row.steps, 0)} steps"
    found = {"seen": f"{row.tokens_seen:,} tokens seen", "passes": f"{number(row.passes)} passes", "steps": steps}
    if config is not None:
        found["steps"] = f"{steps} of {config.batch_size.sequences:,} inputs"
    if cuts := dict.fromkeys(cut_text(cuts) for cuts in row.cuts if cuts):
        found["cut"] = f"cut into {' / '.join(cuts)}"
    return found if config is None else {**found, **_made_with(config)}


def _start(row: Row) -> str:
    if row.perplexity.records:
        return "not pretrained yet"
    configs = [record.config for cell in row.cells for record in cell.records if record.config is not None]
    return "its pretraining is not shown" if any(map(starts_from_run, configs)) else "starts from no run of its own"


def _made_with(config: Config) -> dict[str, str]:
    model, tokenizer, most = config.model, config.tokenizer, config.data_mix.train_tokens
    pieces = f"tokens of {Path(tokenizer.path).name}" if tokenizer.path else f"{tokenizer.vocab_size:,} pieces"
    tokens = f"{most:,} tokens of " if most else ""
    return {
        "rate": f"peak rate {config.batch_size.peak_lr:g}",
        "model": f"{model.layers} layers of {model.hidden}",
        "pieces": pieces,  # a published tokenizer has a size of its own
        "text": f"text: {tokens}{' + '.join(config.data_mix.sources)}",
    }


def shared(rows: Sequence[Row]) -> str:
    """Return the facts that all rows share; empty for one row, and where they share none."""
    found = [parts(row) for row in rows]
    return ", ".join(_common(found).values()) if len(found) > 1 else ""


def own(row: Row, rows: Sequence[Row]) -> str:
    """Return the settings and facts of a row in which the rows differ; of one row all its facts."""
    if len(rows) == 1:
        return facts(row)
    same = _common([parts(other) for other in rows])
    differing = [text for name, text in parts(row).items() if name not in same]
    return ", ".join([*_settings_that_differ(row, rows), *differing])


def lines(rows: Sequence[Row]) -> list[str]:
    """Return a line of what all rows share, and one for each row with what is its own."""
    text = shared(rows)
    return [*([f"all rows: {text}"] if text else []), *(described(row, rows) for row in rows)]


def described(row: Row, rows: Sequence[Row]) -> str:
    """Return the name of a row with what is its own."""
    return ": ".join(text for text in (row.name, own(row, rows)) if text)


def _common(found: Sequence[Mapping[str, str]]) -> dict[str, str]:
    first, *others = found or [{}]
    return {name: text for name, text in first.items() if all(other.get(name) == text for other in others)}


def _settings_that_differ(row: Row, rows: Sequence[Row]) -> list[str]:
    """Return `masking=static` and the like: the settings of pretraining, that are no fact, in which rows differ."""
    of_row = [_settings(other.config) for other in rows if other.config is not None]
    if row.config is None:
        return []
    return [
        f"{key}={value}" for key, value in _settings(row.config).items() if any(o.get(key) != value for o in of_row)
    ]


def _settings(config: Config) -> dict[str, object]:
    found: dict[str, object] = {}
    for group in SETTINGS:
        values = mask_settings(config.masking) if group == "masking" else settings(getattr(config, group))
        found |= {f"{group}.{key}".removesuffix(".name"): value for key, value in values.items() if key not in SAID}
    return found
