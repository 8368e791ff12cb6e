"""Micro-batches of one shape hold the same inputs and give the same losses; few of their tokens are dummies."""

from dataclasses import replace

import joined_attention
import numpy as np
import pytest
import torch
from small_pretraining import VOCABULARY, Store, make

from roberta_lab.axes.examples import IGNORED
from roberta_lab.axes.input_format import FORMATS
from roberta_lab.config import Config, InputFormatConfig
from roberta_lab.data import static_shapes
from roberta_lab.data.batch import Batch
from roberta_lab.data.datamodule import MicroBatches, PretrainingData
from roberta_lab.data.static_shapes import MASKED, TOKENS, Shape, filled, shape_of
from roberta_lab.model.objective import own_counts
from roberta_lab.training.module import PretrainingModule


def batches(config: Config) -> MicroBatches:
    return PretrainingData(config, Store(), Store(), VOCABULARY).micro_batches


def sizes(batch: Batch) -> tuple[int, ...]:
    names = ("input_ids", "position_ids", "token_type_ids", "cu_seq_lens", "masked_positions", "masked_labels")
    return tuple(len(batch[name]) for name in names)  # type: ignore[literal-required]


@pytest.mark.parametrize("positions", ["uniform", "whole_words", "span"])
@pytest.mark.parametrize("name", FORMATS)
def test_all_micro_batches_have_one_shape_and_the_same_inputs(name: str, positions: str) -> None:
    config = make(4, input_format=name, masking="dynamic", positions=positions)
    config.batch_size.steps = 60
    plain, fixed = batches(config), batches(config)
    fixed.shape = shape_of(fixed)
    seen = set()
    for i in range(len(plain)):
        one, other = plain[i], fixed[i]
        seen.add(sizes(other))
        real, inputs, masked = one["num_tokens"], len(one["cu_seq_lens"]) - 1, len(one["masked_labels"])
        assert own_counts(other) == own_counts(one) == {"masked": masked, "sequences": inputs, "tokens": real}
        for key in ("input_ids", "position_ids", "token_type_ids"):
            assert torch.equal(one[key], other[key][:real])  # type: ignore[literal-required]
        assert torch.equal(one["cu_seq_lens"], other["cu_seq_lens"][: inputs + 1])
        assert torch.equal(one["masked_labels"], other["masked_labels"][:masked])
        assert torch.equal(one["masked_positions"], other["masked_positions"][:masked])
        assert (other["masked_labels"][masked:] == IGNORED).all()
        lengths = other["cu_seq_lens"].diff()
        assert lengths.min() >= 0 and lengths.max() <= 32 and other["cu_seq_lens"][-1] == len(other["input_ids"])
        # every token, of dummies too, has its place in its input
        places = torch.arange(len(other["input_ids"])) - other["cu_seq_lens"][:-1].repeat_interleave(lengths)
        assert torch.equal(other["position_ids"], places)
        assert (other["cu_seq_lens"][:-1] < len(other["input_ids"])).all(), "the loss of pairs reads the first tokens"
    assert len(seen) == 1
    assert fixed.shape.tokens % TOKENS == 0 and fixed.shape.masked % MASKED == 0


def test_a_micro_batch_beyond_the_shape_gets_a_larger_one() -> None:
    batch = batches(make())[0]
    other = filled(batch, Shape(tokens=TOKENS, inputs=1, masked=1, filled=1.0), 1)
    assert len(other["input_ids"]) % TOKENS == 0 and len(other["input_ids"]) > batch["num_tokens"]
    assert len(other["masked_labels"]) == MASKED and own_counts(other) == own_counts(batch)


def test_there_is_a_dummy_also_where_real_tokens_fill_whole_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """At which all labels that are none stand."""
    batch = batches(make())[0]
    real, masked = len(batch["input_ids"]), len(batch["masked_labels"])
    monkeypatch.setattr(static_shapes, "TOKENS", real)
    other = filled(batch, Shape(tokens=real, inputs=1, masked=1, filled=1.0), 1)
    assert len(other["input_ids"]) == 2 * real and (other["masked_positions"][masked:] >= real).all()


class News:
    """Documents of sentences whose lengths scatter as those of news do, log-normally around 22 tokens."""

    def __init__(self, num_sentences: int = 60_000) -> None:
        draw = np.random.default_rng(1)
        self.sentence_lengths = np.clip(draw.lognormal(3.1, 0.6, num_sentences), 3, 200).astype(np.int32)
        self.sentence_starts = np.concatenate([[0], np.cumsum(self.sentence_lengths)[:-1]]).astype(np.int64)
        self.document_ends = np.unique(np.append(np.cumsum(draw.integers(5, 60, num_sentences // 32)), num_sentences))
        self.document_ends = self.document_ends[self.document_ends <= num_sentences]


@pytest.mark.parametrize(("name", "most"), [("full_sentences", 0.03), ("doc_sentences", 0.03), ("sentence_pair", 0.03)])
def test_few_tokens_are_dummies(name: str, most: float) -> None:
    """At the paper's length and the micro-batch of a large GPU; formats matched in tokens have shares that are equal."""
    config = replace(make(64, input_format=name, masking="dynamic"), input_format=InputFormatConfig(name, 512))
    config.batch_size.sequences, config.batch_size.steps = 256, 300
    shape = shape_of(
        MicroBatches(
            News(), PretrainingData(config, News(), News(3000), VOCABULARY).micro_batches.plans, config, VOCABULARY
        )
    )
    assert 1 - most <= shape.filled <= 1, f"{1 - shape.filled:.1%} are dummies"
    assert f"{100 * (1 - shape.filled):.1f}% are dummies" in str(shape)


@pytest.mark.parametrize("name", FORMATS)
def test_losses_and_gradients_are_those_of_the_inputs_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the way of a CPU, which computes inputs of one length at a time."""
    config = make(4, dropout=0.0, input_format=name)
    module = PretrainingModule(config, 60, 1)
    plain, fixed = batches(config), batches(config)
    fixed.shape = shape_of(fixed)

    def computed(batch: Batch) -> tuple[dict[str, float], list[torch.Tensor]]:
        sums = module.objective.sums(module.model, batch)
        loss = module.objective.loss(sums, own_counts(batch))
        parameters = [p for p in module.parameters() if p.requires_grad]
        return {n: float(v.detach()) for n, v in sums.items()}, list(
            torch.autograd.grad(loss, parameters, allow_unused=True)
        )

    expected = [computed(plain[i]) for i in range(4)]
    joined_attention.use(monkeypatch)
    for i, (sums, gradients) in enumerate(expected):
        found, own = computed(fixed[i])
        assert found == pytest.approx(sums, rel=1e-5)
        for one, other in zip(gradients, own, strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-7)
