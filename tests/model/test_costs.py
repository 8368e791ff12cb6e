"""Costs from the config alone, against hand-worked cases, the published facts, and what autograd really keeps."""

import contextlib

import pytest
import torch
from hydra import compose
from torch.autograd.graph import saved_tensors_hooks

from roberta_lab.config import Config, ConfigError, ModelConfig
from roberta_lab.data.real_tokens import text_tokens
from roberta_lab.model.attention import Padded
from roberta_lab.model.costs import Costs, costs_of, layer_bytes
from roberta_lab.model.encoder import Layer
from roberta_lab.model.hardware import HARDWARE
from roberta_lab.runs.compose import build

pytestmark = pytest.mark.usefixtures("composing")


def config(*overrides: str) -> Config:
    return build(compose("config", [*overrides, "paths.outputs=nowhere"]))


def costs(*overrides: str) -> Costs:
    return costs_of(config("scale=paper", "data_mix=books_wiki", *overrides))


LARGE = ("model=large", "input_format=full_sentences", "optimizer=roberta_large")


def test_roberta_saw_sixteen_times_the_tokens_of_bert() -> None:
    """Section 5: 500K steps of 8K sequences against 1M of 256."""
    bert, roberta = costs("model=large"), costs(*LARGE, "batch_size=bsz8k_500k")
    full = bert.sequences * bert.length * bert.steps, roberta.sequences * roberta.length * roberta.steps
    assert full == (131_072_000_000, 2_097_152_000_000) and full[1] / full[0] == 16
    assert (bert.tokens, roberta.tokens) == (round(0.966 * full[0]), round(0.952 * full[1])), "the rest is padding"


def test_a_hundred_thousand_steps_of_large_take_a_day_on_1024_v100s() -> None:
    """Section 5: "approximately one day". The share of the peak that V100s reach is taken from this sentence, so the test holds
    the arithmetic: 2.01 GFLOP a token by hand, 24 x (8 + 2 x 8) x 1024^2 and so on."""
    found = costs(*LARGE, "batch_size=bsz8k_100k", "plan.devices=1024")
    layers = 24 * (2 * 4 * 1024**2 + 2 * 2 * 1024 * 4096 + 2 * 2 * 512 * 1024)
    heads = 0.15 * 2 * (1024**2 + 1024 * 50_265)
    assert found.flops == pytest.approx(3 * (layers + heads) * 0.952 * 8192 * 512 * 100_000)
    assert found.seconds == pytest.approx(found.flops / (1024 * 125e12 * 0.08))
    assert 20 < found.hours < 28
    assert (found.accumulation, found.micro_batch, found.warnings) == (1, 8, ())
    assert found.device_hours == 1024 * found.hours


def test_a_million_steps_of_bert_are_about_forty_times_the_text() -> None:
    """Section 4.1: "40 epochs of training" on Books + Wikipedia, here by the stated sizes: tokens seen over tokens of text.

    A pass over the pairs is longer than the text, since random texts B are read beside it: of passes there are 30.
    """
    found, (text, basis) = costs(), text_tokens(config("scale=paper", "data_mix=books_wiki"))
    assert text is not None and found.tokens / text == pytest.approx(40, rel=0.1) and "stated" in basis
    assert found.passes == pytest.approx(found.tokens / text / 1.31)


def test_all_corpora_are_ten_times_books_and_wikipedia() -> None:
    few, all_of_them = (text_tokens(config("scale=paper", f"data_mix={mix}"))[0] for mix in ("books_wiki", "all"))
    assert few is not None and all_of_them is not None and all_of_them / few == pytest.approx(10, rel=0.06)
    alone, twice = (
        text_tokens(config("scale=paper", "data_mix=books_wiki", *more))[0]
        for more in ([], ["++data_mix.sources.books.repeats=2"])
    )
    assert alone is not None and twice == pytest.approx(alone + 0.9 * 4.2e9 / 4.2)


@pytest.mark.parametrize(("model", "published"), [("base", 125e6), ("large", 355e6)])
def test_parameters_are_the_published_ones(model: str, published: float) -> None:
    assert costs(f"model={model}", "input_format=full_sentences").parameters == pytest.approx(published, rel=0.005)


def saved_bytes(model: ModelConfig, length: int, inputs: int, dtype: torch.dtype | None) -> float:
    """Bytes a token that autograd keeps of one layer, weights and their copies aside."""
    layer, x = Layer(model), torch.randn(inputs, length, model.hidden, requires_grad=True)
    weights = {p.shape for p in layer.parameters()} | {p.shape[::-1] for p in layer.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.shape not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    half = contextlib.nullcontext() if dtype is None else torch.autocast("cpu", dtype)
    with half, saved_tensors_hooks(pack, lambda tensor: tensor):
        out = layer(x, Padded(None))
    assert out.requires_grad
    return sum(kept.values()) / (inputs * length)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("attention_dropout", [0.0, 0.1])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_activations_of_a_layer_are_what_autograd_keeps(dropout: float, attention_dropout: float, dtype: str) -> None:
    model = ModelConfig(1, 128, 2, 512, dropout=dropout, attention_dropout=attention_dropout)
    measured = saved_bytes(model, 96, 3, torch.bfloat16 if dtype == "bf16" else None)
    assert layer_bytes(model, 96, dtype, cpu=True) == pytest.approx(measured, rel=0.01)


def test_memory_of_weights_gradients_and_adam_by_hand() -> None:
    full, half = costs("precision=fp32").memory, costs().memory
    number = costs().parameters
    assert (full.weights, full.gradients, full.optimizer) == (4 * number, 4 * number, 8 * number)
    assert half.weights == 6 * number and half.activations < 0.6 * full.activations
    one = costs("trainer.micro_batch_size=1", "plan.devices=8").memory
    two = costs("trainer.micro_batch_size=2", "plan.devices=8").memory
    assert (two.activations, two.logits) == (2 * one.activations, 2 * one.logits)
    assert one.logits == pytest.approx(0.15 * 512 * 50_265 * 2)
    saving = costs("trainer.micro_batch_size=2", "plan.devices=8", "trainer.activation_checkpointing=true").memory
    assert saving.activations < two.activations / 4


MEASURED = {  # MB above what the process held before, benchmarks/memory.py --length 128, fp32, one thread
    ("tiny", 16): 308,
    ("tiny", 32): 429,
    ("mini", 16): 675,
    ("mini", 32): 1059,
    ("small", 16): 1373,
    ("small", 32): 2024,
}


@pytest.mark.parametrize(("model", "inputs"), MEASURED)
def test_memory_is_near_what_was_measured(model: str, inputs: int) -> None:
    own = ("tokenizer.vocab_size=50265", "input_format=full_sentences", "input_format.max_length=128")
    found = costs_of(config(f"model={model}", *own, f"batch_size.sequences={inputs}")).memory
    assert found.total / 1e6 == pytest.approx(MEASURED[model, inputs], rel=0.08)


def test_hours_by_hand_and_by_measurement() -> None:
    stated = costs("plan.hardware=a100", "precision=bf16", "plan.devices=8", "plan.mfu=0.5", "plan.price_per_hour=2")
    assert stated.seconds == pytest.approx(stated.flops / (8 * 312e12 * 0.5)) and "stated" in stated.basis
    assert stated.price == pytest.approx(2 * 8 * stated.hours)
    measured = costs("plan.devices=4", "plan.tokens_per_second=20000")
    assert measured.seconds == measured.tokens / (4 * 20_000) and "measured" in measured.basis
    assert measured.price is None
    assert all(0 < device.mfu < 1 and "fp32" in device.peak for device in HARDWARE.values())


@pytest.mark.parametrize(
    ("overrides", "accumulation", "micro_batch"),
    [
        (["plan.devices=1"], 8, 32),
        (["plan.devices=8"], 1, 32),
        (["plan.devices=8", "trainer.micro_batch_size=4"], 8, 4),
        (["plan.devices=256"], 1, 1),
    ],
)
def test_accumulation_is_derived(overrides: list[str], accumulation: int, micro_batch: int) -> None:
    found = costs(*overrides)
    assert (found.accumulation, found.micro_batch, found.warnings) == (accumulation, micro_batch, ())


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["plan.devices=1024"], "1024 devices for 256 sequences: 768 have no work"),
        (["plan.devices=3"], "256 sequences do not divide into 3 devices"),
        (["precision=bf16"], "NVIDIA V100, 32 GB has no bf16"),
        ([*LARGE, "plan.devices=1", "precision=fp32", "trainer.micro_batch_size=64"], "trainer.micro_batch_size=[1-9]"),
        (["batch_size.steps=10000"], "optimizer.warmup_steps=10000 is not below batch_size.steps=10000"),
    ],
)
def test_what_would_not_work_is_said_and_not_refused(overrides: list[str], said: str) -> None:
    import re

    [warning] = costs(*overrides).warnings
    assert re.search(said, warning), warning


def test_the_size_that_is_said_to_fit_fits_and_the_next_does_not() -> None:
    asked = [*LARGE, "plan.devices=1", "precision=fp32", "batch_size.sequences=64"]
    [warning] = costs(*asked, "trainer.micro_batch_size=64").warnings
    fits = int(warning.partition("micro_batch_size=")[2].split()[0])
    memory = [costs(*asked, f"trainer.micro_batch_size={size}").memory.total for size in (fits, 2 * fits)]
    assert memory[0] <= 32e9 < memory[1]


def test_text_of_unknown_size_has_no_passes() -> None:
    assert costs_of(config("data_mix=own", "scale=paper")).passes is None


@pytest.mark.parametrize(
    "override", ["plan.hardware=a10", "plan.mfu=1.5", "plan.mfu=0", "plan.tokens_per_second=0", "plan.devices=0"]
)
def test_a_mistake_in_the_plan_is_refused(override: str) -> None:
    with pytest.raises(ConfigError, match=override.partition("=")[0]):
        config(override)


def test_the_exchange_of_gradients_by_hand_and_by_walking_the_ring() -> None:
    """Four devices pass a quarter each on, six times; with a bandwidth its seconds are added to those of a step."""
    cluster = [
        "plan.devices=4",
        "plan.tokens_per_second=1e4",
        "batch_size.sequences=64",
        "batch_size.steps=10",
        "optimizer.warmup_steps=1",
    ]
    alone, stated = costs(*cluster), costs(*cluster, "plan.bandwidth=0.5")
    sent = sum(4 * alone.parameters / 4 for _ in range(4 - 1)) * 2  # three times to sum up, three to tell all
    assert alone.exchange is not None and alone.exchange.bytes == pytest.approx(sent) and alone.exchange.seconds is None
    assert stated.exchange is not None and stated.exchange.seconds == pytest.approx(sent / 0.5e9)
    computing = alone.seconds / 10
    assert stated.seconds == pytest.approx(10 * (computing + sent / 0.5e9))
    assert stated.exchange.efficiency == pytest.approx(alone.seconds / stated.seconds)
    assert costs("plan.devices=1", "plan.bandwidth=1").exchange is None
