"""What a table says of a claim: it holds here, is contradicted here, is undecided, or cannot be tested here; and in words."""

import math
from dataclasses import dataclass
from enum import StrEnum

from roberta_lab.config import ClaimConfig
from roberta_lab.config.formatting import counted, number, signed
from roberta_lab.reports.statistics.claims import Evidence
from roberta_lab.reports.statistics.paired import Paired

WORDS = {"better": "better than", "no_worse": "no worse than", "same": "the same as"}


class Outcome(StrEnum):
    """What a table says of a claim."""

    HOLDS = "holds here"
    CONTRADICTED = "contradicted here"
    UNDECIDED = "undecided"
    NOT_TESTABLE = "not testable at this scale"


@dataclass(frozen=True)
class Verdict:
    """What a table says of a claim in one column; differences are those of the claim's row from the other, more being better."""

    claim: ClaimConfig
    column: str  # as the claim names it
    outcome: Outcome
    why: str = ""  # of what is undecided or not testable, or holds by less than the margin
    margin: float = 0.0
    digits: int = 1
    stand_in: str | None = None  # the task that was scored in place of the column's
    is_asked: bool = True  # runs of both rows are asked for, in this column
    seen: Paired | None = None
    asked: int = 0  # seeds that both rows are to have
    same_weights: bool = False  # its pairs are seeds of finetuning from the same weights
    found: Evidence | None = None  # adjusted for the number of claims that are tested (Holm 1979)
    seeds: int | None = None  # about how many would decide, where that is known

    @property
    def is_open(self) -> bool:
        """Return whether more seeds of the runs that are asked for could decide it, or have."""
        return self.is_asked and self.outcome is not Outcome.NOT_TESTABLE

    @property
    def words(self) -> str:
        """Return the claim: `dynamic no worse than static on mnli (margin 0.5)`."""
        claim, column = self.claim, self.column.replace("_", " ")
        return f"{claim.row} {WORDS[claim.direction]} {claim.over} on {column} (margin {self.margin:g})"

    @property
    def text(self) -> str:
        """Return the verdict in one line."""
        said = [f"{self.outcome}: {self.words}"]
        if self.stand_in:
            said.append(f"scored on {self.stand_in}, which stands in")
        if self.seen is not None:
            said.append(self.estimate)
        return "; ".join([*said, *([self.why] if self.why else [])])

    @property
    def estimate(self) -> str:
        """Return what was seen: `better by 0.4 (95%: -0.2 to 1.0), 5 seeds`; `3 of 5 seeds so far` where some are missing."""
        seen = self.seen
        assert seen is not None
        size, none = number(abs(seen.mean), self.digits), number(0.0, self.digits)
        by = "equal" if size == none else f"{'worse' if seen.mean < 0 else 'better'} by {size}"
        ends = (
            ""
            if math.isnan(seen.low)
            else f" (95%: {signed(seen.low, self.digits)} to {signed(seen.high, self.digits)})"
        )
        of = " of finetuning, of the same weights" if self.same_weights else ""
        seeds = f"{seen.n} of {counted(self.asked, 'seed')} so far" if seen.n < self.asked else counted(seen.n, "seed")
        return f"{by}{ends}, {seeds}{of}"
