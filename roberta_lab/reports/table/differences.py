"""The differences of a table's rows from its reference row, and what seeds tell about them.

The statistics are those of `reports.statistics.paired`; wording.TESTS is what readers of a table see of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from roberta_lab.reports.statistics.multi_bootstrap import SeedsAndItems
from roberta_lab.reports.statistics.paired import LEVEL, Paired, holm
from roberta_lab.reports.statistics.power import smallest_seen

ONE_SEED = "one seed of pretraining: no test"
NO_SPREAD = "the difference is the same in all seeds: no test"


class Outcome(Enum):
    """What the seeds say of a difference."""

    SAME_RUNS = "the same runs"
    UNTESTED = "not tested"
    APART = "told apart"
    ALIKE = "no difference that matters"  # within the margin that the sweep states
    UNSEEN = "not told apart"


@dataclass(frozen=True)
class Difference:
    """The difference of a row from its reference row in one column, over the seeds that both have."""

    seen: Paired
    margin: float | None = None  # the smallest difference that matters, as the sweep states it
    why_untested: str = ""  # empty for one that is tested
    same_runs: bool = False
    same_weights: bool = False  # the pairs are seeds of finetuning from the same weights
    num_tests: int = 1  # in the table
    p_holm: float = math.nan  # of no difference, adjusted for the tests of the table
    p_alike_holm: float = math.nan  # of a difference of the margin or more, adjusted likewise
    items: SeedsAndItems | None = None  # the interval over seeds and dev items, where predictions are there

    @property
    def outcome(self) -> Outcome:
        """Return what the seeds say."""
        if self.same_runs:
            return Outcome.SAME_RUNS
        if self.why_untested:
            return Outcome.UNTESTED
        if self.p_holm <= LEVEL:
            return Outcome.APART
        return Outcome.ALIKE if self.p_alike_holm <= LEVEL else Outcome.UNSEEN

    @property
    def smallest_seen(self) -> float:
        """Return the smallest true difference that so many tests of so many seeds, with this spread, see with probability 0.8."""
        return smallest_seen(self.seen.n, self.seen.deviation, LEVEL / self.num_tests)


def untested(seen: Paired) -> str:
    """Return why a difference cannot be tested by its seeds; empty where it can."""
    if seen.n < 2:
        return ONE_SEED
    return NO_SPREAD if math.isnan(seen.error) else ""


def tested_together(differences: Sequence[Difference]) -> list[Difference]:
    """Return the differences of a table with their p adjusted for how many of them are tested (Holm 1979).

    Two families: that there is no difference, and, where the sweep has a margin, that there is one as large as it, which is
    ruled out where the 95% interval lies within the margin. Of one difference at most one of the two can be a false alarm.
    """
    chosen = [index for index, found in enumerate(differences) if not (found.same_runs or found.why_untested)]
    with_margin = [index for index in chosen if differences[index].margin is not None]
    apart = dict(zip(chosen, holm(differences[index].seen.p for index in chosen), strict=True))
    within = (2 * differences[index].seen.p_within(differences[index].margin or 0.0) for index in with_margin)
    alike = dict(zip(with_margin, holm(within), strict=True))
    return [
        replace(found, num_tests=len(chosen), p_holm=apart[index], p_alike_holm=alike.get(index, math.nan))
        if index in apart
        else found
        for index, found in enumerate(differences)
    ]
