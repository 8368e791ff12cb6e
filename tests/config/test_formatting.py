"""Numbers, shares and times as people read them."""

import math

import pytest

from roberta_lab.config.formatting import DASH, compact, counted, duration, elapsed, number, percent, short, signed


def test_numbers_have_commas_and_a_dash_stands_for_none() -> None:
    assert [number(1234.56), number(0.5, 3), number(None), number(math.nan)] == ["1,234.6", "0.500", DASH, "nan"]
    assert [compact(n) for n in (5, 0.12345, 1990200.0, 999.96)] == ["5", "0.1235", "1,990,200", "1,000"]
    assert [counted(n, "run") for n in (0, 1, 1200)] == ["0 runs", "1 run", "1,200 runs"]


def test_differences_have_a_sign_unless_they_round_to_zero() -> None:
    assert [signed(1234.56), signed(-0.04), signed(-0.001, 3)] == ["+1,234.6", "0.0", "\N{MINUS SIGN}0.001"]


def test_shares_have_two_digits_at_most() -> None:
    assert [percent(share) for share in (0.15, 0.14984, 0.0, 1.0)] == ["15%", "14.98%", "0%", "100%"]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "0"),
        (0.0004, "<0.001"),
        (0.0321, "0.0321"),
        (999, "999"),
        (999_900, "1M"),
        (131.07e9, "131G"),
        (2.1e12, "2.1T"),
    ],
)
def test_numbers_have_three_digits(number: float, said: str) -> None:
    assert short(number) == said


def test_durations() -> None:
    assert [duration(h) for h in (0, 0.001, 0.5, 3, 60)] == [
        "nothing",
        "1 minute",
        "30 minutes",
        "3.0 hours",
        "2.5 days",
    ]


def test_exact_times() -> None:
    assert [elapsed(s) for s in (45, 200, 5 * 3600 + 12 * 60)] == ["45 s", "3 min 20 s", "5 h 12 min"]
