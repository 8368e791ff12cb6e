"""Batches: each epoch holds each example once, and no cut into ranks and micro-batches changes a batch."""

from __future__ import annotations

import numpy as np
import pytest
from fake_store import store_of

from roberta_lab.axes import batch_size, input_format
from roberta_lab.axes.batch_size import BatchPlan, accumulation
from roberta_lab.config import BatchSizeConfig, Config, ConfigError, InputFormatConfig


def faults(plan: BatchPlan, num_steps: int) -> list[str]:
    """What is wrong with the plan's first steps, told from the outside."""
    line = [pair for s in range(num_steps) for pair in zip(*(x.tolist() for x in plan.batch(s)), strict=True)]
    found, orders = [], []
    for epoch in range(len(line) // plan.num_examples):
        part = line[epoch * plan.num_examples : (epoch + 1) * plan.num_examples]
        if {e for _, e in part} != {epoch}:
            found.append("an epoch's place holds another epoch")
        if sorted(x for x, _ in part) != list(range(plan.num_examples)):
            found.append("an epoch does not hold each example once")
        orders.append([x for x, _ in part])
    if len({tuple(o) for o in orders}) < len(orders):
        found.append("two epochs share an order")
    return found


@pytest.mark.parametrize(("num_examples", "sequences"), [(10, 4), (7, 7), (9, 2), (5, 16), (64, 64)])
def test_each_epoch_is_one_pass_in_an_order_of_its_own(num_examples: int, sequences: int) -> None:
    assert faults(BatchPlan(num_examples, sequences, seed=1), 4 * num_examples // sequences + 1) == []


def test_sizes_and_types() -> None:
    examples, epochs = BatchPlan(5, 12, seed=1).batch(0)
    assert examples.shape == epochs.shape == (12,) and examples.dtype == epochs.dtype == np.int64
    assert epochs.tolist() == [0] * 5 + [1] * 5 + [2] * 2


def test_a_step_depends_on_its_number_alone() -> None:
    straight = [BatchPlan(100, 16, seed=3).batch(s)[0].tolist() for s in range(20)]
    batch_size._epoch_order.cache_clear()
    resumed = [BatchPlan(100, 16, seed=3).batch(s)[0].tolist() for s in reversed(range(20))]
    assert straight == resumed[::-1]
    assert straight != [BatchPlan(100, 16, seed=4).batch(s)[0].tolist() for s in range(20)]


def test_a_caller_cannot_change_the_order_of_others() -> None:
    plan = BatchPlan(8, 8, seed=1)
    before = plan.batch(0)[0].tolist()
    plan.batch(0)[0][:] = 0
    plan.micro_batch(0, 0, 4, 0, 2)[0][:] = 0
    assert plan.batch(0)[0].tolist() == before


@pytest.mark.parametrize(("world_size", "micro"), [(1, 24), (1, 1), (2, 4), (3, 8), (8, 3), (4, 2)])
def test_micro_batches_are_the_batch_however_it_is_cut(world_size: int, micro: int) -> None:
    plan = BatchPlan(50, 24, seed=2)
    for step in (0, 3):
        passes = range(accumulation(24, world_size, micro))
        parts = [plan.micro_batch(step, i, micro, r, world_size) for i in passes for r in range(world_size)]
        assert all(len(examples) == len(epochs) == micro for examples, epochs in parts)
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
        BatchPlan(0, 8, seed=1)
    with pytest.raises(ConfigError, match="sequences=0"):
        BatchPlan(8, 0, seed=1)


@pytest.mark.parametrize(
    ("wrong_order", "fault"),
    [
        (lambda n, seed, epoch: np.random.default_rng(seed).permutation(n), "two epochs share an order"),
        (lambda n, seed, epoch: np.random.default_rng(epoch).integers(0, n, n), "does not hold each example once"),
    ],
)
def test_planted_faults_are_noticed(monkeypatch: pytest.MonkeyPatch, wrong_order: object, fault: str) -> None:
    monkeypatch.setattr(batch_size, "_epoch_order", wrong_order)
    assert any(fault in f for f in faults(BatchPlan(30, 8, seed=1), 16))


# ---------------------------------------------------------------- batches matched in tokens
def matched(seed: int, sequences: int = 6, max_length: int = 40) -> BatchPlan:
    lengths = np.random.default_rng(seed).integers(3, max_length + 1, 70).astype(np.int32)
    return BatchPlan(70, sequences, seed, lengths, max_length)


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
            position += int(plan.lengths[example])
    assert [tuple(x.tolist() for x in plan.batch(step)) for step in range(20)] == expected


def test_matched_batches_hold_as_many_tokens_as_full_ones() -> None:
    plan = matched(1)
    tokens = [plan.lengths[plan.batch(step)[0]].sum() for step in range(200)]
    assert max(abs(t - 6 * 40) for t in tokens) < 40 and abs(np.mean(tokens) - 6 * 40) < 1
    assert plan.epochs(200) == pytest.approx(sum(tokens) / plan.lengths.sum(), rel=1e-2)


@pytest.mark.parametrize(("micro", "world_size"), [(6, 1), (2, 1), (1, 1), (1, 2), (3, 2), (1, 6)])
def test_shares_of_a_matched_batch_are_disjoint_complete_and_balanced(micro: int, world_size: int) -> None:
    plan = matched(2)
    for step in range(30):
        passes = range(accumulation(6, world_size, micro))
        parts = [plan.micro_batch(step, i, micro, r, world_size)[0] for i in passes for r in range(world_size)]
        assert all(len(part) for part in parts)
        assert sorted(np.concatenate(parts)) == sorted(plan.batch(step)[0])
        tokens = [int(plan.lengths[part].sum()) for part in parts]
        assert max(tokens) - min(tokens) <= 2 * 40 and max(tokens) <= (micro + 2) * 40


def test_a_batch_of_full_inputs_is_matched_by_as_many() -> None:
    plan = BatchPlan(10, 4, 1, np.full(10, 8, np.int32), 8)
    assert all(len(plan.batch(step)[0]) == 4 for step in range(9))
    assert [len(plan.micro_batch(0, i, 1, 0, 1)[0]) for i in range(4)] == [1] * 4


@pytest.mark.parametrize(
    ("name", "grows"),
    [("segment_pair", False), ("sentence_pair", True), ("full_sentences", False), ("doc_sentences", True)],
)
def test_batches_grow_where_the_paper_says_so(name: str, grows: bool) -> None:
    """Section 4.2: inputs of these two may be short, so their batches are as large as makes up for it."""
    draw = np.random.default_rng(1)
    store = store_of([draw.integers(3, 12, 6).tolist() for _ in range(80)])
    config = Config(input_format=InputFormatConfig(name, 128), batch_size=BatchSizeConfig(8, 100, 1e-3))
    plan = input_format.plan(store, config.input_format, 1)
    examples = [batch_size.batch_plan(plan, config).batch(step)[0] for step in range(20)]
    sizes, tokens = [len(e) for e in examples], [plan.lengths[e].sum() for e in examples]
    if grows:
        assert min(sizes) > 8 and np.mean(tokens) == pytest.approx(8 * 128, rel=0.05)
    else:
        assert set(sizes) == {8}
