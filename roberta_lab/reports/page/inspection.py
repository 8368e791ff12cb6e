"""The statistics of an epoch for people: one set of lines, as text for the console and as one HTML page."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from roberta_lab.axes.batch_size import micro_batch_size
from roberta_lab.axes.nsp import nsp_is_on
from roberta_lab.config import Config
from roberta_lab.data.inspection.decoded import STYLES, Decoded
from roberta_lab.data.inspection.shares import Bin, Share
from roberta_lab.data.inspection.statistics import BatchStatistics, EpochStatistics, PlanStatistics, RowStatistics

BAR = 32  # characters
MOST_KINDS_OF_DOCUMENTS = 6
KEPT = "kept: the token itself, also where it was drawn at random; 95 of 100 right epochs fall in the interval"


class Line(NamedTuple):
    """A number, what it is of, and what to hold it against; `wrong` when it cannot be right."""

    name: str
    value: str
    note: str = ""
    wrong: bool = False


@dataclass(frozen=True)
class Section:
    """Lines under a title, or bars."""

    title: str
    lines: tuple[Line, ...] = ()
    bars: tuple[Bin, ...] = ()
    of: str = "length"  # what the bars stand beside
    note: str = ""
    page_only: bool = False  # too long for a console


def percent(share: float) -> str:
    """`15%`, `14.98%`: two digits behind the point at most."""
    return f"{100 * share:.2f}".rstrip("0").rstrip(".") + "%"


def of_whole(name: str, share: Share, note: str = "") -> Line:
    """A share with its counts."""
    counts = f"{share.count:,} of {share.whole:,}"
    return Line(name, percent(share.share), f"{counts}{'; ' if note else ''}{note}")


def measured(name: str, share: Share) -> Line:
    """A share beside what is asked for, with as many digits as the interval is narrow."""
    if share.expected is None or not share.whole:
        return of_whole(name, share)
    low, high = share.interval
    digits = max(2, math.ceil(-math.log10(50 * (high - low))))
    interval = f"{100 * low:.{digits}f}% to {100 * high:.{digits}f}%"
    note = f"asked for {percent(share.expected)}, 95% interval {interval}: {share.verdict}"
    line = of_whole(name, share, note)
    return line._replace(value=f"{100 * share.share:.{digits}f}%", wrong=share.verdict == "does not fit")


def must_be_zero(name: str, count: int) -> Line:
    """What no right data have."""
    return Line(name, f"{count:,}", "must be 0", wrong=count > 0)


# ---------------------------------------------------------------- sections
def sections(statistics: EpochStatistics) -> list[Section]:
    """Everything counted, in the order in which it is read."""
    plan, rows = statistics.plan, statistics.rows
    counts = tuple(Line(name.replace("_", " "), f"{n:,}") for name, n in plan.counts.items())
    where = "of the tokens that may be selected there; it should be level"
    pairs = [Section("NSP", _pairs(plan))] if plan.random_pairs is not None else []
    return [
        Section("inputs", _inputs(plan, rows)),
        Section("lengths of inputs, in tokens", bars=plan.histogram),
        Section("documents in an input", _documents(plan)),
        *pairs,
        Section("masking", _masking(rows), note=KEPT),
        Section("selected by position in the input", bars=rows.by_position, of="position", note=where, page_only=True),
        Section("batches", _batches(statistics.batches)),
        Section("the plan of the whole corpus", counts),
    ]


def _inputs(plan: PlanStatistics, rows: RowStatistics) -> tuple[Line, ...]:
    part = "" if plan.num_examples == plan.num_planned else f"the first of {plan.num_planned:,} (inspect.max_examples)"
    return (
        Line("inputs", f"{plan.num_examples:,}", part),
        Line("tokens", f"{plan.tokens:,}", f"{plan.tokens / plan.num_examples:.1f} an input"),
        Line("text tokens", f"{plan.text_tokens:,}", f"{plan.text_tokens / plan.num_examples:.1f} an input"),
        Line("lengths", f"{plan.shortest:,} to {plan.longest:,}", f"median {plan.median:,g}"),
        of_whole("of full length", plan.full),
        must_be_zero("longer than max_length", plan.too_long),
        Line("repeated inputs", f"{rows.duplicates:,}", "token for token like an earlier one"),
        of_whole("of the corpus's tokens", plan.covered, "in an input at least once"),
        of_whole("of the vocabulary", rows.pieces, "occur in the text"),
        Line("unknown tokens", f"{rows.unknown:,}", "in the text"),
    )


def _documents(plan: PlanStatistics) -> tuple[Line, ...]:
    shown = list(plan.documents.items())
    lines = [
        of_whole(f"{n:,} document{'s' if n > 1 else ''}", Share(inputs, plan.num_examples))
        for n, inputs in shown[:MOST_KINDS_OF_DOCUMENTS]
    ]
    if rest := shown[MOST_KINDS_OF_DOCUMENTS:]:
        inputs = sum(number for _, number in rest)
        lines.append(of_whole(f"{rest[0][0]:,} documents or more", Share(inputs, plan.num_examples)))
    return (*lines, Line("documents crossed", f"{plan.crossings:,}", "borders of documents inside inputs"))


def _pairs(plan: PlanStatistics) -> tuple[Line, ...]:
    assert plan.random_pairs is not None
    random = plan.random_pairs
    coin = "a coin, and always where A takes the last sentence: half or more"
    return (
        of_whole("B is next", Share(random.whole - random.count, random.whole)),
        of_whole("B is random", random, coin),
        must_be_zero("wrong labels", plan.mislabelled),
    )


def _masking(rows: RowStatistics) -> tuple[Line, ...]:
    selected = measured("selected", rows.selected)
    if rows.selected.expected is None:
        selected = of_whole("selected", rows.selected, "whole words, which must fit into masking.mask_prob")
    ends = [bin_.share.share for bin_ in rows.by_position if bin_.share.whole]
    level = Line("by position", f"{percent(min(ends))} to {percent(max(ends))}", f"in {len(ends)} parts of the input")
    specials = [] if "specials selected" in rows.faults else [of_whole("of specials", rows.specials_selected)]
    kinds = [measured(f"of these {name}", share) for name, share in rows.kinds.items()]
    faults = [must_be_zero(name, count) for name, count in rows.faults.items()]
    return (selected, *specials, level, *kinds, *faults)


def _batches(batches: BatchStatistics) -> tuple[Line, ...]:
    epoch = math.ceil(batches.steps_per_epoch)
    part = "the first epoch" if batches.num_steps == epoch else f"the first {batches.num_steps:,} of {epoch:,} steps"
    return (
        Line("steps an epoch", f"{batches.steps_per_epoch:,.1f}"),
        Line("epochs of the run", f"{batches.run[1]:,.1f}", f"{batches.run[0]:,} steps"),
        Line("inputs a step", *_range(batches.inputs)),
        Line("tokens a step", *_range(batches.tokens)),
        of_whole("padding", batches.padding, f"cut as training cuts {part}"),
    )


def _range(numbers: tuple[int, float, int]) -> tuple[str, str]:
    low, mean, high = numbers
    return (f"{low:,}", "") if low == high else (f"{low:,} to {high:,}", f"mean {mean:,.1f}")


# ---------------------------------------------------------------- the console
def text(statistics: EpochStatistics) -> str:
    """All sections but the longest, in aligned columns."""
    blocks = [f"statistics of epoch {statistics.epoch}"]
    for section in sections(statistics):
        if not section.page_only:
            note = f" ({section.note})" if section.note else ""
            blocks.append("\n".join([f"{section.title}{note}", *lines_text(section.lines), *_bars_text(section.bars)]))
    return "\n\n".join(blocks)


def lines_text(lines: Sequence[Line]) -> list[str]:
    """Names to the left, values to the right, notes behind them."""
    names, values = (max((len(line[i]) for line in lines), default=0) for i in (0, 1))
    return [
        f"  {line.name:<{names}}  {line.value:>{values}}  {'WRONG: ' if line.wrong else ''}{line.note}".rstrip()
        for line in lines
    ]


def _bars_text(bars: Sequence[Bin]) -> list[str]:
    counts = [f"{bin_.share.count:,}" for bin_ in bars]
    spans = [span(bin_) for bin_ in bars]
    return [
        f"  {name:>{max(map(len, spans))}}  {count:>{max(map(len, counts))}}  {'█' * round(BAR * size)}".rstrip()
        for name, count, size in zip(spans, counts, sizes(bars), strict=True)
    ]


def span(bin_: Bin) -> str:
    """`5 to 8`."""
    return f"{bin_.first:,} to {bin_.last:,}" if bin_.last > bin_.first else f"{bin_.first:,}"


def sizes(bars: Sequence[Bin]) -> list[float]:
    """Of each bar beside the longest, 0 to 1."""
    largest = max((bin_.share.share for bin_ in bars), default=0.0)
    return [bin_.share.share / largest if largest else 0.0 for bin_ in bars]


def manifest_lines(manifest: Any) -> tuple[Line, ...]:
    """The counts of a prepared folder's manifest, whatever they are called; counts of counts with both names."""
    counts = manifest.get("counts") if isinstance(manifest, dict) else None
    return tuple(_flattened("", counts)) if isinstance(counts, dict) else ()


def _flattened(prefix: str, counts: dict[str, Any]) -> Iterator[Line]:
    for name, value in counts.items():
        if isinstance(value, dict):
            yield from _flattened(f"{prefix}{name}: ", value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield Line(f"{prefix}{name}", f"{value:,}")


# ---------------------------------------------------------------- the page
@dataclass(frozen=True)
class Page:
    """What `index.html` shows."""

    title: str
    run_id: str
    settings: dict[str, str]
    manifests: dict[str, tuple[Line, ...]]  # corpus, tokenizer, tokens
    statistics: EpochStatistics
    frequent: tuple[tuple[str, int], ...]  # the most frequent tokens, spelled
    examples: list[Decoded]


def settings(config: Config) -> dict[str, str]:
    """What of the config decides about inputs, in its own words."""
    masking, batch = dataclasses.asdict(config.masking), config.batch_size
    name = masking.pop("name")
    if name != "static":
        del masking["num_patterns"]
    published = f"published, {config.tokenizer.path}"
    vocabulary = published if config.tokenizer.path else f"vocab_size={config.tokenizer.vocab_size:,}"
    return {
        "input_format": f"{config.input_format.name}, max_length={config.input_format.max_length}",
        "masking": ", ".join([name, *(f"{key}={str(value).lower()}" for key, value in masking.items())]),
        "nsp": f"{config.nsp.mode}, which is {'on' if nsp_is_on(config) else 'off'} here",
        "batch_size": f"sequences={batch.sequences}, steps={batch.steps:,}",
        "micro-batch": f"{micro_batch_size(batch.sequences, config.trainer)} sequences",
        "tokenizer": f"{config.tokenizer.kind}, {vocabulary}",
        "data_mix": f"{' + '.join(config.data_mix.sources)}, train_tokens={config.data_mix.train_tokens or 'all'}",
        "seed": str(config.seed),
        "scale": config.scale.name,
    }


def html(page: Page) -> str:
    """One file: no script, nothing remote, which its content security policy says aloud; every text in it is escaped."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    environment.globals |= {"percent": percent, "span": span, "sizes": sizes, "kinds": list(STYLES)}
    return environment.get_template("statistics.html.j2").render(page=page, sections=sections(page.statistics))
