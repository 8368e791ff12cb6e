"""Compare two sides: settings, losses, metrics with intervals, items, and what both took."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from roberta_lab.axes.nsp import nsp_is_on
from roberta_lab.model.flops import forward_flops
from roberta_lab.reports.diff import settings
from roberta_lab.reports.diff.comparison import Comparison, Cost, MetricDifference, RunOf, SideOf
from roberta_lab.reports.diff.flips import items_of
from roberta_lab.reports.diff.losses import partings
from roberta_lab.reports.diff.sides import Member, Pair, Side, pairs_of
from roberta_lab.reports.statistics.paired import Seeds, paired_difference
from roberta_lab.reports.tidy import metrics_of

PRETRAINING, COMMON = "pretraining", "common_"
OTHER_TEXT = "Their common held-out texts differ, so figures of those are left out."
FEW_SEEDS = 10  # with fewer the Multi-Bootstrap is too narrow
# what `metrics_of` gives beside the metrics: what a run read and took, baselines, ends of intervals
NO_METRICS = ("unigram_ppl", "tokens_seen", "epochs", "majority", "best_epoch", "seconds", "low", "high")


def compare(a: Side, b: Side, most_items: int) -> Comparison:
    """Return what B differs in from A, with at most so many items of each direction. Raises ConfigError where nothing is paired."""
    pairs = pairs_of(a, b)
    science, unknown = settings.science(pairs)
    losses, without = partings(pairs)
    items = tuple(items_of(pairs, most_items, f"{a.name}/{b.name}"))
    metrics = tuple(_metrics(pairs, a.is_row))
    return Comparison(
        a=_side(a),
        b=_side(b),
        pairs=tuple(pair.name for pair in pairs),
        science=science,
        circumstance=settings.circumstance(a, b),
        losses=losses,
        metrics=metrics,
        items=items,
        notes=(*a.notes, *b.notes, *unknown, *without, *_on_texts(pairs), *_on_intervals(metrics, items)),
    )


def _on_texts(pairs: Sequence[Pair]) -> Iterator[str]:
    if any(pair.a.kind == "pretrain" and _of_other_text(pair) for pair in pairs):
        yield OTHER_TEXT


def _on_intervals(metrics: Sequence[MetricDifference], items: Sequence[object]) -> Iterator[str]:
    """Yield what a reader must know of the intervals that are there, and of those that are not."""
    seeds = max((metric.n for metric in metrics), default=0)
    if seeds < 2:
        yield "One pair of runs: there is no interval over seeds, and other seeds may say otherwise."
    elif items and seeds < FEW_SEEDS:
        yield f"With {seeds} seeds the interval over seeds and items is too narrow; go by the one over seeds."


# ---------------------------------------------------------------- metrics
def _metrics(pairs: Sequence[Pair], is_row: bool) -> Iterator[MetricDifference]:
    """Yield every metric that both sides measured of the same text, by column and in the order of `result.json`."""
    by_column: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_column.setdefault(pair.a.task or PRETRAINING, []).append(pair)
    for column, own in by_column.items():
        found = [(_values(pair.a), _values(pair.b)) for pair in own]
        names = dict.fromkeys(name for a, b in found for name in a if name in b)
        if column == PRETRAINING and any(map(_of_other_text, own)):
            names = dict.fromkeys(name for name in names if not name.startswith(COMMON))
        same_weights = all(_weights(pair.a) == _weights(pair.b) for pair in own)
        for name in names:
            seeds = [_seeds(pair.a, is_row) for pair in own]
            values = [(s, a[name], b[name]) for s, (a, b) in zip(seeds, found, strict=True) if name in a and name in b]
            yield _metric(column, name, values, same_weights)


def _metric(
    column: str, name: str, values: Sequence[tuple[Seeds, float, float]], same_weights: bool
) -> MetricDifference:
    a, b = ({seeds: pair[side] for seeds, *pair in values} for side in (0, 1))
    found = paired_difference(b, a, same_weights)
    assert found is not None, "the seeds are those of pairs"
    low, high = (end if math.isfinite(end) else None for end in (found.low, found.high))
    return MetricDifference(column, name, _mean(a), _mean(b), found.mean, low, high, found.n)


def _mean(values: Mapping[Seeds, float]) -> float:
    """Return the mean as differences are taken: of each pretraining seed's mean, so that B - A is their difference."""
    by_seed: dict[int, list[float]] = {}
    for (seed, _), value in values.items():
        by_seed.setdefault(seed, []).append(value)
    return fmean(map(fmean, by_seed.values()))


def _of_other_text(pair: Pair) -> bool:
    """Return whether the common figures of two pretraining runs are of two texts."""
    return pair.a.result.pretraining.common_text != pair.b.result.pretraining.common_text


def _seeds(member: Member, is_row: bool) -> Seeds:
    return (member.seed, member.finetune_seed) if is_row else (0, None)  # two runs are one pair, whatever their seeds


def _weights(member: Member) -> object:
    """Return what a task's run starts from: the same for both sides of a pair, seeds of finetuning are independent."""
    if member.result.pretrain_run_id is not None:
        return member.result.pretrain_run_id
    return member.config.pretrained if member.config is not None and member.task is not None else member.path


def _values(member: Member) -> dict[str, float]:
    """Return the metrics of a run by name; without those that are nan or infinite, which a diverged run may have."""
    found = metrics_of(member.result).items()
    return {name: value for name, value in found if name not in NO_METRICS and math.isfinite(value)}


# ---------------------------------------------------------------- sides
def _side(side: Side) -> SideOf:
    runs = tuple(RunOf(m.kind, m.result.run_id, m.seed, m.task, m.finetune_seed, _seen(m.path)) for m in side.members)
    return SideOf(side.name, side.what, runs, _cost(side.members))


def _seen(path: Path) -> str:
    """Return a path from the folder that the command works in, where it lies below it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _cost(members: Sequence[Member]) -> Cost:
    pretrained = [member for member in members if member.kind == "pretrain"]
    flops = [_flops(member) for member in pretrained]
    cuts = [cut for member in pretrained for cut in member.result.pretraining.cuts]
    return Cost(
        pretraining_seconds=sum(member.result.seconds for member in pretrained),
        task_seconds=sum(member.result.seconds for member in members if member.kind != "pretrain"),
        tokens=sum(member.result.pretraining.tokens_seen for member in pretrained),
        flops=sum(known) if flops and len(known := [f for f in flops if f is not None]) == len(flops) else None,
        devices=tuple(sorted({f"{cut.devices} x {cut.device}" for cut in cuts})),
    )


def _flops(member: Member) -> float | None:
    """Return the model FLOPs of pretraining for the real tokens that it read."""
    if member.config is None:
        return None
    config, length = member.config, member.config.input_format.max_length
    share = config.masking.mask_prob
    of_input = forward_flops(config.model, config.tokenizer.vocab_size, length, nsp_is_on(config), share)
    return of_input.training / length * member.result.pretraining.tokens_seen
