"""Each schedule by hand: warmup, the way down, the end."""

import math

import pytest

from roberta_lab.model.schedule import SCHEDULES, factor


def factors(name: str) -> list[float]:
    return [factor(name, step, 2, 6) for step in range(8)]


def test_linear_rises_to_one_and_falls_to_zero() -> None:
    assert factors("linear") == pytest.approx([0.5, 1, 1, 0.75, 0.5, 0.25, 0, 0])


def test_cosine_falls_along_half_a_cosine() -> None:
    half = math.sqrt(0.5) / 2
    assert factors("cosine") == pytest.approx([0.5, 1, 1, 0.5 + half, 0.5, 0.5 - half, 0, 0])


def test_constant_stays_at_the_peak() -> None:
    assert factors("constant") == [0.5, 1, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_begins_at_the_peak_and_never_rises_again(name: str) -> None:
    found = [factor(name, step, 10, 100) for step in range(101)]
    assert found[9] == found[10] == 1.0 and found == sorted(found[:10]) + sorted(found[10:], reverse=True)
    assert all(0 <= value <= 1 for value in found)
    assert factor(name, 0, 0, 1) == 1.0  # one step, no warmup
