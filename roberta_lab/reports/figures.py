"""Figures as inline SVG, drawn by matplotlib: text as text, the same bytes for the same numbers, readable in dark mode."""

from __future__ import annotations

import hashlib
import io
import math
import re
import warnings

Points = list[tuple[float, float]]

# Okabe and Ito's colours, told apart by the colour-blind; each with a line style of its own.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
STYLES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))  # 5 beside 6: thirty lines before a pair repeats


def curves(
    series: dict[str, Points],
    title: str,
    x_label: str,
    y_label: str,
    reference: tuple[str, float] | None = None,
    log_y: bool = False,
) -> str:
    """One line per name, and a dotted level for reference. Returns `<svg>` for a page; axes and text take the page's colour.

    Points that the axis can't hold (not finite; not positive, if it is logarithmic) are left out.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    salt = hashlib.sha256(repr((series, title, x_label, y_label, reference, log_y)).encode()).hexdigest()[:8]
    settings = {"svg.fonttype": "none", "svg.hashsalt": salt, "font.family": "sans-serif", "font.size": 10}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(6.4, 3.4), layout="constrained")
        axes = figure.add_subplot()
        for number, (name, points) in enumerate(series.items()):
            shown = [p for p in points if _holds(p[0]) and _holds(p[1], log_y)]
            x, y = zip(*shown, strict=True) if shown else ((), ())
            style = {"color": COLOURS[number % len(COLOURS)], "linestyle": STYLES[number % len(STYLES)]}
            axes.plot(x, y, marker="o", markersize=3, label=_plain(name), **style)
        if reference is not None and _holds(reference[1], log_y):
            axes.axhline(reference[1], color="black", linewidth=1, linestyle=(0, (1, 3)), label=_plain(reference[0]))
        axes.set(xlabel=_plain(x_label), ylabel=_plain(y_label), yscale="log" if log_y else "linear")
        axes.xaxis.set_major_formatter(EngFormatter())
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False)
        written = io.StringIO()
        with warnings.catch_warnings():  # text stays text: the reader's fonts draw it, not matplotlib's
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _for_a_page(written.getvalue(), title, salt)


def _holds(value: float, log: bool = False) -> bool:
    return math.isfinite(value) and (value > 0 or not log)


def _plain(text: str) -> str:
    """No formulas, no characters that XML forbids; and no leading underscore, which hides a line from the legend."""
    text = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", "\N{REPLACEMENT CHARACTER}", text)
    text = "\N{WORD JOINER}" + text if text.startswith("_") else text
    return text.replace("$", r"\$")


def _for_a_page(svg: str, title: str, salt: str) -> str:
    """Without prologue and metadata; black is the page's colour; ids are the figure's own; a title for screen readers."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"(fill|stroke): ?#000000", r"\1: currentColor", svg)
    svg = re.sub(r'id="([^"]+)"', rf'id="f{salt}-\1"', svg)
    svg = re.sub(r'(href="|url\()#', rf"\1#f{salt}-", svg)
    escaped = _plain(title).replace(r"\$", "$").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    svg = re.sub(r'width="[^"]+pt" height="[^"]+pt"', 'role="img"', svg, count=1)
    return svg.replace(">", f"><title>{escaped}</title><style>text {{ fill: currentColor }}</style>", 1)
