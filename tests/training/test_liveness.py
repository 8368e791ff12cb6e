"""A rank that the others wait for is named; ranks in step, slow ones, and what one does alone are left in peace."""

import os
from collections.abc import Sequence

import pytest

from roberta_lab.config.processes import Stat
from roberta_lab.training import liveness
from roberta_lab.training.liveness import Beats, RankJudge

LIMIT = 5.0


class Watching:
    """Looks of a second each at ranks whose processes are 100, 101, and so on."""

    def __init__(self, ranks: int) -> None:
        self.judge = RankJudge([f"process {100 + rank}" for rank in range(ranks)], LIMIT)
        self.counts, self.cpu = [0] * ranks, [0.0] * ranks
        self.alone = -1

    def look(self, does: str, seconds: int, knows: bool = True) -> tuple[int, str] | None:
        """What each rank does: `w` a piece of work a second, `b` one that does not end, `i` nothing, `T` is stopped."""
        for second in range(1, seconds + 1):
            self.counts = [count + (what == "w") for count, what in zip(self.counts, does, strict=True)]
            self.cpu = [cpu + 0.9 * (what in "wb") for cpu, what in zip(self.cpu, does, strict=True)]
            states: Sequence[Stat | None] = [
                Stat("T" if what == "T" else "S", 1, cpu) if knows else None
                for what, cpu in zip(does, self.cpu, strict=True)
            ]
            counts = [(count, rank == self.alone) for rank, count in enumerate(self.counts)]
            if said := self.judge.look(counts, states, 1.0):
                return second, said
        return None


def trained(ranks: int) -> Watching:
    watching = Watching(ranks)
    assert watching.look("w" * ranks, 20) is None
    return watching


@pytest.mark.parametrize("what", "bi")
@pytest.mark.parametrize("knows", [True, False])
def test_the_rank_that_the_others_wait_for_is_named(what: str, knows: bool) -> None:
    """After its last piece the others do one more, and wait; what the system says of processes may not be known."""
    watching = trained(3)
    assert watching.look(f"w{what}w", 1, knows) is None
    second, said = watching.look(f"i{what}i", 30, knows) or (0, "")
    assert said.startswith("rank 1 of 3 (process 101) hangs: the others wait for it, for 5 seconds and more")
    assert second == LIMIT - 1, "one has passed"


def test_ten_times_as_long_as_any_piece_took_so_far() -> None:
    watching = trained(2)
    assert watching.look("bb", 3) is None
    assert watching.look("ww", 1) is None
    assert watching.look("wi", 1) is None
    assert (watching.look("ii", 99) or (0, ""))[0] == 29, "a piece took three"


def test_ranks_in_step_are_left_in_peace_however_long_they_take() -> None:
    watching = trained(2)
    assert watching.look("bb", 500) is None
    assert watching.look("ww", 500) is None


def test_ranks_of_which_none_does_anything_wait_for_one_another() -> None:
    second, said = trained(2).look("ii", 99) or (0, "")
    assert said == "the 2 ranks wait for one another: none has done anything for 5 seconds" and second == LIMIT


def test_one_that_still_computes_is_the_one_that_has_not_come_to_the_exchange() -> None:
    assert (trained(2).look("ib", 99) or (0, ""))[1].startswith("rank 1 of 2 (process 101) hangs")
    assert trained(2).look("ii", 99, knows=False) is None, "of whom nothing is known, nothing is said"


def test_what_one_rank_does_alone_and_setting_up_may_take_any_time() -> None:
    watching = trained(2)
    watching.alone = 0
    assert watching.look("ii", 500) is None
    assert Watching(2).look("bi", 500) is None


def test_one_that_is_stopped_is_named_at_any_time() -> None:
    watching = Watching(2)
    assert watching.look("Tb", 4) is None
    assert watching.look("bb", 1) is None
    said = "rank 0 of 2 (process 100) was stopped and not continued"
    assert watching.look("Tb", 9) == (LIMIT, said)


def test_counts_are_seen_by_all_processes_that_share_them() -> None:
    shared = Beats(3)
    other = Beats(3, os.dup(shared.file))
    for rank in (1, 1, 2):
        other.beat(rank)
    with other.alone(0):
        assert shared.read() == [(0, True), (2, False), (1, False)]
    assert shared.read()[0] == (0, False)


def test_a_process_counts_where_it_has_joined() -> None:
    shared = Beats(2)
    try:
        liveness.join(shared, 1)
        liveness.beat()
        with liveness.alone():
            assert shared.read() == [(0, False), (1, True)]
    finally:
        liveness.join(Beats(1), 0)
    liveness.beat()
    assert shared.read() == [(0, False), (1, False)]


def test_a_sweep_of_many_runs_keeps_no_files() -> None:
    shared = Beats(2)
    file = shared.file
    os.fstat(file)
    del shared
    with pytest.raises(OSError):
        os.fstat(file)
