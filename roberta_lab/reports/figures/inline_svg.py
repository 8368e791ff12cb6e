"""A figure as part of a page: SVG without style attributes, which the page's policy forbids, and with values for its script."""

import re
from dataclasses import dataclass
from xml.etree import ElementTree

from roberta_lab.config.formatting import compact
from roberta_lab.reports.figures.drawing import style, svg_for_page
from roberta_lab.reports.figures.figure import Figure, xml_text

SVG, LINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
Element = ElementTree.Element
SHAPES = {  # matplotlib's marks as paths
    "o": "M0 4a4 4 0 1 0 8 0a4 4 0 1 0-8 0",
    "s": "M0 0h8v8h-8z",
    "^": "M4 0L8 8H0z",
    "D": "M4 0L8 4L4 8L0 4z",
    "v": "M0 0H8L4 8z",
    "P": "M3 0h2v3h3v2h-3v3h-2v-3h-3v-2h3z",
    "X": "M0 2L2 0L4 2L6 0L8 2L6 4L8 6L6 8L4 6L2 8L0 6L2 4z",
}


@dataclass(frozen=True)
class Key:
    """A legend entry: which series it hides, and how that looks."""

    number: int
    name: str
    colour: str
    dashes: str | None
    mark: str | None  # a path in a box of 8 x 8; None where a line or a bar says enough


@dataclass(frozen=True)
class Inline:
    """A figure as a page has it."""

    figure: Figure
    svg: str
    legend: tuple[Key, ...]


def inline(figure: Figure) -> Inline:
    """Draw the figure: black becomes the page's colour, and ids are the figure's own."""
    ElementTree.register_namespace("", SVG)
    raw = svg_for_page(figure)
    root = ElementTree.fromstring(raw[raw.index("<svg") :])
    for parent in list(root.iter()):
        for child in [*parent.findall(f"{{{SVG}}}metadata"), *parent.findall(f"{{{SVG}}}style")]:
            parent.remove(child)
    _name_marks(root, figure)
    for element in root.iter():
        _attributes(element, figure.salt)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    lines = {"stroke-linejoin": "round", "stroke-linecap": "butt"}
    root.attrib |= {"role": "img", "aria-label": xml_text(figure.title), "tabindex": "0", **lines}
    title = Element(f"{{{SVG}}}title")
    title.text = xml_text(figure.title)
    root.insert(0, title)
    return Inline(figure, ElementTree.tostring(root, "unicode"), _legend(root, figure))


def _attributes(element: Element, salt: str) -> None:
    """Change `style` to presentation attributes, add the salt to ids and links to them, and make black currentColor."""
    for name, value in re.findall(r"([\w-]+): *([^;]+)", element.attrib.pop("style", "")):
        if name == "font":  # a shorthand has no attribute: `8px 'DejaVu Sans', sans-serif`
            element.set("font-size", size[1] if (size := re.search(r"([\d.]+)px", value)) else "10")
        else:
            element.set(name, value)
    if element.tag == f"{{{SVG}}}text":
        element.attrib.setdefault("fill", "currentColor")
        element.set("font-family", "system-ui, sans-serif")
    for name, value in list(element.attrib.items()):
        if name == f"{{{LINK}}}href":
            del element.attrib[name]
            element.set("href", value.replace("#", f"#f{salt}-", 1))
        elif name == "id":
            element.set("id", f"f{salt}-{value}")
        elif name in ("fill", "stroke") and value in ("#000000", "black"):
            element.set(name, "currentColor")
        elif "url(#" in value:
            element.set(name, value.replace("url(#", f"url(#f{salt}-"))


# ---------------------------------------------------------------- marks and their values
def _name_marks(root: Element, figure: Figure) -> None:
    """Give each mark of a series `data-series` and, where it stands for a value, `data-tip`."""
    for element in list(root.iter(f"{{{SVG}}}g")):
        match = re.fullmatch(r"series(\d+)(?:\.(\d+|ends))?", element.get("id", ""))
        if not match:
            continue
        del element.attrib["id"]  # an id once per page; bars of one series share theirs
        number = int(match.group(1))
        element.set("data-series", str(number))
        points, place = figure.shown[number], match.group(2)
        marks = list(element.iter(f"{{{SVG}}}use")) if place is None else [element]
        if place is not None:
            points = [] if place == "ends" else [points[int(place)]]
        if len(marks) == len(points):
            for mark, (x, y, note) in zip(marks, points, strict=True):  # static: 512.3, 1,990,200 tokens seen
                at = figure.categories[round(x)] if figure.categories else f"{compact(x, digits=6)} {figure.x_label}"
                mark.set("data-tip", xml_text(f"{figure.series[number].name}: {note or compact(y)}, {at}"))


def _legend(root: Element, figure: Figure) -> tuple[Key, ...]:
    if figure.kind in ("steps", "points"):
        return ()
    groups = [(group.get("data-series"), group.find(f"{{{SVG}}}path")) for group in root.iter(f"{{{SVG}}}g")]
    dashes = {name: line.get("stroke-dasharray") for name, line in groups if name and line is not None}
    keys = []
    for number, series in enumerate(figure.series):
        look = style(figure, number)
        colour = "currentColor" if look["color"] == "#000000" else look["color"]
        mark = None if figure.kind != "lines" or series.joined else SHAPES[look["marker"]]
        keys.append(Key(number, series.name, colour, dashes.get(str(number)), mark))
    return tuple(keys)
