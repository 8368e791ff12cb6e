"""One module for every head: it learns what can be learned, says when it did not, and repeats itself bitwise."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from roberta_lab import tasks
from roberta_lab.config import (
    Config,
    FinetuneConfig,
    InputFormatConfig,
    ModelConfig,
    OptimizerConfig,
    PrecisionConfig,
    TaskConfig,
    TrainerConfig,
)
from roberta_lab.finetuning import Batches, FinetuningModule, best_span, encoder_weights, finetune, to_batch
from roberta_lab.model import Encoder
from roberta_lab.tasks.features import Feature, Sequence
from roberta_lab.tasks.items import Choice, Classification, Item, Span, TaskData
from roberta_lab.tokenizer import Encoding, train_bytelevel_bpe

WORDS = ["red", "blue", "green", "black", "white", "circle", "square", "line"]


@pytest.fixture(scope="module")
def encoding() -> Encoding:
    return Encoding(train_bytelevel_bpe(iter([" ".join(WORDS)] * 5), 290))


def config(head: str, **options: Any) -> Config:
    metric = "f1" if head == "span" else "accuracy"
    return Config(
        model=ModelConfig(1, 32, 2, 64, init_std=0.1),
        input_format=InputFormatConfig(options.pop("input_format", "segment_pair"), 32),
        optimizer=OptimizerConfig(warmup_steps=1),
        precision=PrecisionConfig("fp32"),
        task=TaskConfig("t", "test", head, 2, metric, 32),
        finetune=FinetuneConfig(**{"batch": 16, "lr": 5e-3, "epochs": 4, "dropout": 0.0, **options}),
        trainer=TrainerConfig("cpu"),
    )


def items(head: str, number: int, seed: int) -> list[Item]:
    """Which colour? Is the word there, and where? Which of four is the colour of the text?"""
    draw, found = np.random.default_rng(seed), []
    for i in range(number):
        a, b, c = draw.permutation(5)[:3]
        shape = WORDS[5 + draw.integers(3)]
        if head == "classification":
            found.append(Classification(str(i), f"{WORDS[a]} {shape}", None, int(a < 2)))
        elif head == "span":
            context, there = f"{WORDS[a]} {shape} {WORDS[b]} end", i % 4 > 0
            start = context.index(shape)
            found.append(Span(str(i), "shape" if there else "none", context, (start, start + len(shape)) if there else None))  # fmt: skip
        else:
            place = int(draw.integers(4))
            choices = [WORDS[5 + draw.integers(3)] for _ in range(4)]
            choices[place] = WORDS[c]
            found.append(Choice(str(i), shape, tuple(choices), place))
    return found


def encoder_state(config: Config, vocab_size: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    paired = 2 if config.input_format.name == "segment_pair" else 0
    return Encoder(config.model, vocab_size, config.input_format.max_length, paired).state_dict()


def run(config: Config, encoding: Encoding, path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict, list[dict]]:
    head = config.task.head
    dev = items(head, 60, 1)
    constant = [float(item.answer is None if head == "span" else item.label == 0) for item in dev]
    data = TaskData(items(head, 240, 0), dev, constant)
    monkeypatch.setitem(tasks.FAMILIES, "test", lambda task, corpus: data)
    rows: list[dict] = []
    state = encoder_state(config, encoding.vocab_size)
    return finetune(config, state, encoding, path, path, rows.append), rows


@pytest.mark.parametrize("head", ["classification", "span", "choice"])
def test_each_head_learns_and_its_predictions_are_kept(
    head: str, encoding: Encoding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, rows = run(config(head), encoding, tmp_path, monkeypatch)
    assert result["score"] > 90 and not result["at_chance"] and not result["diverged"], result
    predictions = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    metric = result["metric"]
    assert 100 * sum(p[metric] for p in predictions) / 60 == pytest.approx(result["score"])
    dev = [row[f"dev/{metric}"] for row in rows if f"dev/{metric}" in row]
    assert len(dev) == 4 and max(dev) == result["score"] and dev[result["best_epoch"] - 1] == max(dev)


def test_a_run_that_learns_nothing_says_so(encoding: Encoding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result, _ = run(config("classification", lr=10.0), encoding, tmp_path, monkeypatch)
    assert (result["diverged"], result["at_chance"]) == (True, True), sorted(result.items())


@pytest.mark.parametrize("head", ["classification", "span", "choice"])
def test_a_run_whose_weights_are_nan_ends_and_says_so(
    head: str, encoding: Encoding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, _ = run(config(head, lr=1e38, epochs=1), encoding, tmp_path, monkeypatch)
    assert result["diverged"] and result["at_chance"] and np.isfinite(result["score"]), result


def test_the_learning_rate_is_logged_as_the_optimizer_had_it(
    encoding: Encoding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """60 steps, 4 of warmup, at 5e-3: after the warmup a straight line to 0."""
    _, rows = run(config("classification"), encoding, tmp_path, monkeypatch)
    logged = {row["step"]: row["lr"] for row in rows if "lr" in row}
    assert logged == pytest.approx({step: 5e-3 * (60 - (step - 1)) / 56 for step in (20, 40, 60)})


def test_the_same_seed_gives_the_same_run_and_another_one_another(
    encoding: Encoding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [run(config("choice", epochs=2, seed=s, dropout=0.1), encoding, tmp_path, monkeypatch)[1] for s in (1, 1, 2)]
    assert rows[0] == rows[1] != rows[2]


def test_weights_that_do_not_all_load_are_an_error(encoding: Encoding) -> None:
    cfg = config("classification")
    state = encoder_state(cfg, encoding.vocab_size)
    saved = {"state_dict": {f"model.encoder.{k}": v for k, v in state.items()} | {"model.mlm_bias": torch.zeros(3)}}
    assert encoder_weights(saved).keys() == state.keys()
    FinetuningModule(cfg, encoder_weights(saved), encoding.vocab_size, encoding.pad_id, 1)
    for broken in ({k: v for k, v in state.items() if "norm" not in k}, state | {"extra": torch.zeros(1)}):
        with pytest.raises(RuntimeError, match=r"norm|extra"):
            FinetuningModule(cfg, broken, encoding.vocab_size, encoding.pad_id, 1)
    with pytest.raises(RuntimeError, match="token_types"):
        FinetuningModule(
            config("classification", input_format="full_sentences"), state, encoding.vocab_size, encoding.pad_id, 1
        )


def test_the_encoder_starts_from_the_pretrained_weights_and_heads_from_the_seed(encoding: Encoding) -> None:
    state = encoder_state(config("span"), encoding.vocab_size)
    one, two = (
        FinetuningModule(config("span", seed=s), state, encoding.vocab_size, encoding.pad_id, 1) for s in (1, 2)
    )
    assert all(torch.equal(one.encoder.state_dict()[k], v) for k, v in state.items())
    assert not torch.equal(one.span.weight, two.span.weight)


def test_an_epoch_has_every_item_once_in_batches_of_one_length() -> None:
    draw = np.random.default_rng(0)
    found = [Feature(i, (Sequence([0] * draw.integers(3, 60), []),), (0,)) for i in range(333)]
    batches = Batches(found, config("classification"), 1)
    seen, padding, tokens = [], 0, 0
    for number in range(batches.per_epoch):
        chosen = batches._epoch(2)[number]
        lengths = [len(found[i].sequences[0].ids) for i in chosen]
        seen += chosen.tolist()
        padding, tokens = padding + max(lengths) * len(lengths) - sum(lengths), tokens + sum(lengths)
    assert sorted(seen) == list(range(333)) and padding < 0.1 * tokens
    assert not all((a == b).all() for a, b in zip(batches._batches(0), batches._batches(1), strict=True))


def test_the_best_span_is_that_of_all_pairs() -> None:
    """Against a loop over every (first, last)."""
    ends = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    best = max(((i, j) for i in range(3, 15) for j in range(i, 15)), key=lambda p: ends[p[0], 0] + ends[p[1], 1])
    first, last = best_span(ends, (3, 15))
    assert (first + 3, last + 3) == best


def test_answers_outside_the_context_are_impossible(encoding: Encoding) -> None:
    cfg = config("span")
    module = FinetuningModule(cfg, encoder_state(cfg, encoding.vocab_size), encoding.vocab_size, encoding.pad_id, 1)
    feature = Feature(0, (Sequence([0, 9, 2, 10, 11, 2], [0] * 6),), (3, 4, 1), (3, 5), ((0, 1), (1, 2)))
    batch = to_batch([feature], 1)
    _, ends = module(batch)
    assert ends[0, :, 0].isfinite().tolist() == [False, False, False, True, True, False]
    expected = torch.nn.functional.cross_entropy
    both = [expected(ends[0, :, k][None], torch.tensor([feature.target[k]])) for k in (0, 1)]
    answerable = torch.nn.functional.softplus(-module(batch)[0][0, 0])
    assert module.loss(batch).item() == pytest.approx((sum(both) / 2 + answerable).item(), rel=1e-5)
