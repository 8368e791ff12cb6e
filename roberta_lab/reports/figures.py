"""Figures as inline SVG, drawn by matplotlib: text as text, the same bytes for the same numbers, readable in dark mode."""

from __future__ import annotations

import hashlib
import io
import re

Points = list[tuple[float, float]]

# Okabe and Ito's colours, told apart by the colour-blind; each with a line style of its own.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
STYLES = ("-", "--", "-.", ":", "-", "--")


def curves(
    series: dict[str, Points], title: str, x_label: str, y_label: str, reference: tuple[str, float] | None = None
) -> str:
    """One line per name, and a dotted level for reference. Returns `<svg>` for a page; axes and text take the page's colour."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    salt = hashlib.sha256(repr((series, title, reference)).encode()).hexdigest()[:8]
    settings = {"svg.fonttype": "none", "svg.hashsalt": salt, "font.family": "sans-serif", "font.size": 10}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(6.4, 3.4), layout="constrained")
        axes = figure.add_subplot()
        for number, (name, points) in enumerate(series.items()):
            x, y = zip(*points, strict=True) if points else ((), ())
            style = {"color": COLOURS[number % len(COLOURS)], "linestyle": STYLES[number % len(STYLES)]}
            axes.plot(x, y, marker="o", markersize=3, label=_plain(name), **style)
        if reference is not None:
            axes.axhline(reference[1], color="black", linewidth=1, linestyle=(0, (1, 3)), label=_plain(reference[0]))
        axes.set(xlabel=_plain(x_label), ylabel=_plain(y_label))
        axes.xaxis.set_major_formatter(EngFormatter())
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        if series or reference is not None:
            axes.legend(frameon=False)
        written = io.StringIO()
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _for_a_page(written.getvalue(), title, salt)


def _plain(text: str) -> str:
    return text.replace("$", r"\$")  # no formulas in names


def _for_a_page(svg: str, title: str, salt: str) -> str:
    """Without prologue and metadata; black is the page's colour; ids are the figure's own; a title for screen readers."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"(fill|stroke): ?#000000", r"\1: currentColor", svg)
    svg = re.sub(r'id="([^"]+)"', rf'id="f{salt}-\1"', svg)
    svg = re.sub(r'(href="|url\()#', rf"\1#f{salt}-", svg)
    escaped = title.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    svg = re.sub(r'width="[^"]+pt" height="[^"]+pt"', 'role="img"', svg, count=1)
    return svg.replace(">", f"><title>{escaped}</title><style>text {{ fill: currentColor }}</style>", 1)
