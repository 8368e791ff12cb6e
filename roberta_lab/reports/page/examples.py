"""Examples of a run's predictions for its page: `examples.json` in its folder, made once.

Pretraining writes what it fills in for masks when it ends (`training/fill_mask.py`). For a task they are dev items that were
predicted right and wrong, read beside `predictions.jsonl`. No model is loaded for a page.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from roberta_lab.config import ConfigError, Damaged
from roberta_lab.config.console import say_once
from roberta_lab.data.storage import Json
from roberta_lab.data.verified import SEAL, read_sealed, remember
from roberta_lab.reports.diff.flips import cut
from roberta_lab.reports.items import ScoredItems, scored_items
from roberta_lab.runs.loading import load_run
from roberta_lab.runs.results import RunResult
from roberta_lab.training.rows import EXAMPLES

NUM_EACH = 12  # of right and of wrong ones


def examples_of(folder: Path, result: RunResult | None) -> tuple[dict[str, Any], str]:
    """Return the examples of a run, and in a line why there are none; those of a task are written when they are first asked for."""
    found, why = _kept(folder)
    if found or result is None:
        return found, ""
    if result.kind == "pretrain":
        none = "the run is of older code, has no common held-out text, or trains no head that fills masks"
        return {}, why or f"{folder / EXAMPLES} is not there: {none}."
    try:
        config = load_run(folder).config_here
    except (ConfigError, Damaged) as error:
        return {}, str(error)
    items, why = scored_items(folder, result, config)
    if items is None:
        return {}, f"The items are not shown: {why}."
    if items.right is None:
        return {}, "The scores of items have no right and wrong."
    return keep(folder, items, items.right), ""


def _kept(folder: Path) -> tuple[dict[str, Any], str]:
    """Return the examples that a run kept; where they are damaged nothing, and in a line why."""
    file = folder / EXAMPLES
    try:
        found = read_sealed(file, f"without it and {folder}/result.json the same command makes both again")
    except FileNotFoundError:
        return {}, ""
    except Damaged as damage:
        say_once(str(damage))
        return {}, str(damage)
    return {name: value for name, value in found.items() if name != SEAL}, ""


def keep(folder: Path, items: ScoredItems, right: np.ndarray) -> dict[str, Json]:
    """Write the examples of a run of a task, and return them."""
    found = chosen(items, right)
    remember(folder / EXAMPLES, found)
    return found


def chosen(items: ScoredItems, right: np.ndarray) -> dict[str, Json]:
    """Return up to NUM_EACH items that were predicted wrong and as many right, spread over dev, with how many there are."""
    places = {"wrong": np.flatnonzero(~right), "right": np.flatnonzero(right)}
    counts: dict[str, Json] = {name: len(found) for name, found in places.items()}
    return {"counts": counts, **{name: [_item(items, i) for i in _spread(found)] for name, found in places.items()}}


def _spread(places: np.ndarray) -> Sequence[int]:
    """Return NUM_EACH of the places, evenly spread; all of them where there are fewer."""
    picked = np.unique(np.linspace(0, len(places) - 1, NUM_EACH).round().astype(int)) if len(places) else places
    chosen_places: list[int] = places[picked].tolist()
    return chosen_places


def _item(items: ScoredItems, i: int) -> dict[str, Json]:
    texts = {name: cut(text) for name, text in items.texts_of(i).items()}
    return {"id": items.ids[i], "texts": texts, "gold": cut(items.gold_of(i)), "said": cut(items.said_of(i))}
