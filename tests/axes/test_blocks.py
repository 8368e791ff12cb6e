"""Corpora of many blocks: each epoch holds each example once, windows are a sample of the whole; one block is as it ever was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from fake_store import FakeStore, store_of

from roberta_lab.axes import batch_size, blocks, input_format
from roberta_lab.axes.batch_size import BatchPlan, batch_plan, batch_tokens
from roberta_lab.axes.epochs import Epochs, count_all, epochs_of
from roberta_lab.axes.examples import Plan, Vocabulary, gather
from roberta_lab.axes.input_format import FORMATS
from roberta_lab.axes.rng import stream_key
from roberta_lab.config import BatchSizeConfig, Config, ConfigError, InputFormatConfig, NspConfig

VOCABULARY = Vocabulary(100_000, 4, (0, 1, 2, 3, 4))


def corpus(num_documents: int = 150, seed: int = 1) -> FakeStore:
    draw = np.random.default_rng(seed)
    return store_of([draw.integers(1, 15, draw.integers(1, 12)).tolist() for _ in range(num_documents)])


def config_of(name: str, copies: int = 3, sequences: int = 8) -> Config:
    form = InputFormatConfig(name, 48)
    return Config(
        seed=7, input_format=form, nsp=NspConfig("auto", copies=copies), batch_size=BatchSizeConfig(sequences, 10, 1e-3)
    )


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of about 40 sentences, 5 of them in a window."""
    for name, value in (("WHOLE", 100), ("BLOCK", 40), ("WINDOW", 5)):
        monkeypatch.setattr(blocks, name, value)


def line(batches: BatchPlan) -> Iterator[tuple[int, int]]:
    step = 0
    while True:
        yield from zip(*(x.tolist() for x in batches.batch(step)), strict=True)
        step += 1


# ---------------------------------------------------------------- one block
def uncut(store: FakeStore, config: Config, number: int) -> tuple[list[tuple[int, int]], list[Plan]]:
    """The rule before there were blocks, example by example: a permutation of one plan of the whole corpus in each epoch."""
    form, found, plans = config.input_format, [], []
    copies = config.nsp.copies if FORMATS[form.name].pairs else 1
    for copy in range(copies):
        key = stream_key(config.seed, "plan") if copy == 0 else stream_key(config.seed, "plan", copy)
        plans.append(input_format.plan(store, form, key))
    epoch = 0
    while len(found) < number:
        words = np.random.SeedSequence(stream_key(config.seed, "order", epoch))
        order = np.random.Generator(np.random.PCG64(words)).permutation(plans[epoch % copies].num_examples)
        found += [(int(example), epoch) for example in order]
        epoch += 1
    return found[:number], plans


@pytest.mark.parametrize("name", FORMATS)
def test_what_fits_one_block_has_the_order_and_the_plans_of_before(name: str) -> None:
    store, config = corpus(), config_of(name)
    expected, old = uncut(store, config, 900)
    plans = epochs_of(store, config)
    batches = line(batch_plan(plans, store, config))
    assert plans.num_blocks == 1 and [next(batches) for _ in range(900)] == expected
    for epoch in range(5):
        one, other = plans.plan(epoch), old[epoch % len(old)]
        for column, values in vars(other).items():
            assert np.array_equal(getattr(one, column), values), column
    if (partner := FORMATS[name].matched_to) is not None:
        form = replace(config.input_format, name=partner)
        mean = input_format.plan(store, form, stream_key(7, "plan")).lengths.mean(dtype=np.float64)
        assert batch_tokens(store, config) == round(8 * float(mean))


# ---------------------------------------------------------------- several blocks
def test_blocks_are_whole_documents_of_about_equal_size(small: None) -> None:
    store = corpus()
    edges = blocks.cut(store)
    sizes = np.diff(np.concatenate([[0], store.document_ends])[edges])
    assert edges[0] == 0 and edges[-1] == 150 and len(edges) - 1 == -(-sizes.sum() // 40)
    assert sizes.min() > 25 and sizes.max() < 55
    parts = list(blocks.stores(store))
    assert np.array_equal(np.concatenate([part.sentence_starts for part in parts]), store.sentence_starts)
    assert [len(part.document_ends) for part in parts] == np.diff(edges).tolist()


def test_a_block_has_two_documents_at_least(small: None) -> None:
    """So a random B is of another document in each block."""
    store = store_of([[3] * 90, [2] * 3, [4] * 80, [5], [6], [7] * 200, [8]])
    assert np.diff(blocks.cut(store)).min() >= 2
    assert len(blocks.cut(store_of([[3] * 500]))) == 2
    config = config_of("segment_pair")
    assert epochs_of(store, config).size(0)[0] > 0
    with pytest.raises(ConfigError, match="the held-out one, has 1"):
        epochs_of(store_of([[3] * 500]), config).size(0)


@pytest.mark.parametrize("num_blocks", [1, 4, 5, 6, 11, 23, 50])
def test_each_window_has_a_block_of_each_stretch(small: None, num_blocks: int) -> None:
    orders = []
    for epoch in range(6):
        found = blocks.windows(num_blocks, 3, epoch)
        assert sorted(np.concatenate(found).tolist()) == list(range(num_blocks))
        assert len(found) == -(-num_blocks // 5) and max(map(len, found)) <= 5
        stretches = [sorted((window // len(found)).tolist()) for window in found]
        full = num_blocks // len(found)
        assert all(s[:full] == list(range(full)) and len(s) <= full + 1 for s in stretches)
        orders.append(str(found))
    assert len(set(orders)) == 1 if num_blocks <= 5 else len(set(orders)) > 3


@pytest.mark.parametrize("name", FORMATS)
def test_each_epoch_of_many_blocks_holds_each_example_once(small: None, name: str) -> None:
    """Told from the tokens: of formats without pairs, an epoch's inputs are the text of the corpus, once."""
    store, config = corpus(), config_of(name)
    plans = epochs_of(store, config)
    batches = line(batch_plan(plans, store, config))
    assert plans.num_blocks > 20
    orders = []
    for epoch in range(4):
        number = plans.size(epoch)[0]
        examples, epochs = (np.array(x) for x in zip(*(next(batches) for _ in range(number)), strict=True))
        assert (epochs == epoch).all() and sorted(examples) == list(range(number))
        orders.append(examples.tolist())
        rows = gather(store, *plans.view(examples, epochs), VOCABULARY)
        assert plans.size(epoch)[1] == rows.lengths.sum()
        text = rows.input_ids[~rows.special_mask]
        if not FORMATS[name].pairs:
            assert sorted(text.tolist()) == store.tokens.tolist()
        alone = gather(store, *plans.view(examples[5:6], epochs[5:6]), VOCABULARY)  # a number means one input
        assert alone.input_ids[0].tolist() == rows.input_ids[5, : alone.lengths[0]].tolist()
    assert len({str(order) for order in orders}) == 4


@pytest.mark.parametrize(("world_size", "micro"), [(1, 8), (1, 1), (2, 2), (4, 1), (4, 2)])
@pytest.mark.parametrize("name", ["full_sentences", "sentence_pair"])
def test_ranks_and_micro_batches_cover_the_steps_in_any_order(
    small: None, name: str, world_size: int, micro: int
) -> None:
    store, config = corpus(), config_of(name)
    whole = batch_plan(epochs_of(store, config), store, config)
    num_steps = int(2.2 / whole.epochs(1))
    expected = [whole.batch(step) for step in range(num_steps)]
    again = batch_plan(epochs_of(store, config), store, config)
    passes = range(again.passes(micro, world_size))
    seen = []
    for step in np.random.default_rng(1).permutation(num_steps)[:30].tolist():
        parts = [again.micro_batch(step, i, micro, r, world_size) for i in passes for r in range(world_size)]
        pairs = [sorted(zip(*(np.concatenate(x) for x in zip(*parts, strict=True)), strict=True))]
        assert pairs == [sorted(zip(*expected[step], strict=True))]
        seen += pairs[0]
    assert len(set(seen)) == len(seen)


def test_matched_batches_of_many_blocks_equal_a_walk_along_the_line(small: None) -> None:
    """Example by example: a batch ends where the next example would begin past its share of tokens."""
    store, config = corpus(), config_of("sentence_pair", copies=2)
    plans = epochs_of(store, config)
    batches = batch_plan(plans, store, config)
    assert batches.tokens is not None
    position, expected = 0, [([], []) for _ in range(200)]
    for epoch in range(3):
        firsts = np.cumsum([0, *(plans.plan(epoch, b).num_examples for b in range(plans.num_blocks))])
        for number, window in enumerate(blocks.windows(plans.num_blocks, 7, epoch)):
            members = [(b, i) for b in window for i in range(plans.plan(epoch, b).num_examples)]
            for place in batch_size._epoch_order(len(members), 7, epoch, number):
                block, i = members[place]
                if (step := position // batches.tokens) < 200:
                    expected[step][0].append(int(firsts[block]) + i)
                    expected[step][1].append(epoch)
                position += int(plans.plan(epoch, block).lengths[i])
    last = position // batches.tokens
    for step in reversed(range(min(last, 200))):
        assert tuple(x.tolist() for x in batches.batch(step)) == expected[step]
    assert batches.epochs(last) == pytest.approx(3, abs=0.05)


def test_planned_blocks_are_few_and_counted_once(small: None) -> None:
    store, config = corpus(), config_of("segment_pair")
    made: list[tuple[int, int]] = []
    plans = epochs_of(store, config)

    def make(copy: int, block: int) -> Plan:
        made.append((copy, block))
        return plans._make(copy, block)

    spied = Epochs(make, 1, plans.num_blocks)
    batches = BatchPlan(spied, 8, 7)
    counted = len(made)
    assert counted == plans.num_blocks
    for step in range(int(1 / batches.epochs(1))):
        for _ in range(2):
            spied.view(*batches.batch(step))
    assert len(made) == counted + plans.num_blocks, "walking an epoch makes each plan once"
    assert len(spied._plans) <= 10


def test_totals_are_of_all_blocks(small: None) -> None:
    store = corpus()
    plans = epochs_of(store, config_of("segment_pair"))
    totals = plans.totals(0)
    assert totals["sentences"] == len(store.sentence_lengths) and totals["documents"] == 150
    kinds = [plans.plan(0, b).next_sentence_label.sum() for b in range(plans.num_blocks)]
    assert totals["pairs_random"] == sum(kinds)


def test_pairs_differ_between_blocks_and_copies(small: None) -> None:
    """Equal texts in each block: draws that did not know the block would be the same."""
    store = store_of([[4, 5, 6, 7]] * 200)
    plans = epochs_of(store, config_of("segment_pair"))
    labels = {(c, b): plans.plan(c, b).next_sentence_label.tolist() for c in range(3) for b in range(plans.num_blocks)}
    assert len({str(x) for x in labels.values()}) == len(labels) > 30


def test_counts_of_other_code_are_noticed(small: None) -> None:
    store, config = corpus(), config_of("full_sentences")

    def wrong(*arguments) -> dict[str, np.ndarray]:
        return {name: n + (name == "examples") for name, n in count_all(*arguments).items()}

    plans = epochs_of(store, config, wrong)
    plans.size(0)
    with pytest.raises(AssertionError, match="of other code"):
        plans.plan(0, 3)
