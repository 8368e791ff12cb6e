"""The pretraining loss: its gradient does not depend on the cut into micro-batches."""

import math
from dataclasses import replace
from unittest import mock

import pytest
import torch
from test_pretraining import Store, make
from torch import Tensor, nn

from roberta_lab.axes.examples import IGNORED, Vocabulary
from roberta_lab.config import ModelConfig
from roberta_lab.data.batch import Batch
from roberta_lab.data.datamodule import PretrainingData, pack
from roberta_lab.model import encoder
from roberta_lab.model.attention import Attention, Packed
from roberta_lab.model.encoder import Layers, PretrainingModel
from roberta_lab.model.metrics import BITS_PER_BYTE, PERPLEXITY, Metric, accuracy
from roberta_lab.model.objective import Objective, States, Sums, Term, encode, own_counts
from roberta_lab.model.objectives.mlm import MaskedTokens, PairLabels, mlm_and
from roberta_lab.training import module
from roberta_lab.training.gpu_code import compile_model

CONFIG = ModelConfig(layers=2, hidden=16, heads=2, ffn=32)


def tiny() -> PretrainingModel:
    torch.manual_seed(0)
    return PretrainingModel(CONFIG, vocab_size=50, max_positions=12, token_types=2, nsp=True).eval()


def micro_batch(start: int, stop: int) -> Batch:
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(4, 50, (6, 10), generator=generator)
    labels = torch.where(torch.rand(6, 10, generator=generator) < torch.arange(1, 7)[:, None] / 10, ids, IGNORED)
    nsp = torch.tensor([0, 1, 1, 0, 1, 0])
    return {"input_ids": ids[start:stop], "labels": labels[start:stop], "next_sentence_label": nsp[start:stop]}


def gradient(cuts: list[int]) -> torch.Tensor:
    model = tiny()
    masked = int((micro_batch(0, 6)["labels"] != IGNORED).sum())
    for start, stop in zip([0, *cuts], [*cuts, 6], strict=True):
        objective = mlm_and("nsp", weight=0.5)
        objective.loss(objective.sums(model, micro_batch(start, stop)), {"masked": masked, "sequences": 6}).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("cuts", [[3], [1], [2, 4], [1, 2, 3, 4, 5]])
def test_the_gradient_does_not_depend_on_the_cut(cuts: list[int]) -> None:
    whole, split = gradient([]), gradient(cuts)
    assert (whole - split).norm() / whole.norm() < 1e-5


@pytest.mark.parametrize(
    "terms", [(MaskedTokens(),), (PairLabels("nsp", 1.0),), (MaskedTokens(), PairLabels("nsp", 1.0))]
)
def test_exactly_the_parameters_that_are_trained_get_gradients(terms: tuple[Term, ...]) -> None:
    """On several devices, DDP waits for the gradients of all parameters that are trained."""
    model, objective = tiny(), Objective(terms)
    model.freeze_heads(objective.reads)
    objective.loss(objective.sums(model, micro_batch(0, 6)), {"masked": 20, "sequences": 6}).backward()
    assert all((p.grad is not None) is p.requires_grad for p in model.parameters())


class SecondEncoder(Term):
    """A term whose head has layers of its own."""

    name, divisor = "second", "tokens"

    def heads(self, model: ModelConfig, vocab_size: int) -> dict[str, nn.Module]:
        return {"second": Layers(replace(model, layers=3))}

    def sums(self, model: PretrainingModel, states: States, batch: Batch) -> Sums:
        hidden = model.heads["second"](states.hidden, Packed(batch["cu_seq_lens"], batch["max_length"]))
        return {"loss": hidden.float().square().sum()}


@pytest.mark.parametrize("checkpointing", [False, True])
def test_layers_of_heads_are_compiled_and_checkpointed_too(
    checkpointing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled, calls = mock.Mock(), mock.Mock(side_effect=encoder.checkpoint)
    monkeypatch.setattr(encoder.Layer, "compile", compiled)
    monkeypatch.setattr(encoder, "checkpoint", calls)
    monkeypatch.setattr(module, "objective_of", lambda _: Objective((SecondEncoder(),)))
    config = make(8)
    config.trainer.compile, config.trainer.activation_checkpointing = True, checkpointing
    made = module.PretrainingModule(config, 60, 1)
    compile_model(made.model, config, False, 60)
    assert compiled.call_count == config.model.layers + 3
    batch = PretrainingData(config, Store(), Store(), Vocabulary(60, 59, (0, 1, 2, 3, 59))).micro_batches[0]
    sums = made.objective.sums(made.model, batch)
    assert calls.call_count == (config.model.layers + 3 if checkpointing else 0)
    made.objective.loss(sums, own_counts(batch)).backward()
    assert all((p.grad is not None) is p.requires_grad for p in made.parameters())


@pytest.mark.parametrize("lengths", [(10, 10), (10, 7)])
def test_another_stack_of_layers_reads_a_batch_packed_or_padded(lengths: tuple[int, int]) -> None:
    """By the model's embeddings and narrower layers, as a second encoder of an objective may."""
    model = tiny()
    narrow, down = Layers(replace(CONFIG, hidden=8, heads=1)).eval(), nn.Linear(16, 8)

    def second(ids: Tensor, positions: Tensor | None, types: Tensor | None, attention: Attention) -> Tensor:
        found: Tensor = narrow(down(model.encoder.embeddings(ids, positions, types)), attention)
        return found

    real = torch.arange(10) < torch.tensor(lengths)[:, None]
    padded = {key: tensor[:2] for key, tensor in micro_batch(4, 6).items()}
    padded |= {"labels": torch.where(real, padded["labels"], IGNORED), "attention_mask": real}
    found = encode(second, padded)
    one = encode(second, pack(padded, 10))
    assert found.hidden.shape == (20, 8) and len(found.masked) == len(one.masked) > 0
    assert torch.equal(found.labels, one.labels)
    for name in ("masked", "firsts"):
        expected, packed = (s.hidden.index_select(0, getattr(s, name).long()) for s in (found, one))
        assert torch.allclose(expected, packed, atol=1e-6)


def test_each_term_is_divided_by_a_count_of_its_own_and_then_weighed() -> None:
    """The weight is one of the trained loss; the metrics are of the term alone."""
    objective, counts = mlm_and("sop", weight=0.5), {"masked": 3, "sequences": 4, "tokens": 100, "bytes": 6}
    sums = {"mlm/loss": 6.0, "sop/loss": 8.0, "sop/correct": 3.0}
    assert float(objective.loss({name: torch.tensor(value) for name, value in sums.items()}, counts)) == 3.0
    trained = {"train/mlm_loss": 2.0, "train/sop_loss": 2.0, "train/sop_acc": 0.75}
    assert objective.metrics(sums, counts, held_out=False) == trained
    held_out = {"val/" + name.partition("/")[2]: value for name, value in trained.items()}
    held_out |= {"val/ppl": pytest.approx(math.e**2), "val/bits_per_nonspace_byte": pytest.approx(1 / math.log(2))}
    assert objective.metrics(sums, counts, held_out=True) == held_out


def test_a_pair_is_right_where_the_likelier_label_is_its_own() -> None:
    model, objective = tiny(), mlm_and("nsp")
    for label, right in ((0, 1.0), (1, 2.0)):
        with torch.no_grad():
            model.nsp_classifier.weight.zero_()
            model.nsp_classifier.bias.copy_(torch.eye(2)[label])
        assert float(objective.sums(model, micro_batch(0, 3))["nsp/correct"]) == right, "labels are 0, 1, 1"


def test_terms_that_declare_nothing_are_shown_by_their_losses() -> None:
    class Silent(Term):
        name, divisor = "silent", "tokens"

    assert mlm_and("sop").declared == (PERPLEXITY, BITS_PER_BYTE, accuracy("sop"))
    assert Objective((MaskedTokens(), Silent())).declared == (PERPLEXITY, BITS_PER_BYTE)
    alone = Objective((Silent(),))
    assert alone.declared == (Metric("silent_loss", lower_is_better=True, digits=3),)
    assert "val/silent_loss" in alone.metrics({"silent/loss": 2.0}, {"tokens": 4}, held_out=True)
