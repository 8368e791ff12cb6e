"""Options of pretraining are read: weights, schedules, optimizers, rules of pairs; and what steps and results say of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_pretraining import Store, make, train

from roberta_lab.axes.examples import Vocabulary
from roberta_lab.config import NspConfig, PrecisionConfig
from roberta_lab.data.datamodule import PretrainingData
from roberta_lab.model.objectives.mlm import PairLabels
from roberta_lab.training import pretraining, trainer
from roberta_lab.training.module import PretrainingModule
from roberta_lab.training.rows import Row


def test_sums_are_known_by_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A term may return them in any order."""
    rows, _ = train(make(), tmp_path / "usual")
    right = PairLabels.sums
    monkeypatch.setattr(PairLabels, "sums", lambda *given: dict(reversed(right(*given).items())))
    assert train(make(), tmp_path / "reversed")[0] == rows


@pytest.mark.parametrize("option", [{"weight": 0.5}, {"schedule": "cosine"}, {"optimizer": "lamb"}])
def test_an_option_is_read(option: dict[str, Any], tmp_path: Path) -> None:
    """Another run than without it, from the same first loss."""
    usual, other = (train(make(**given), tmp_path / str(given))[0] for given in ({}, option))
    assert usual[0]["train/mlm_loss"] == other[0]["train/mlm_loss"]
    assert usual[-1]["val/ppl"] != other[-1]["val/ppl"]


def test_held_out_pairs_are_made_by_the_rule_of_the_run() -> None:
    for rule in ("random", "swapped"):
        data = PretrainingData(make(pairs=rule), Store(), Store(), Vocabulary(60, 59, (0, 1, 2, 3, 59)))
        assert all(f"pairs_{rule}" in plan.counts for plan in (data.validation_plan, data.micro_batches.plans.plan(0)))


def test_runs_of_other_formats_and_tasks_start_from_the_same_weights() -> None:
    """Weights are keyed by name: token types and heads of their own change no other weight, another seed changes all."""

    def weights(nsp: str = "auto", seed: int = 1, **options: Any) -> dict[str, torch.Tensor]:
        config = replace(make(**options), seed=seed)
        return PretrainingModule(replace(config, nsp=NspConfig(nsp)), 60, 1).state_dict()

    usual, unpaired = weights(), weights(input_format="full_sentences")
    for other in (unpaired, weights("off"), weights(input_format="sentence_pair")):
        assert other.keys() <= usual.keys() and all(other[name].equal(usual[name]) for name in other)
    assert usual.keys() - unpaired.keys() == {"model.encoder.embeddings.token_types.weight"} | {
        f"model.nsp_{part}" for part in ("pooler.weight", "pooler.bias", "classifier.weight", "classifier.bias")
    }
    drawn = [name for name in usual if usual[name].dim() == 2]
    assert len({float(usual[name][-1, -1]) for name in drawn}) == len(drawn), "each has draws of its own"
    again = weights(seed=2)
    assert not any(again[name].equal(usual[name]) for name in drawn)
    assert not usual["model.encoder.embeddings.positions.weight"][:2].any()


def test_the_result_holds_what_the_objective_declares() -> None:
    config = make(pairs="swapped")
    module, data = (
        PretrainingModule(config, 60, 1),
        PretrainingData(config, Store(), Store(), Vocabulary(60, 59, (59,))),
    )
    result = pretraining._result(module, data, [Row(12, {"val/ppl": 5.0, "val/sop_acc": 0.5})])
    assert [metric.name for metric in result.declared] == ["ppl", "bits_per_nonspace_byte", "sop_acc"]


@pytest.mark.parametrize("optimizer", ["adamw", "lamb"])
def test_the_norm_of_a_step_is_of_gradients_without_fp16s_scale(
    optimizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fused AdamW takes scaled gradients, LAMB does not; nor does a step that is taken again change the norm."""
    config = make(dropout=0.0, optimizer=optimizer)
    config.batch_size.steps = 2
    exact = [row["train/grad_norm"] for row in train(config, tmp_path / "fp32")[0] if "lr" in row]
    config.precision = PrecisionConfig("fp16")
    for power in (8, 28):
        monkeypatch.setattr(trainer, "FIRST_SCALE", 2.0**power)
        rows, _ = train(config, tmp_path / f"fp16-{power}")
        assert [row["train/grad_norm"] for row in rows if "lr" in row] == pytest.approx(exact, rel=0.01)
