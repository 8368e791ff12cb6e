"""Draw vectors of texts: a map in the plane of their two main components, and the matrix of their cosines beside it.

Few texts are named by their words, many by their numbers where there is room for them; in SVG each mark has its text under
the pointer. Equal vectors give equal bytes.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from roberta_lab.data.storage import digest
from roberta_lab.model.predictor import cosine_similarities
from roberta_lab.reports.figures.drawing import COLOURS, plain
from roberta_lab.reports.figures.figure import xml_text
from roberta_lab.reports.figures.inline_svg import LINK, SVG

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEW = 12  # so many texts are named by their words
WORDS = 28  # characters of a text in a name
MOST_TICKS = 15  # of the matrix
MOST_TEXTS = 2000  # beyond that a matrix is a grey sheet
MARKS = "texts"  # the id of the group of marks, one for each text
SIZE = 8.0  # points of a name
SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1))  # of a mark, where its name may stand: right, left, above, below


def plane(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of N vectors (N, H) along their two main components (PCA), float (N, 2), and the components' shares of
    the variance, 0 to 1, float (2,). The sign of a component is that which makes its largest place positive.
    """
    centred = vectors.astype(np.float64) - vectors.astype(np.float64).mean(0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    places = np.zeros((len(vectors), 2))
    known = min(2, len(sizes))
    places[:, :known] = left[:, :known] * sizes[:known]
    places *= np.where(np.take_along_axis(places, np.abs(places).argmax(0)[None], 0)[0] < 0, -1.0, 1.0)
    shares = np.zeros(2)
    shares[:known] = (sizes**2 / max((sizes**2).sum(), np.finfo(float).tiny))[:known]
    return places, shares


def picture(vectors: np.ndarray, texts: Sequence[str], kind: str) -> bytes:
    """Return both panels as an `svg` or a `png`; texts are numbered from 1."""
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    salt = digest({"texts": [*texts], "vectors": vectors.astype(np.float32).tobytes().hex()})
    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        "font.family": "sans-serif",
        "font.size": 9,
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # the reader's fonts draw it
        canvas = Canvas(figsize=(12, 5.6), layout="constrained")
        left, right = canvas.subplots(1, 2)
        _map(left, vectors, texts)
        _matrix(right, vectors, texts)
        written = io.BytesIO()
        metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
        canvas.draw_without_rendering()  # places are known from here on
        _name(left, *plane(vectors)[:1], texts)
        canvas.savefig(written, format=kind, metadata=metadata, dpi=160)
    return _with_texts(written.getvalue(), texts) if kind == "svg" else written.getvalue()


def _named(number: int, text: str) -> str:
    short = text if len(text) <= WORDS else text[: WORDS - 1] + "…"
    return plain(f"{number} {short}")


def _map(axes: Axes, vectors: np.ndarray, texts: Sequence[str]) -> None:
    places, shares = plane(vectors)
    axes.scatter(places[:, 0], places[:, 1], s=26 if len(texts) <= FEW else 12, color=COLOURS[0], gid=MARKS)
    axes.margins(0.12)
    names = (f"{which} component, {100 * share:.0f}% of the variance" for which, share in zip(("first", "second"), shares, strict=True))  # fmt: skip
    axes.set(title="Texts in the plane of their main components", **dict(zip(("xlabel", "ylabel"), names, strict=True)))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.2)
    axes.set_axisbelow(True)


def _name(axes: Axes, places: np.ndarray, texts: Sequence[str]) -> None:
    """Write names beside their marks where they cover no mark and no other name, and end inside the panel; else the number alone, else none."""
    scale = axes.get_figure(root=True).dpi / 72  # type: ignore[union-attr]
    inside, drawn, mark = axes.get_window_extent(), axes.transData.transform(places), 2.5 * scale
    taken = [(x - mark, y - mark, x + mark, y + mark) for x, y in drawn]
    for number, (place, (x, y)) in enumerate(zip(places, drawn, strict=True), 1):
        words = [_named(number, texts[number - 1])] if len(texts) <= FEW else []
        for name, (across, up) in [(name, side) for name in (*words, str(number)) for side in SIDES]:
            width, height, gap = 0.62 * SIZE * len(name) * scale, 1.25 * SIZE * scale, 5 * scale
            left = x + across * gap + (across - 1) * width / 2
            bottom = y + up * gap + (up - 1) * height / 2
            if up:  # a name above or below may stand a little to one side
                left = min(max(left, inside.x0), inside.x1 - width)
            box = (left, bottom, left + width, bottom + height)
            if box[0] < inside.x0 or box[2] > inside.x1 or any(_overlap(box, other) for other in taken):
                continue
            taken.append(box)
            end, anchor = (left + width, "right") if across < 0 else (left, "left")
            offset = ((end - x) / scale, (bottom + height / 2 - y) / scale)
            axes.annotate(name, tuple(place), offset, textcoords="offset points", fontsize=SIZE, ha=anchor, va="center")
            break


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _matrix(axes: Axes, vectors: np.ndarray, texts: Sequence[str]) -> None:
    cosines, number = cosine_similarities(vectors, vectors), len(texts)
    others = cosines[~np.eye(number, dtype=bool)]
    low = float(others.min())
    image = axes.imshow(
        cosines, cmap="cividis", interpolation="none", vmin=low, vmax=max(float(others.max()), low + 1e-6)
    )
    bar = axes.get_figure(root=True).colorbar(image, ax=axes, shrink=0.8, extend="max")  # type: ignore[union-attr]
    bar.set_label("cosine; the scale begins at the lowest one of two texts")
    axes.set_title("Similarity of each two texts")
    if number <= FEW:
        axes.set_xticks(range(number), [str(n) for n in range(1, number + 1)])
        axes.set_yticks(range(number), [_named(n, text) for n, text in enumerate(texts, 1)], fontsize=SIZE)
        middle = (image.norm.vmin + image.norm.vmax) / 2  # type: ignore[operator]
        for row, column in np.ndindex(number, number):
            colour = "black" if cosines[row, column] > middle else "white"
            axes.text(column, row, f"{cosines[row, column]:.2f}", ha="center", va="center", color=colour, fontsize=SIZE)
        return
    step = next(s for s in (5, 10, 20, 25, 50, 100, 200, 500) if number / s <= MOST_TICKS)
    ticks = [0, *range(step - 1, number, step)]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ticks, [str(tick + 1) for tick in ticks])
    axes.set(xlabel="number of the text", ylabel="number of the text")


def _with_texts(svg: bytes, texts: Sequence[str]) -> bytes:
    """Return the picture with the number and the text of each mark of the map as its title."""
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", LINK)
    root = ElementTree.fromstring(svg[svg.index(b"<svg") :])
    [group] = [element for element in root.iter(f"{{{SVG}}}g") if element.get("id") == MARKS]
    marks = list(group.iter(f"{{{SVG}}}use"))
    for number, (mark, text) in enumerate(zip(marks, texts, strict=True), 1):
        title = ElementTree.SubElement(mark, f"{{{SVG}}}title")
        title.text = xml_text(f"{number} {text}")
    return ElementTree.tostring(root, "utf-8", xml_declaration=True)
