"""Batches: each epoch holds each example once, and no cut into ranks and micro-batches changes a batch."""

from __future__ import annotations

import numpy as np
import pytest
from fake_store import FakeStore, epochs_of_lengths, examples, store_of

from roberta_lab.axes import batch_size
from roberta_lab.axes.batch_size import BatchPlan, accumulation, batch_plan
from roberta_lab.axes.epochs import epochs_of
from roberta_lab.axes.examples import Vocabulary, gather
from roberta_lab.config import BatchSizeConfig, Config, ConfigError, InputFormatConfig, NspConfig


def faults(plan: BatchPlan, num_steps: int) -> list[str]:
    """What is wrong with the plan's first steps, told from the outside."""
    line = [pair for s in range(num_steps) for pair in zip(*(x.tolist() for x in plan.batch(s)), strict=True)]
    found, orders = [], []
    num_examples = plan.plans.size(0)[0]
    for epoch in range(len(line) // num_examples):
        part = line[epoch * num_examples : (epoch + 1) * num_examples]
        if {e for _, e in part} != {epoch}:
            found.append("an epoch's place holds another epoch")
        if sorted(x for x, _ in part) != list(range(num_examples)):
            found.append("an epoch does not hold each example once")
        orders.append([x for x, _ in part])
    if len({tuple(o) for o in orders}) < len(orders):
        found.append("two epochs share an order")
    return found


@pytest.mark.parametrize(("num_examples", "sequences"), [(10, 4), (7, 7), (9, 2), (5, 16), (64, 64)])
def test_each_epoch_is_one_pass_in_an_order_of_its_own(num_examples: int, sequences: int) -> None:
    assert faults(BatchPlan(examples(num_examples), sequences, seed=1), 4 * num_examples // sequences + 1) == []


def test_sizes_and_types() -> None:
    found, epochs = BatchPlan(examples(5), 12, seed=1).batch(0)
    assert found.shape == epochs.shape == (12,) and found.dtype == epochs.dtype == np.int64
    assert epochs.tolist() == [0] * 5 + [1] * 5 + [2] * 2


def test_a_step_depends_on_its_number_alone() -> None:
    straight = [BatchPlan(examples(100), 16, seed=3).batch(s)[0].tolist() for s in range(20)]
    batch_size._epoch_order.cache_clear()
    resumed = [BatchPlan(examples(100), 16, seed=3).batch(s)[0].tolist() for s in reversed(range(20))]
    assert straight == resumed[::-1]
    assert straight != [BatchPlan(examples(100), 16, seed=4).batch(s)[0].tolist() for s in range(20)]


def test_a_caller_cannot_change_the_order_of_others() -> None:
    plan = BatchPlan(examples(8), 8, seed=1)
    before = plan.batch(0)[0].tolist()
    plan.batch(0)[0][:] = 0
    plan.micro_batch(0, 0, 4, 0, 2)[0][:] = 0
    assert plan.batch(0)[0].tolist() == before


@pytest.mark.parametrize(("world_size", "micro"), [(1, 24), (1, 1), (2, 4), (3, 8), (8, 3), (4, 2)])
def test_micro_batches_are_the_batch_however_it_is_cut(world_size: int, micro: int) -> None:
    plan = BatchPlan(examples(50), 24, seed=2)
    for step in (0, 3):
        passes = range(accumulation(24, world_size, micro))
        parts = [plan.micro_batch(step, i, micro, r, world_size) for i in passes for r in range(world_size)]
        assert all(len(numbers) == len(epochs) == micro for numbers, epochs in parts)
        seen = [np.concatenate(column).tolist() for column in zip(*parts, strict=True)]
        assert seen == [x.tolist() for x in plan.batch(step)]


def test_accumulation_is_derived() -> None:
    assert accumulation(256, 1, 32) == 8
    assert accumulation(8192, 8, 64) == 16


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ((250, 1, 32), ["sequences=224 or 256", "micro_batch_size=25 or 50"]),
        ((16, 1, 32), ["sequences=32", "micro_batch_size=16"]),
        ((10, 4, 2), ["sequences=8 or 16"]),
        ((13, 1, 4), ["sequences=12 or 16", "micro_batch_size=1 or 13"]),
    ],
)
def test_a_batch_that_does_not_divide_names_the_nearest_that_do(
    arguments: tuple[int, int, int], names: list[str]
) -> None:
    with pytest.raises(ConfigError) as error:
        accumulation(*arguments)
    assert all(name in str(error.value) for name in names), str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("arguments", [(0, 1, 1), (8, 0, 1), (8, 1, 0)])
def test_sizes_below_one_are_refused(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigError, match="1 and more"):
        accumulation(*arguments)


def test_an_empty_plan_or_batch_is_refused() -> None:
    with pytest.raises(ConfigError, match="no examples"):
        BatchPlan(examples(0), 8, seed=1)
    with pytest.raises(ConfigError, match="sequences=0"):
        BatchPlan(examples(8), 0, seed=1)


@pytest.mark.parametrize(
    ("wrong_order", "fault"),
    [
        (lambda n, seed, epoch: np.random.default_rng(seed).permutation(n), "two epochs share an order"),
        (lambda n, seed, epoch: np.random.default_rng(epoch).integers(0, n, n), "does not hold each example once"),
    ],
)
def test_planted_faults_are_noticed(monkeypatch: pytest.MonkeyPatch, wrong_order: object, fault: str) -> None:
    monkeypatch.setattr(batch_size, "_epoch_order", wrong_order)
    assert any(fault in f for f in faults(BatchPlan(examples(30), 8, seed=1), 16))


# ---------------------------------------------------------------- batches matched in tokens
def lengths_of(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(3, 41, 70).astype(np.int32)


def matched(seed: int) -> BatchPlan:
    return BatchPlan(epochs_of_lengths(lengths_of(seed)), 6, seed, tokens=6 * 40, longest=40)


@pytest.mark.parametrize("seed", range(5))
def test_matched_batches_equal_a_walk_along_the_line(seed: int) -> None:
    """Example by example: a batch ends where the next example would begin past its share of tokens."""
    plan, position, expected = matched(seed), 0, [([], []) for _ in range(20)]
    for epoch in range(6):
        for example in batch_size._epoch_order(70, seed, epoch):
            step = position // (6 * 40)
            if step < 20:
                expected[step][0].append(int(example))
                expected[step][1].append(epoch)
            position += int(lengths_of(seed)[example])
    assert [tuple(x.tolist() for x in plan.batch(step)) for step in range(20)] == expected


def test_matched_batches_hold_as_many_tokens_as_full_ones() -> None:
    plan, lengths = matched(1), lengths_of(1)
    tokens = [lengths[plan.batch(step)[0]].sum() for step in range(200)]
    assert max(abs(t - 6 * 40) for t in tokens) < 40 and abs(np.mean(tokens) - 6 * 40) < 1
    assert plan.epochs(200) == pytest.approx(sum(tokens) / lengths.sum(), rel=1e-2)


@pytest.mark.parametrize(("micro", "world_size"), [(6, 1), (2, 1), (1, 1), (1, 2), (3, 2), (1, 6)])
def test_shares_of_a_matched_batch_are_disjoint_complete_and_balanced(micro: int, world_size: int) -> None:
    plan = matched(2)
    for step in range(30):
        passes = range(accumulation(6, world_size, micro))
        parts = [plan.micro_batch(step, i, micro, r, world_size)[0] for i in passes for r in range(world_size)]
        assert all(len(part) for part in parts)
        assert sorted(np.concatenate(parts)) == sorted(plan.batch(step)[0])
        tokens = [int(lengths_of(2)[part].sum()) for part in parts]
        assert max(tokens) - min(tokens) <= 2 * 40 and max(tokens) <= (micro + 2) * 40


def test_a_batch_of_full_inputs_is_matched_by_as_many() -> None:
    plan = BatchPlan(epochs_of_lengths(np.full(10, 8)), 4, 1, tokens=32, longest=8)
    assert all(len(plan.batch(step)[0]) == 4 for step in range(9))
    assert [len(plan.micro_batch(0, i, 1, 0, 1)[0]) for i in range(4)] == [1] * 4


def test_passes_of_short_batches_are_never_empty() -> None:
    """A batch of 3.9 full inputs' tokens has three inputs if all are full: a fourth micro-batch would be empty."""
    plan = BatchPlan(epochs_of_lengths(np.full(10, 40)), 4, 1, tokens=156, longest=40)
    assert [plan.passes(micro, world) for micro, world in ((1, 1), (2, 1), (4, 1), (1, 2))] == [3, 2, 1, 1]
    for step in range(20):
        parts = [plan.micro_batch(step, i, 1, 0, 1)[0] for i in range(3)]
        assert all(map(len, parts)) and sorted(np.concatenate(parts)) == sorted(plan.batch(step)[0])
    with pytest.raises(ConfigError, match="4 x 40 tokens"):
        plan.passes(1, 4)


# ---------------------------------------------------------------- epochs of several plans
COPIES = ([3, 4, 5], [6, 1], [2, 2, 2, 2, 2])


@pytest.mark.parametrize("tokens", [None, 7, 30])
def test_copies_of_other_sizes_are_walked_one_after_the_other(tokens: int | None) -> None:
    """Example by example along the line, as in the slow walk above."""
    plan = BatchPlan(epochs_of_lengths(*COPIES), 4, 5, tokens, longest=6)
    share, position, expected = tokens or 4, 0, [([], []) for _ in range(30)]
    for epoch in range(120):
        lengths = COPIES[epoch % 3]
        for example in batch_size._epoch_order(len(lengths), 5, epoch):
            if (step := position // share) < 30:
                expected[step][0].append(int(example))
                expected[step][1].append(epoch)
            position += lengths[example] if tokens else 1
    for order in (range(30), reversed(range(30))):
        assert all(tuple(x.tolist() for x in plan.batch(step)) == expected[step] for step in order)
    cycle = sum(map(sum, COPIES)) if tokens else 10
    assert plan.epochs(cycle) == pytest.approx(3 * share)
    assert plan.epochs(0) == 0 < plan.epochs(1) < plan.epochs(2)


def pairs_store() -> FakeStore:
    draw = np.random.default_rng(1)
    return store_of([draw.integers(3, 12, 6).tolist() for _ in range(80)])


def config_of(name: str, matched_to: str = "real_tokens", copies: int = 10) -> Config:
    form = InputFormatConfig(name, 128, matched_to)
    return Config(input_format=form, nsp=NspConfig("auto", copies=copies), batch_size=BatchSizeConfig(8, 100, 1e-3))


def test_pairs_are_drawn_anew_in_each_copy_and_come_back_after_all() -> None:
    plans = epochs_of(pairs_store(), config_of("segment_pair", copies=3))
    found = [(p.spans_start.tolist(), p.spans_length.tolist()) for p in map(plans.plan, range(7))]
    assert len({str(pairs) for pairs in found[:3]}) == 3 and found[3:] == [*found[:3], found[0]]
    once = epochs_of(pairs_store(), config_of("segment_pair", copies=1))
    assert once.plan(5) is once.plan(0) and once.plan(0).spans_start.tolist() == found[0][0]
    whole = epochs_of(pairs_store(), config_of("doc_sentences"))
    assert whole.copies == 1, "a format that draws nothing has one plan"


def test_a_batch_of_two_copies_is_gathered_from_both() -> None:
    store, vocabulary = pairs_store(), Vocabulary(5000, 4, (0, 1, 2, 3, 4))
    plans = epochs_of(store, config_of("segment_pair"))
    numbers, epochs = np.array([5, 0, 7, 2]), np.array([1, 2, 1, 2])
    rows = gather(store, *plans.view(numbers, epochs), vocabulary)
    for row, (number, epoch) in enumerate(zip(numbers, epochs, strict=True)):
        alone = gather(store, plans.plan(int(epoch)), np.array([number]), vocabulary)
        length = int(alone.lengths[0])
        assert rows.lengths[row] == length and (rows.input_ids[row, :length] == alone.input_ids[0]).all()
        assert (rows.token_type_ids[row, :length] == alone.token_type_ids[0]).all()
        assert rows.next_sentence_label is not None and alone.next_sentence_label is not None
        assert rows.next_sentence_label[row] == alone.next_sentence_label[0]


# ---------------------------------------------------------------- what batches aim at
@pytest.mark.parametrize(("name", "partner"), [("sentence_pair", "segment_pair"), ("doc_sentences", "full_sentences")])
def test_short_inputs_have_the_real_tokens_of_their_partners_batches(name: str, partner: str) -> None:
    """Section 4.2: "similar to SEGMENT-PAIR", "similar to FULL-SENTENCES", which are not full themselves."""
    store = pairs_store()

    def tokens(config: Config) -> tuple[float, list[int]]:
        plans = epochs_of(store, config)
        batches, sizes, found = batch_plan(plans, store, config), [], []
        for step in range(150):
            plan, places = plans.view(*batches.batch(step))
            sizes.append(len(places))
            found.append(int(plan.lengths[places].sum()))
        return float(np.mean(found)), sizes

    matched, sizes = tokens(config_of(name))
    theirs, their_sizes = tokens(config_of(partner))
    assert matched == pytest.approx(theirs, rel=0.01) and min(sizes) > 8 and set(their_sizes) == {8}
    full, _ = tokens(config_of(name, "max_length"))
    assert full == pytest.approx(8 * 128, rel=0.01) and full > 1.03 * matched
