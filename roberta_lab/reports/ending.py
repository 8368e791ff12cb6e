"""The last three lines of a command that ends in tables: what was found, where it is, what to type next."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from roberta_lab.config.formatting import counted
from roberta_lab.reports.page.claims import CLAIMS, counted_outcomes


def ending(found: str, where: Iterable[Path], following: str) -> list[str]:
    """Return the three lines."""
    return [f"found: {found}", f"where: {', '.join(map(str, where))}", f"next: {following}"]


def end_of_several(tables: Sequence[Mapping[str, Any]], missing: int, landing: Path, following: str) -> list[str]:
    """Return the three lines for several tables, given as they stand in their `table.json`: how their claims came out.

    `missing` runs are counted once, whichever tables show them.
    """
    counts = counted_outcomes(claim for table in tables for claim in table["claims"])
    said = f"{len(tables)} tables; claims: {counts}" + (f"; {counted(missing, 'run')} missing" if missing else "")
    return ending(said, [landing, landing.with_name(CLAIMS)], following)
