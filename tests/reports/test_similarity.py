"""The figure of vectors: places against eigenvectors, names that cover nothing, every text under the pointer."""

import base64
import re
import struct
from xml.etree import ElementTree

import numpy as np
import pytest

from roberta_lab.reports.figures.similarity import FEW, MARKS, MOST_TICKS, picture, plane

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</title><script>x</script> $a$ & \x0b"


def drawn(number: int) -> tuple[np.ndarray, list[str]]:
    draw = np.random.default_rng(number)
    centres = draw.normal(size=(5, 32))
    vectors = centres[draw.integers(0, 5, number)] + 0.5 * draw.normal(size=(number, 32))
    return vectors.astype(np.float32), [f"{HOSTILE} text {n}" for n in range(1, number + 1)]


def test_places_are_the_projections_on_the_first_two_eigenvectors_of_the_covariance() -> None:
    vectors, _ = drawn(50)
    places, shares = plane(vectors)
    values, directions = np.linalg.eigh(np.cov(vectors.astype(np.float64).T))
    expected = (vectors - vectors.astype(np.float64).mean(0)) @ directions[:, ::-1][:, :2]
    np.testing.assert_allclose(np.abs(places), np.abs(expected), atol=1e-9)
    np.testing.assert_allclose(shares, values[::-1][:2] / values.sum())
    largest = np.abs(places).argmax(0)
    assert (places[largest, [0, 1]] > 0).all(), "the sign does not depend on the machine"


@pytest.mark.parametrize("number", [2, 3, FEW + 1, 300])
def test_every_mark_has_its_text_and_no_name_covers_another(number: int) -> None:
    vectors, texts = drawn(number)
    root = ElementTree.fromstring(picture(vectors, texts, "svg"))
    [group] = [element for element in root.iter(f"{SVG}g") if element.get("id") == MARKS]
    marks = list(group.iter(f"{SVG}use"))
    titles = [mark.findtext(f"{SVG}title") for mark in marks]
    assert titles == [f"{n} {text}".replace("\x0b", "\N{REPLACEMENT CHARACTER}") for n, text in enumerate(texts, 1)]
    axes = next(element for element in root.iter(f"{SVG}g") if element.get("id") == "axes_1")
    names = [t for t in axes.iter(f"{SVG}text") if re.match(r"\d+( |$)", t.text or "") and re.search("8px", t.get("style", ""))]  # fmt: skip
    assert len(names) == number if number <= 3 else 10 <= len(names) <= (number if number < 20 else number / 2)
    if number <= 3:
        assert all("<script>" in (name.text or "") for name in names), "few have words"
    boxes = []
    for name in names:
        x, y, width = float(name.get("x", 0)), float(name.get("y", 0)), 0.55 * 8 * len(name.text or "")
        anchor = name.get("style", "").partition("text-anchor: ")[2]
        left = x - {"end": width, "middle": width / 2}.get(anchor, 0.0)
        boxes.append((left, y - 7, left + width, y))
    overlaps = [1 for i, a in enumerate(boxes) for b in boxes[:i] if a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]]  # fmt: skip
    assert not overlaps
    places = [(float(mark.get("x", 0)), float(mark.get("y", 0))) for mark in marks]
    assert not [1 for x, y in places for a in boxes if a[0] < x < a[2] and a[1] < y < a[3]], "no mark is hidden"
    assert not list(root.iter(f"{SVG}script"))


def test_the_matrix_has_a_cell_for_each_two_texts_and_few_ticks() -> None:
    vectors, texts = drawn(300)
    root = ElementTree.fromstring(picture(vectors, texts, "svg"))
    matrix = next(element for element in root.iter(f"{SVG}g") if element.get("id") == "axes_2")
    image = next(matrix.iter(f"{SVG}image"))
    data = base64.b64decode(next(v for k, v in image.attrib.items() if k.endswith("href")).partition(",")[2])
    assert struct.unpack(">II", data[16:24]) == (300, 300), "a pixel for each pair, nothing smoothed"
    ticks = [element for element in matrix.iter(f"{SVG}g") if re.match(r"[xy]tick_", element.get("id", ""))]
    assert 8 <= len(ticks) <= 2 * (MOST_TICKS + 1)


def test_equal_vectors_give_equal_bytes_and_odd_ones_a_figure() -> None:
    vectors, texts = drawn(3)
    assert picture(vectors, texts, "svg") == picture(vectors, texts, "svg")
    assert picture(vectors, texts, "png").startswith(b"\x89PNG")
    for odd in (np.zeros((3, 4), np.float32), np.ones((2, 1), np.float32)):
        assert ElementTree.fromstring(picture(odd, texts[: len(odd)], "svg")) is not None
