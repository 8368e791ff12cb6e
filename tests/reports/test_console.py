"""Columns on the console: aligned, never cut, and literal, whatever the cells say."""

from roberta_lab.reports.console import aligned


def test_columns_are_aligned_to_their_sides() -> None:
    rows = [["row", "n"], ["static", "5"], ["a", "1,000"]]
    assert aligned(rows, "lr", head=True) == ["row         n", "static      5", "a       1,000"]
    assert aligned(rows[1:], "rl") == ["static  5", "     a  1,000"] and aligned([], "lr") == []


def test_long_and_odd_cells_stay_as_they_are() -> None:
    long, markup = "x" * 500, "[bold]b[/bold] :smile: \\["
    assert aligned([[long, markup]], "ll") == [f"{long}  {markup}"]
    wide, narrow = aligned([["日本", "1"], ["abcd", "2"]], "ll")
    assert wide == "日本  1" and narrow == "abcd  2", "a wide letter takes two places"
