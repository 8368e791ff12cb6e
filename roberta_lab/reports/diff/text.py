"""A diff as lines for the console."""

from collections.abc import Iterator, Sequence

from roberta_lab.config.formatting import DASH, compact, counted, number, signed, visible
from roberta_lab.reports.console import aligned
from roberta_lab.reports.diff.comparison import Comparison, Cost, ItemsDifference, MetricDifference, Parting

FEW_LINES = 5  # items of each direction on the console; page and JSON have all
MOST_ROWS = 16  # of losses on the console
LONG = 160  # characters of a text on the console
DIGITS = {"loss": 4, "byte": 3, "ppl": 1, "perplexity": 1}  # by how a metric's name ends


def digits(name: str) -> int:
    """Return the digits behind the point that a metric is shown with; shares from 0 to 1, as val/nsp_acc, have 4."""
    found = next((digits for end, digits in DIGITS.items() if name.endswith(end)), None)
    return found if found is not None else 4 if name.startswith("val/") else 2


def shown(value: object) -> str:
    """Return a setting's value; a dash where a side has none."""
    if value is None:
        return DASH
    return compact(value, 6) if isinstance(value, float) else str(value)


def interval(low: float | None, high: float | None, places: int) -> str:
    """Return `-1.5 to +0.3`; nothing without one."""
    return "" if low is None or high is None else f"{signed(low, places)} to {signed(high, places)}"


def named(pairs: Sequence[str]) -> str:
    """Return the pairs by name; of many the first ones and their number."""
    if len(pairs) <= MOST_ROWS:
        return "; ".join(pairs)
    return f"{'; '.join(pairs[:MOST_ROWS])}; ... ({len(pairs)} pairs of runs)"


def parted(loss: Parting) -> str:
    """Return where a loss parts, in words."""
    if loss.first is None:
        return f"never: {counted(loss.steps, 'step')} bitwise equal"
    return f"at step {loss.first:,} by {loss.there:+.2g}; {loss.end:+.4g} at the end, step {loss.last:,}"


def cost_rows(a: Cost, b: Cost) -> list[tuple[str, str, str]]:
    """Return what both sides took: a name, and the figure of each."""

    def row(name: str, of_a: str, of_b: str) -> tuple[str, str, str]:
        return name, of_a, of_b

    found = [
        row("seconds of pretraining", *(number(cost.pretraining_seconds) for cost in (a, b))),
        row("seconds of tasks", *(number(cost.task_seconds) for cost in (a, b))),
        row("real tokens", *(f"{cost.tokens:,}" for cost in (a, b))),
        row("FLOPs of pretraining", *(DASH if cost.flops is None else f"{cost.flops:.2e}" for cost in (a, b))),
        row("devices", *("; ".join(cost.devices) or DASH for cost in (a, b))),
    ]
    return [line for line in found if line[1:] not in (("0.0", "0.0"), ("0", "0"), (DASH, DASH))]


def lines(found: Comparison) -> Iterator[str]:
    """Yield the diff, line by line."""
    a, b = found.a.name, found.b.name
    for letter, side in (("A", found.a), ("B", found.b)):
        several = f", {len(side.runs)} runs" if len(side.runs) > 1 else ""
        yield visible(f"{letter}: {side.name}, {side.what}{several}")
    yield f"compared: {named(found.pairs)}. Differences are B - A."
    yield from _block("settings that differ", [("", a, b), *((s.key, shown(s.a), shown(s.b)) for s in found.science)])
    rows = [("", a, b), *((s.key, shown(s.a), shown(s.b)) for s in found.circumstance)]
    yield from _block("circumstance that differs", rows)
    rows = [("", "", "losses part"), *((loss.pair, loss.loss, parted(loss)) for loss in found.losses[:MOST_ROWS])]
    yield from _block("training losses", rows)
    if len(found.losses) > MOST_ROWS:
        yield f"and {len(found.losses) - MOST_ROWS} more, in diff.json and on the page"
    head = ("", "", a, b, "B - A", "95% interval", "seeds")
    yield from _block("metrics", [head, *map(_metric, _main(found.metrics))], "llrrrrr")
    for items in found.items:
        yield from _items(items)
    yield from _block("what it took", [("", a, b), *cost_rows(found.a.cost, found.b.cost)])
    if found.notes:
        yield ""
        yield from map(visible, found.notes)


def _block(title: str, rows: Sequence[Sequence[str]], alignment: str = "lll") -> Iterator[str]:
    yield ""
    if len(rows) == 1:
        yield f"{title}: none"
        return
    yield f"{title}:"
    yield from aligned(rows, alignment, head=True)


def _main(metrics: Sequence[MetricDifference]) -> Iterator[MetricDifference]:
    """Yield the metrics without those of paradigms, of which there may be dozens."""
    return (metric for metric in metrics if not metric.name.startswith("paradigm/"))


def _metric(m: MetricDifference) -> tuple[str, ...]:
    places = digits(m.name)
    figures = number(m.a, places), number(m.b, places), signed(m.difference, places)
    return m.of, m.name, *figures, interval(m.low, m.high, places), str(m.n)


def over(items: ItemsDifference) -> str:
    """Return the interval over items in words; nothing without one."""
    if (found := items.interval) is None:
        return ""
    what = f"over {found.num_seeds} seeds and" if found.num_seeds > 1 else "over"
    by = "Multi-Bootstrap" if found.num_seeds > 1 else "paired bootstrap"
    ends = interval(found.low, found.high, 2)
    return f"{items.metric} {signed(found.mean, 2)}, 95% interval {what} {found.num_items:,} items {ends} ({by})"


def _items(items: ItemsDifference) -> Iterator[str]:
    yield ""
    yield f"items of {items.task}: " + (over(items) or items.note or DASH)
    if items.interval is not None and items.note:
        yield items.note
    for flips in items.flips:
        yield f"  {flips.direction}: {', '.join(map(str, flips.counts))}"
        for flip in flips.items[:FEW_LINES]:
            times = f", in {flip.times} of {len(items.pairs)}" if len(items.pairs) > 1 else ""
            yield f"    {_cut(flip.id)} (gold {_cut(flip.gold)}; A {_cut(flip.a)}, B {_cut(flip.b)}{times})"
            for name, text in flip.texts.items():
                yield f"      {name}: {_cut(text)}"


def _cut(text: str) -> str:
    text = visible(" ".join(text.split()))
    return text if len(text) <= LONG else text[:LONG].rstrip() + " …"
