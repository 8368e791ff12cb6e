"""The statistics of an epoch for people: the same lines as text for the console and as an HTML page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from roberta_lab.axes.batch_size import micro_batch_size
from roberta_lab.axes.nsp import nsp_is_on
from roberta_lab.axes.pairs import PAIRINGS
from roberta_lab.config import Config
from roberta_lab.config.formatting import counted, percent
from roberta_lab.data.corpus.parts import Manifest
from roberta_lab.data.inspection.decoded import STYLES, Decoded
from roberta_lab.data.inspection.shares import Bin, Share
from roberta_lab.data.inspection.statistics import BatchStatistics, EpochStatistics, PlanStatistics, RowStatistics
from roberta_lab.reports.console import aligned
from roberta_lab.reports.page.table_page import jinja_environment
from roberta_lab.runs.identity import mask_settings

BAR = 32  # characters
MOST_KINDS_OF_DOCUMENTS = 6
KEPT = "kept: the token itself, also where it was drawn at random; 95 of 100 right epochs fall in the interval"


class Line(NamedTuple):
    """A number with its name and what to compare it with."""

    name: str
    value: str
    note: str = ""
    wrong: bool = False  # it cannot be right


@dataclass(frozen=True)
class Section:
    """Lines under a title, or bars."""

    title: str
    lines: tuple[Line, ...] = ()
    bars: tuple[Bin, ...] = ()
    of: str = "length"  # what the bars stand beside
    note: str = ""
    page_only: bool = False  # too long for a console


def share_line(name: str, share: Share, note: str = "") -> Line:
    """Return a share with its counts."""
    counts = f"{share.count:,} of {share.whole:,}"
    return Line(name, percent(share.share), f"{counts}{'; ' if note else ''}{note}")


def compared_line(name: str, share: Share) -> Line:
    """Return a share beside what is asked for, with as many digits as the interval is narrow."""
    if share.expected is None or not share.whole:
        return share_line(name, share)
    low, high = share.interval
    digits = max(2, math.ceil(-math.log10(50 * (high - low))))
    interval = f"{100 * low:.{digits}f}% to {100 * high:.{digits}f}%"
    note = f"asked for {percent(share.expected)}, 95% interval {interval}: {share.verdict}"
    line = share_line(name, share, note)
    return line._replace(value=f"{100 * share.share:.{digits}f}%", wrong=share.verdict == "does not fit")


def zero_line(name: str, count: int) -> Line:
    """Return a count that is 0 in correct data."""
    return Line(name, f"{count:,}", "must be 0", wrong=count > 0)


# ---------------------------------------------------------------- sections
def sections(statistics: EpochStatistics) -> list[Section]:
    """Return everything that was counted, in the order in which it is read."""
    plan, rows = statistics.plan, statistics.rows
    counts = tuple(Line(name.replace("_", " "), f"{n:,}") for name, n in plan.counts.items())
    where = "of the tokens that may be selected there; it should be level"
    task = PAIRINGS[plan.pairs].task.upper()
    pairs = [Section(task, _pairs(plan, plan.random_pairs))] if plan.random_pairs is not None else []
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
        share_line("of full length", plan.full),
        zero_line("longer than max_length", plan.too_long),
        Line("repeated inputs", f"{rows.duplicates:,}", "token for token like an earlier one"),
        share_line("of the corpus's tokens", plan.covered, "in an input at least once"),
        share_line("of the vocabulary", rows.pieces, "occur in the text"),
        Line("unknown tokens", f"{rows.unknown:,}", "in the text"),
    )


def _documents(plan: PlanStatistics) -> tuple[Line, ...]:
    kinds = [(counted(n, "document"), inputs) for n, inputs in plan.documents.items()]
    if rest := list(plan.documents.items())[MOST_KINDS_OF_DOCUMENTS:]:
        kinds[MOST_KINDS_OF_DOCUMENTS:] = [(f"{rest[0][0]:,} documents or more", sum(inputs for _, inputs in rest))]
    lines = (share_line(name, Share(inputs, plan.num_examples)) for name, inputs in kinds)
    return (*lines, Line("documents crossed", f"{plan.crossings:,}", "borders of documents inside inputs"))


def _pairs(plan: PlanStatistics, second: Share) -> tuple[Line, ...]:
    coin = "a coin" + (", and always where A takes the last sentence: half or more" if plan.pairs == "random" else "")
    shares = Share(second.whole - second.count, second.whole), second
    lines = (share_line(*each) for each in zip(PAIRINGS[plan.pairs].labels, shares, ("", coin), strict=True))
    return (*lines, zero_line("wrong labels", plan.mislabelled))


def _masking(rows: RowStatistics) -> tuple[Line, ...]:
    selected = compared_line("selected", rows.selected)
    if rows.selected.expected is None:
        selected = share_line("selected", rows.selected, "at most masking.mask_prob, as only whole pieces are chosen")
    ends = [bin_.share.share for bin_ in rows.by_position if bin_.share.whole]
    level = Line("by position", f"{percent(min(ends))} to {percent(max(ends))}", f"in {len(ends)} parts of the input")
    specials = [] if "specials selected" in rows.faults else [share_line("of specials", rows.specials_selected)]
    kinds = [compared_line(f"of these {name}", share) for name, share in rows.kinds.items()]
    faults = [zero_line(name, count) for name, count in rows.faults.items()]
    return (selected, *specials, level, *kinds, *faults)


def _batches(batches: BatchStatistics) -> tuple[Line, ...]:
    epoch = math.ceil(batches.steps_per_epoch)
    part = "the first epoch" if batches.num_steps == epoch else f"the first {batches.num_steps:,} of {epoch:,} steps"
    return (
        Line("steps an epoch", f"{batches.steps_per_epoch:,.1f}"),
        Line("epochs of the run", f"{batches.run[1]:,.1f}", f"{batches.run[0]:,} steps"),
        Line("inputs a step", *_range(batches.inputs)),
        Line("tokens a step", *_range(batches.tokens)),
        share_line("padding saved", batches.padding, f"which training does not compute; cut as it cuts {part}"),
    )


def _range(numbers: tuple[int, float, int]) -> tuple[str, str]:
    low, mean, high = numbers
    return (f"{low:,}", "") if low == high else (f"{low:,} to {high:,}", f"mean {mean:,.1f}")


# ---------------------------------------------------------------- the console
def text(statistics: EpochStatistics) -> str:
    """Return all sections but the longest, in aligned columns."""
    blocks = [f"statistics of epoch {statistics.epoch}"]
    for section in sections(statistics):
        if not section.page_only:
            note = f" ({section.note})" if section.note else ""
            blocks.append("\n".join([f"{section.title}{note}", *lines_text(section.lines), *_bars_text(section.bars)]))
    return "\n\n".join(blocks)


def lines_text(lines: Sequence[Line]) -> list[str]:
    """Return the lines with names to the left, values to the right, and notes behind them."""
    cells = [(line.name, line.value, f"{'WRONG: ' if line.wrong else ''}{line.note}") for line in lines]
    return [f"  {row}" for row in aligned(cells, "lrl")]


def _bars_text(bars: Sequence[Bin]) -> list[str]:
    drawn = zip(bars, sizes(bars), strict=True)
    cells = [(span(bin_), f"{bin_.share.count:,}", "█" * round(BAR * size)) for bin_, size in drawn]
    return [f"  {row}" for row in aligned(cells, "rrl")]


def span(bin_: Bin) -> str:
    """Return the numbers of a bin: `5 to 8`."""
    return f"{bin_.first:,} to {bin_.last:,}" if bin_.last > bin_.first else f"{bin_.first:,}"


def sizes(bars: Sequence[Bin]) -> list[float]:
    """Return the length of each bar relative to the longest, 0 to 1."""
    largest = max((bin_.share.share for bin_ in bars), default=0.0)
    return [bin_.share.share / largest if largest else 0.0 for bin_ in bars]


def manifest_lines(manifest: Manifest) -> tuple[Line, ...]:
    """Return the counts of a prepared folder's manifest, whatever they are called."""
    return tuple(Line(name, f"{number:,}") for name, number in manifest["counts"].items())


# ---------------------------------------------------------------- the page
@dataclass(frozen=True)
class Page:
    """The content of `index.html`."""

    title: str
    run_id: str
    settings: dict[str, str]
    manifests: dict[str, tuple[Line, ...]]  # corpus, tokenizer, tokens
    statistics: EpochStatistics
    frequent: tuple[tuple[str, int], ...]  # the most frequent tokens, spelled
    examples: list[Decoded]


def settings(config: Config) -> dict[str, str]:
    """Return the settings that decide about inputs, in the config's own words."""
    masking, batch = mask_settings(config.masking), config.batch_size
    name = masking.pop("name")
    path, size = config.tokenizer.path, config.tokenizer.vocab_size
    vocabulary = f"published, {path}" if path else f"vocab_size={size:,}"
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
    """Return the page as one file without scripts or anything remote, as its content security policy states."""
    environment = jinja_environment()
    environment.globals |= {"percent": percent, "span": span, "sizes": sizes, "kinds": list(STYLES)}
    return environment.get_template("statistics.html.j2").render(page=page, sections=sections(page.statistics))
