"""One module for every head: it learns what can be learned, says when it did not, and repeats itself bitwise."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from roberta_lab.axes.tokenizer import train_bytelevel_bpe
from roberta_lab.config import (
    Config,
    ConfigError,
    FinetuneConfig,
    InputFormatConfig,
    ModelConfig,
    OptimizerConfig,
    PathsConfig,
    PrecisionConfig,
    TaskConfig,
    TrainerConfig,
)
from roberta_lab.model.encoder import Encoder
from roberta_lab.tasks import finetuning, heads
from roberta_lab.tasks.feature_table import packed
from roberta_lab.tasks.features import Feature, Sequence
from roberta_lab.tasks.finetuning import Batches, Finetuned, FinetuningModule, finetune
from roberta_lab.tasks.initial_model import InitialModel, encoder_weights
from roberta_lab.tasks.items import Choice, Item, Span, Tagging, TaskData, TextItem
from roberta_lab.tasks.metrics import score
from roberta_lab.tasks.task_model import batches_of
from roberta_lab.training import trainer

WORDS = ["red", "blue", "green", "black", "white", "circle", "square", "line"]


METRICS = {"span": "f1", "regression": "pearson", "tagging": "f1"}
LEARNED = ["classification", "regression", "span", "choice", "tagging"]


def trained() -> Tokenizer:
    return train_bytelevel_bpe(iter([" ".join(WORDS)] * 5), 290)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return trained()


RECIPE = {
    "batch": 16,
    "lr": 5e-3,
    "epochs": 4,
    "warmup_ratio": 0.06,
    "weight_decay": 0.1,
    "dropout": 0.0,
    "beta2": 0.98,
}


def config(head: str, path: Path = Path(), **options: Any) -> Config:
    return Config(
        model=ModelConfig(1, 32, 2, 64, init_std=0.1),
        input_format=InputFormatConfig(options.pop("input_format", "segment_pair"), 32),
        optimizer=OptimizerConfig(warmup_steps=1),
        precision=PrecisionConfig("fp32"),
        task=TaskConfig("t", "test", head, 3 if head == "tagging" else 2, METRICS.get(head, "accuracy"), max_length=32),
        finetune=FinetuneConfig(**{**RECIPE, **options}),
        trainer=TrainerConfig("cpu"),
        paths=PathsConfig(str(path), str(path / "cache")),
    )


def item(head: str, i: int, draw: np.random.Generator) -> Item:
    """Which colour? How many of them? Is the word there, and where? Which of four is the colour? Which words are shapes?"""
    a, b, c = draw.permutation(5)[:3]
    shape = WORDS[5 + draw.integers(3)]
    if head == "classification":
        return TextItem(str(i), f"{WORDS[a]} {shape}", None, int(a < 2))
    if head == "regression":
        return TextItem(str(i), f"{WORDS[a]} {shape}", WORDS[b], int(a < 2) + int(b < 2) / 2)
    if head == "tagging":
        words = (WORDS[a], shape, WORDS[b], "unheard-of" * int(draw.integers(1, 3)), WORDS[5 + draw.integers(3)])
        return Tagging(str(i), words, tuple(int(word in WORDS[5:]) for word in words))
    if head == "span":
        context, there = f"{WORDS[a]} {shape} {WORDS[b]} end", i % 4 > 0
        start = context.index(shape)
        return Span(str(i), "shape" if there else "none", context, (start, start + len(shape)) if there else None)
    place = int(draw.integers(4))
    choices = [WORDS[5 + draw.integers(3)] for _ in range(4)]
    choices[place] = WORDS[c]
    return Choice(str(i), shape, tuple(choices), place)


def items(head: str, number: int, seed: int) -> list[Item]:
    draw = np.random.default_rng(seed)
    return [item(head, i, draw) for i in range(number)]


def data_of(head: str) -> TaskData:
    labels = {"classification": ("no", "yes"), "tagging": ("O", "B-shape", "I-shape")}.get(head, ())
    return TaskData(items(head, 240, 0), items(head, 60, 1), labels, {"dev_mm": items(head, 30, 2)})


def start_of(config: Config, tokenizer: Tokenizer, **changes: Any) -> InitialModel:
    torch.manual_seed(0)
    types = 2 if config.input_format.name == "segment_pair" else 0
    state = Encoder(config.model, 290, 32, types).state_dict()
    return InitialModel(**{**dict(model=config.model, weights=state, tokenizer=tokenizer, vocab_size=290, max_length=32, token_types=types), **changes})  # fmt: skip


def run(config: Config, tokenizer: Tokenizer, path: Path, data: TaskData | None = None) -> tuple[Finetuned, list[dict]]:
    rows: list[dict] = []
    return finetune(config, start_of(config, tokenizer), data or data_of(config.task.head), path, rows.append), rows


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("head", LEARNED)
def test_each_head_learns_and_its_predictions_are_kept(head: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    cfg = config(head, tmp_path, epochs=10 if head == "regression" else 4)
    found, rows = run(cfg, tokenizer, tmp_path)
    result, data = found.result, data_of(head)
    assert result.score > 90 and not result.at_chance and not result.diverged, result
    metric = result.metric
    for split, file in (("dev", "predictions.jsonl"), ("dev_mm", "predictions.dev_mm.jsonl")):
        members = data.dev if split == "dev" else data.others[split]
        scores = score(cfg.task, members, read(tmp_path / file))
        assert scores == (result.metrics if split == "dev" else result.others[split])
    assert result.others["dev_mm"][metric] > 80 and result.majority < 80
    dev = [row[f"dev/{metric}"] for row in rows if f"dev/{metric}" in row]
    assert len(dev) == result.epochs and max(dev) == result.score == dev[result.best_epoch - 1]


def test_a_run_that_learns_nothing_says_so(tokenizer: Tokenizer, tmp_path: Path) -> None:
    result = run(config("classification", tmp_path, lr=10.0), tokenizer, tmp_path)[0].result
    assert (result.diverged, result.at_chance) == (True, True), result


@pytest.mark.parametrize("head", LEARNED)
def test_a_run_whose_weights_are_nan_ends_and_says_so(head: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    result = run(config(head, tmp_path, lr=1e38, epochs=1), tokenizer, tmp_path)[0].result
    assert result.diverged and result.at_chance and np.isfinite(result.score), result
    text = (tmp_path / "predictions.jsonl").read_text()
    assert "NaN" not in text and "Infinity" not in text, "which are no JSON"


def test_other_splits_are_predicted_by_the_best_epoch(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each later score is lower, so the first epoch is best; dev once more is then dev."""
    falling = iter(range(100, 0, -1))
    monkeypatch.setattr(finetuning, "score", lambda *given: {**score(*given), "accuracy": float(next(falling))})
    data = replace(data_of("classification"), others={"again": items("classification", 60, 1)})
    found = run(config("classification", tmp_path, epochs=2), tokenizer, tmp_path, data)[0]
    assert (found.result.best_epoch, found.result.epochs) == (1, 2)
    assert (tmp_path / "predictions.again.jsonl").read_text() == (tmp_path / "predictions.jsonl").read_text()


@pytest.mark.parametrize(("metric", "majority"), [("best_f1", 50.0), ("best_exact", 25.0), ("exact", 25.0)])
def test_spans_may_be_chosen_by_any_metric(metric: str, majority: float, tokenizer: Tokenizer, tmp_path: Path) -> None:
    """A quarter has no answer; in the others the second word is right, and the first two have an F1 of 2/3."""
    cfg = config("span", tmp_path, epochs=1)
    cfg.task.metric = metric
    result = run(cfg, tokenizer, tmp_path)[0].result
    assert result.score == result.metrics[metric]
    assert result.majority == pytest.approx(majority)


def test_best_thresholds_need_questions_without_an_answer(tokenizer: Tokenizer, tmp_path: Path) -> None:
    cfg, data = config("span", tmp_path), data_of("span")
    cfg.task.metric = "best_f1"
    data = replace(data, train=[item for item in data.train if isinstance(item, Span) and item.answer])
    with pytest.raises(ConfigError, match=r"^task\.metric=best_f1 needs [^\n]* t has none\. Use task\.metric=f1\.$"):
        run(cfg, tokenizer, tmp_path, data)


def test_f1_is_of_two_classes_also_where_dev_has_but_two_of_three(tokenizer: Tokenizer, tmp_path: Path) -> None:
    cfg, data = config("classification", tmp_path, epochs=1), data_of("classification")
    cfg.task.num_labels = 0
    for labels in (("no", "yes", "maybe"), ("no", "yes")):
        result = run(cfg, tokenizer, tmp_path, replace(data, labels=labels))[0].result
        assert ("f1" in result.metrics) == (len(labels) == 2) == ("f1" in result.others["dev_mm"])


def test_training_stops_when_the_score_has_not_risen_for_so_many_epochs(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The schedule stays that of all epochs: what was trained is the same as without stopping. Luck has as many chances as scores."""
    tried: list[int] = []
    monkeypatch.setattr(finetuning, "share_no_better", lambda *_, num_tried: tried.append(num_tried) or 0.007)
    whole, stopped = (
        run(config("classification", tmp_path, epochs=9, patience=p), tokenizer, tmp_path) for p in (None, 2)
    )
    result = stopped[0].result
    assert result.epochs == result.best_epoch + 2 < 9 == whole[0].result.epochs
    assert stopped[1] == whole[1][: len(stopped[1])]
    assert tried == [9, result.epochs] and whole[0].result.at_chance, "0.007 of resamples are more than 2.5% / 9"
    assert result.at_chance is (0.025 / result.epochs <= 0.007) and result.share_no_better == 0.007


def test_the_learning_rate_is_logged_as_the_optimizer_had_it(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """60 steps, 4 of warmup, at 5e-3: after the warmup a straight line to 0."""
    _, rows = run(config("classification", tmp_path), tokenizer, tmp_path)
    logged = {row["step"]: row["lr"] for row in rows if "lr" in row}
    assert logged == pytest.approx({step: 5e-3 * (60 - (step - 1)) / 56 for step in (20, 40, 60)})


def test_the_same_seed_gives_the_same_run_and_another_one_another(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Bitwise, also when features come from the cache."""
    rows = [run(config("choice", tmp_path, epochs=2, seed=s, dropout=0.1), tokenizer, tmp_path)[1] for s in (1, 1, 2)]
    assert rows[0] == rows[1] != rows[2]


# ---------------------------------------------------------------- starting points
def test_weights_that_do_not_all_load_are_an_error(tokenizer: Tokenizer) -> None:
    cfg = config("classification")
    state = start_of(cfg, tokenizer).weights
    saved = {f"model.encoder.{k}": v for k, v in state.items()} | {"model.mlm_bias": torch.zeros(3)}
    assert encoder_weights(saved, "model.encoder.").keys() == state.keys()
    wrong = {
        "norm": {k: v for k, v in state.items() if "norm" not in k},
        "extra": state | {"extra": torch.zeros(1)},
        "positions": state | {"embeddings.positions.weight": torch.zeros(9, 32)},
    }
    for name, weights in wrong.items():
        with pytest.raises(ConfigError, match=rf"^the pretrained weights do not fit the model: [^\n]*{name}"):
            start_of(cfg, tokenizer, weights=weights).encoder(0.0)
    with pytest.raises(ConfigError, match="token_types"):
        start_of(cfg, tokenizer, token_types=0).encoder(0.0)
    with pytest.raises(ConfigError, match="ids up to 289, but the embedding has 280 rows"):
        start_of(cfg, tokenizer, vocab_size=280)


def test_the_encoder_starts_from_the_pretrained_weights_and_heads_from_the_seed(tokenizer: Tokenizer) -> None:
    start = start_of(config("span"), tokenizer)
    one, two, same = (FinetuningModule(config("span", seed=s), start, "span", 2, 1).model for s in (1, 2, 1))
    assert all(torch.equal(one.encoder.state_dict()[k], v) for k, v in start.weights.items())
    assert not torch.equal(one.head.ends.weight, two.head.ends.weight)
    assert torch.equal(one.head.ends.weight, same.head.ends.weight)
    one.encoder.embeddings.tokens.weight.data.zero_()
    assert start.weights["embeddings.tokens.weight"].any(), "what is trained is a copy"
    random = start_of(config("span"), tokenizer, weights=None)
    one, two = (FinetuningModule(config("span", seed=s), random, "span", 2, 1).model for s in (1, 2))
    assert not torch.equal(one.encoder.embeddings.tokens.weight, two.encoder.embeddings.tokens.weight)


# ---------------------------------------------------------------- batches
def test_an_epoch_has_every_item_once_in_batches_of_one_length() -> None:
    draw = np.random.default_rng(0)
    table = packed(Feature(i, (Sequence([0] * (n := int(draw.integers(3, 60))), [0] * n),), (0,)) for i in range(333))
    batches = Batches(table, config("classification"), 1)
    seen, padding, tokens = [], 0, 0
    for chosen in batches.rows(2):
        lengths = table.longest[chosen]
        seen += chosen.tolist()
        padding, tokens = padding + max(lengths) * len(lengths) - sum(lengths), tokens + sum(lengths)
    assert sorted(seen) == list(range(333)) and padding < 0.1 * tokens
    assert not all((a == b).all() for a, b in zip(batches.rows(0), batches.rows(1), strict=True))
    dev = list(batches_of(table, 500))
    assert sorted(np.concatenate(dev).tolist()) == list(range(333))
    assert all(len(rows) * table.longest[rows].max() <= 500 for rows in dev)


# ---------------------------------------------------------------- losses, by hand
def span_batch() -> dict[str, torch.Tensor]:
    """Three windows of six tokens, three of them context: with the answer, without it, padded."""
    windows = [((3, 4, 1), 6), ((0, 0, 0), 6), ((4, 4, 1), 6)]
    table = packed(Feature(i, (Sequence([0, 9, 2, 10, 11, 12][:n], [0] * n),), t, (3, n), ((0, 1), (1, 2), (2, 3))[: n - 3]) for i, (t, n) in enumerate(windows))  # fmt: skip
    return {k: torch.from_numpy(v) for k, v in table.batch(np.arange(3), 1).items()}


def nll(logits: torch.Tensor, allowed: list[int], target: int) -> float:
    return float(torch.logsumexp(logits[allowed], 0) - logits[target])


def test_the_span_losses_are_those_of_their_definitions() -> None:
    batch = span_batch()
    logits = torch.randn(3, 6, 2, generator=torch.Generator().manual_seed(0))
    ends = heads.load("span")
    targets = [(3, 4), (0, 0), (4, 4)]
    expected = [nll(logits[i, :, k], [0, 3, 4, 5], targets[i][k]) for i in range(3) for k in (0, 1)]
    assert ends.loss({"ends": logits}, batch).item() == pytest.approx(np.mean(expected), rel=1e-5)
    both = heads.load("span with answerability")
    odds = torch.tensor([0.3, -0.2, 1.5])
    there = [float(np.logaddexp(0, -x if y else x)) for x, y in zip(odds.tolist(), (1, 0, 1), strict=True)]
    expected = [nll(logits[i, :, k], [3, 4, 5], targets[i][k]) for i in (0, 2) for k in (0, 1)]
    found = both.loss({"ends": logits, "answerable": odds}, batch).item()
    assert found == pytest.approx(np.mean(expected) + np.mean(there), rel=1e-5), "summed"
    nowhere = {k: v[1:2] for k, v in batch.items()}
    assert both.loss({"ends": logits[1:2], "answerable": odds[1:2]}, nowhere).item() == pytest.approx(
        there[1], rel=1e-5
    )


def test_tags_lose_on_words_first_pieces_only() -> None:
    labels = torch.tensor([[-100, 2, -100, 0, -100], [-100, 1, -100, -100, -100]])
    tags = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    expected = [nll(tags[i, t], [0, 1, 2], int(labels[i, t])) for i, t in ((0, 1), (0, 3), (1, 1))]
    head = heads.load("tagging")
    assert head.loss({"tags": tags}, {"labels": labels}).item() == pytest.approx(np.mean(expected), rel=1e-5)
    assert head.loss({"tags": tags}, {"labels": torch.full_like(labels, -100)}).item() == 0


def test_fp16_whose_first_scale_overflows_takes_every_step(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step is computed again with a smaller scale, with the same dropout; losses stay near those of fp32."""
    monkeypatch.setattr(trainer, "FIRST_SCALE", 2.0**28)
    again, losses = [], {}
    right = FinetuningModule.gradients_again
    monkeypatch.setattr(FinetuningModule, "gradients_again", lambda module: again.append(1) or right(module))
    for dtype in ("fp16", "fp32"):
        cfg = config("classification", tmp_path / dtype, epochs=1, dropout=0.1)
        cfg.precision.dtype = dtype
        (tmp_path / dtype).mkdir()
        monkeypatch.setattr(finetuning, "LOG_EVERY", 1)
        losses[dtype] = [row["train/loss"] for row in run(cfg, tokenizer, tmp_path / dtype)[1] if "train/loss" in row]
    assert len(again) >= 2 and losses["fp16"] == pytest.approx(losses["fp32"], rel=0.05)
