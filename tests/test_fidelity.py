"""The model is BERT's and RoBERTa's: logits, losses, gradients, counts and initialization against `transformers`, in float32.

Tensors are compared by their largest difference, relative to the reference's largest entry. What such a comparison sees is
tested too, with errors planted on our side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from roberta_lab.axes.examples import IGNORED
from roberta_lab.config import ModelConfig
from roberta_lab.data.datamodule import pack
from roberta_lab.model import encoder as model_module
from roberta_lab.model.attention import Packed
from roberta_lab.model.encoder import PAD_ID, PretrainingModel
from roberta_lab.model.huggingface.names import TOKEN_TYPES, state_from_huggingface, state_to_huggingface
from roberta_lab.model.objectives.mlm import mlm_and

transformers = pytest.importorskip("transformers")

TOLERANCE = 1e-5
TINY = ModelConfig(layers=2, hidden=32, heads=4, ffn=48, dropout=0.0, attention_dropout=0.0)
CONFIGS = {"roberta": TINY, "bert": replace(TINY, layer_norm_eps=1e-12)}
LENGTH, VOCABULARY = 24, 60
BASE, LARGE = ModelConfig(12, 768, 12, 3072), ModelConfig(24, 1024, 16, 4096)
ATTENTION = ("eager", "sdpa")


class Pair(NamedTuple):
    """The same weights on both sides."""

    kind: str
    ours: PretrainingModel
    theirs: Any


def their_config(kind: str, config: ModelConfig, vocabulary: int, length: int, **other: Any) -> Any:
    roberta = kind == "roberta"
    make = transformers.RobertaConfig if roberta else transformers.BertConfig
    return make(
        vocab_size=vocabulary,
        hidden_size=config.hidden,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=config.ffn,
        hidden_dropout_prob=config.dropout,
        attention_probs_dropout_prob=config.attention_dropout,
        max_position_embeddings=length + 2 * roberta,
        type_vocab_size=1 if roberta else 2,
        layer_norm_eps=config.layer_norm_eps,
        initializer_range=config.init_std,
        pad_token_id=PAD_ID,
        **other,
    )


def their_model(kind: str, config: Any) -> Any:
    return (transformers.RobertaForMaskedLM if kind == "roberta" else transformers.BertForPreTraining)(config)


def our_model(kind: str, config: ModelConfig, vocabulary: int, length: int) -> PretrainingModel:
    paired = kind == "bert"
    return PretrainingModel(config, vocabulary, length, token_types=2 * paired, nsp=paired)


def pair(kind: str, attention: str = "eager") -> Pair:
    """Weights as after some training: none zero, norms not one, and large enough that every part has a say in the logits."""
    config = CONFIGS[kind]
    torch.manual_seed(1)
    ours = our_model(kind, config, VOCABULARY, LENGTH)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    theirs = their_model(kind, their_config(kind, config, VOCABULARY, LENGTH, attn_implementation=attention))
    missing, unexpected = theirs.load_state_dict(state_to_huggingface(ours.state_dict(), config, kind), strict=False)
    tied = {"roberta": "lm_head.decoder", "bert": "cls.predictions.decoder"}[kind]
    assert set(missing) == {f"{tied}.weight", f"{tied}.bias"} and not unexpected
    return Pair(kind, ours, theirs)


def batch(kind: str, padded: bool) -> dict[str, Tensor]:
    """Four inputs of 24 tokens, or of 24, 17, 9 and 3 and padding; a fifth of the tokens with labels."""
    draw = torch.Generator().manual_seed(2)
    ids = torch.randint(4, VOCABULARY, (4, LENGTH), generator=draw)
    real = torch.arange(LENGTH) < torch.tensor([LENGTH, 17, 9, 3] if padded else [LENGTH] * 4)[:, None]
    chosen = (torch.rand(ids.shape, generator=draw) < 0.2) & real
    chosen[:, 1] = True
    made = {"input_ids": ids.where(real, PAD_ID), "labels": ids.roll(1, 1).where(chosen, IGNORED)}
    if padded:
        made["attention_mask"] = real
    if kind == "bert":
        made["token_type_ids"] = ((torch.arange(LENGTH) > torch.tensor([12, 5, 4, 1])[:, None]) & real).long()
        made["next_sentence_label"] = torch.tensor([0, 1, 1, 0])
    return made


def our_logits(model: PretrainingModel, inputs: Mapping[str, Tensor], packed: bool = False) -> dict[str, Tensor]:
    """Of real positions."""
    if packed:
        tokens = pack(dict(inputs), LENGTH)
        attention = Packed(tokens["cu_seq_lens"], LENGTH)
        types = tokens.get("token_type_ids")
        hidden = model.encoder.hidden_states(tokens["input_ids"], tokens["position_ids"], types, attention)
        real, firsts = hidden, hidden[tokens["cu_seq_lens"][:-1].long()]
    else:
        hidden = model.encoder(inputs["input_ids"], inputs.get("attention_mask"), inputs.get("token_type_ids"))
        real, firsts = hidden[inputs["input_ids"] != PAD_ID], hidden[:, 0]
    found = {"logits": model.mlm_logits(real)}
    return found | ({"nsp logits": model.nsp_logits(firsts)} if model.nsp_classifier is not None else {})


def loss_of(model: PretrainingModel, batch: Any, masked: int, sequences: int) -> Tensor:
    """The loss as training computes it, for a batch with so many masked tokens and inputs."""
    objective = mlm_and("nsp" if model.nsp_classifier is not None else None)
    return objective.loss(objective.sums(model, batch), {"masked": masked, "sequences": sequences})


def our_results(model: PretrainingModel, inputs: dict[str, Tensor], packed: bool = False) -> dict[str, Tensor]:
    """Logits, the loss as training computes it, and its gradient, by name; of rows or of tokens joined end to end."""
    given = pack(inputs, LENGTH) if packed else inputs
    loss = loss_of(model, given, int((inputs["labels"] != IGNORED).sum()), len(inputs["input_ids"]))
    model.zero_grad()
    loss.backward()
    gradients = {f"gradient of {name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {**our_logits(model, inputs, packed), "loss": loss, **gradients}


def their_results(pair: Pair, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same of theirs; gradients go through the map of weights, which only copies."""
    bert, real = pair.kind == "bert", inputs["input_ids"] != PAD_ID
    mask = inputs.get("attention_mask", torch.ones_like(real))  # without one, theirs warns or attends to padding
    found = pair.theirs(**{**inputs, "attention_mask": mask.long()})
    pair.theirs.zero_grad()
    found.loss.backward()
    raw = {name: p.grad for name, p in pair.theirs.named_parameters() if p.grad is not None}
    gradients = state_from_huggingface(raw, pair.ours.encoder.config, pair.kind)
    if not bert:  # their one row of token types, which ours lacks: its gradient is the sum over positions
        positions = gradients["encoder.embeddings.positions.weight"].sum(0)
        torch.testing.assert_close(gradients.pop(TOKEN_TYPES)[0], positions, rtol=1e-4, atol=1e-6)
    logits = found.prediction_logits if bert else found.logits
    return {
        "logits": logits[real],
        **({"nsp logits": found.seq_relationship_logits} if bert else {}),
        "loss": found.loss,
        **{f"gradient of {name}": gradient for name, gradient in gradients.items()},
    }


def differences(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> dict[str, float]:
    """Of each tensor the largest difference over the largest entry of theirs."""
    assert ours.keys() == theirs.keys(), ours.keys() ^ theirs.keys()
    return {name: float((ours[name] - t).detach().abs().max() / t.detach().abs().max()) for name, t in theirs.items()}


# ---------------------------------------------------------------- logits, losses, gradients
@pytest.mark.parametrize("packed", [False, True], ids=["rows", "packed"])
@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("kind", CONFIGS)
def test_logits_losses_and_gradients_are_theirs(kind: str, attention: str, padded: bool, packed: bool) -> None:
    both, inputs = pair(kind, attention), batch(kind, padded)
    found = differences(our_results(both.ours, inputs, packed), their_results(both, inputs))
    assert len(found) == len(list(both.ours.parameters())) + (3 if kind == "bert" else 2)
    assert max(found.values()) < TOLERANCE, sorted(found.items(), key=lambda item: -item[1])[:3]


@pytest.mark.parametrize("kind", CONFIGS)
def test_padded_and_unpadded_paths_are_equal(kind: str) -> None:
    """One padded batch against its inputs one by one, without padding and without a mask: logits, and gradients summed."""
    model, inputs = pair(kind).ours, batch(kind, padded=True)
    masked, lengths = int((inputs["labels"] != IGNORED).sum()), inputs["attention_mask"].sum(1).tolist()
    padded = our_results(model, inputs)
    model.zero_grad()
    parts: list[dict[str, Tensor]] = []
    for i, length in enumerate(lengths):
        one = {k: v[i : i + 1] if v.dim() == 1 else v[i : i + 1, :length] for k, v in inputs.items()}
        del one["attention_mask"]
        loss_of(model, one, masked, len(lengths)).backward()
        parts.append(our_logits(model, one))
    alone = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    gradients = {f"gradient of {name}": p.grad for name, p in model.named_parameters()}
    found = differences({**alone, **gradients}, {k: v for k, v in padded.items() if k != "loss"})
    assert max(found.values()) < TOLERANCE, found


def test_without_token_type_ids_a_paired_model_takes_the_first_row() -> None:
    both, inputs = pair("bert"), {"input_ids": batch("bert", False)["input_ids"]}
    theirs = both.theirs(**inputs)
    ours = both.ours.mlm_logits(both.ours.encoder(inputs["input_ids"]))
    assert differences({"logits": ours}, {"logits": theirs.prediction_logits})["logits"] < TOLERANCE


# ---------------------------------------------------------------- planted errors
def swapped(first: str, second: str) -> Callable[[PretrainingModel, pytest.MonkeyPatch], None]:
    """Query, key and value are thirds of one matrix."""
    thirds = ["query", "key", "value"]

    def plant(model: PretrainingModel, patch: pytest.MonkeyPatch) -> None:
        order = list(range(3))
        a, b = thirds.index(first), thirds.index(second)
        order[a], order[b] = b, a
        with torch.no_grad():
            for layer in model.encoder.layers:
                for part in (layer.qkv.weight, layer.qkv.bias):
                    chunks = [c.clone() for c in part.chunk(3)]
                    part.copy_(torch.cat([chunks[i] for i in order]))

    return plant


def exchanged(first: str, second: str) -> Callable[[PretrainingModel, pytest.MonkeyPatch], None]:
    def plant(model: PretrainingModel, patch: pytest.MonkeyPatch) -> None:
        for where in (model, *model.encoder.layers):
            if hasattr(where, first):
                a, b = getattr(where, first), getattr(where, second)
                setattr(where, first, b)
                setattr(where, second, a)

    return plant


def tanh_gelu(model: PretrainingModel, patch: pytest.MonkeyPatch) -> None:
    """GPT-2's approximation, `gelu_new`."""
    exact = F.gelu
    patch.setattr(model_module.F, "gelu", lambda x: exact(x, approximate="tanh"))


def position_off_by_one(model: PretrainingModel, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(model_module, "POSITION_OFFSET", 1)


def another_eps(model: PretrainingModel, patch: pytest.MonkeyPatch) -> None:
    model.encoder.layers[0].ffn_norm.eps = 1e-3


def another_scale(model: PretrainingModel, patch: pytest.MonkeyPatch) -> None:
    """1 / sqrt(hidden) in place of 1 / sqrt(head)."""
    exact = F.scaled_dot_product_attention
    patch.setattr(
        model_module.F, "scaled_dot_product_attention", lambda *a, **k: exact(*a, **k, scale=TINY.hidden**-0.5)
    )


def no_mask(model: PretrainingModel, patch: pytest.MonkeyPatch) -> None:
    forward = model.encoder.forward
    patch.setattr(model.encoder, "forward", lambda ids, mask=None, types=None: forward(ids, None, types))


def no_tie(model: PretrainingModel, patch: pytest.MonkeyPatch) -> None:
    """The same logits, another gradient."""
    weight, bias = model.output_layer
    patch.setattr(PretrainingModel, "output_layer", property(lambda model: (weight.detach(), bias)))


def scaled_by_frequency(model: PretrainingModel, patch: pytest.MonkeyPatch) -> None:
    """The same logits, another gradient of tokens that stand in the input more than once."""
    model.encoder.embeddings.tokens.scale_grad_by_freq = True


PLANTED = {
    "query and key swapped": swapped("query", "key"),
    "key and value swapped": swapped("key", "value"),
    "norms exchanged": exchanged("attention_norm", "ffn_norm"),
    "gelu_new": tanh_gelu,
    "positions off by one": position_off_by_one,
    "another eps": another_eps,
    "another scale": another_scale,
    "padding attended to": no_mask,
    "output matrix not tied": no_tie,
    "gradients scaled by frequency": scaled_by_frequency,
}


def attends_to_neighbours(model: PretrainingModel, patch: pytest.MonkeyPatch) -> None:
    """As if all tokens were one input."""
    exact = Packed.__call__

    def joined(self: Packed, query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
        return exact(self._replace(cu_seq_lens=self.cu_seq_lens[[0, -1]]), query, key, value, dropout)

    patch.setattr(Packed, "__call__", joined)


PLANTED_IN_PACKED = {"neighbours attended to": attends_to_neighbours}
PLANTED_IN_PAIRS = {"pooler is the MLM's dense": exchanged("nsp_pooler", "mlm_dense")}


@pytest.mark.parametrize(
    ("kind", "name", "packed"),
    [
        *((kind, name, False) for kind in CONFIGS for name in PLANTED),
        *((kind, name, True) for kind in CONFIGS for name in {**PLANTED, **PLANTED_IN_PACKED} if PLANTED.get(name) is not no_mask),
        *(("bert", name, packed) for name in PLANTED_IN_PAIRS for packed in (False, True)),
    ],
)  # fmt: skip
def test_a_planted_error_is_seen(kind: str, name: str, packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    both, inputs = pair(kind), batch(kind, padded=True)
    theirs = their_results(both, inputs)
    assert max(differences(our_results(both.ours, inputs, packed), theirs).values()) < TOLERANCE
    (PLANTED | PLANTED_IN_PACKED | PLANTED_IN_PAIRS)[name](both.ours, monkeypatch)
    assert max(differences(our_results(both.ours, inputs, packed), theirs).values()) > 10 * TOLERANCE


# ---------------------------------------------------------------- counts
def count(tensors: Iterator[Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)


@pytest.mark.parametrize(
    ("kind", "config", "vocabulary", "published"),
    [
        ("roberta", BASE, 50265, 124_697_433),
        ("roberta", LARGE, 50265, 355_412_057),
        ("bert", replace(BASE, layer_norm_eps=1e-12), 30522, 110_106_428),
        ("bert", replace(LARGE, layer_norm_eps=1e-12), 30522, 336_226_108),
    ],
)
def test_parameters_are_as_many_as_theirs(kind: str, config: ModelConfig, vocabulary: int, published: int) -> None:
    """Ours lacks RoBERTa's one row of token types, which is zeros there; BERT's lacks our two rows before the positions."""
    with torch.device("meta"):
        ours = our_model(kind, config, vocabulary, 512)
        theirs = their_model(kind, their_config(kind, config, vocabulary, 512))
    assert count(theirs.parameters()) == published
    mapped = state_to_huggingface(ours.state_dict(), config, kind)
    shapes = {name: p.shape for name, p in theirs.named_parameters()}
    assert {name: tensor.shape for name, tensor in mapped.items()} == shapes
    assert count(ours.parameters()) == published + (-1 if kind == "roberta" else 2) * config.hidden


# ---------------------------------------------------------------- initialization
def assert_initialized(state: Mapping[str, Tensor], std: float, pad_id: int) -> None:
    """N(0, std) in every matrix, zeros and ones elsewhere; five standard errors of mean, variance and the share of tails."""
    for name, parameter in state.items():
        tensor = parameter.detach()
        if tensor.dim() == 1:
            assert (tensor == float("norm.weight" in name)).all(), name
            continue
        if name.endswith("tokens.weight"):
            assert not tensor[pad_id].any()
            tensor = torch.cat([tensor[:pad_id], tensor[pad_id + 1 :]])
        if name.endswith("positions.weight"):
            tensor = tensor[2:]
        n, z = tensor.numel(), tensor.flatten() / std
        assert abs(float(z.mean())) < 5 / math.sqrt(n), name
        assert abs(float(z.square().mean()) - 1) < 5 * math.sqrt(2 / n), name
        tail = math.erfc(2 / math.sqrt(2))  # a normal beyond two standard deviations; a truncated one has none there
        assert abs(float((z.abs() > 2).float().mean()) - tail) < 5 * math.sqrt(tail * (1 - tail) / n), name


@pytest.mark.parametrize("std", [0.02, 0.05])
@pytest.mark.parametrize("kind", CONFIGS)
def test_initialization_is_theirs(kind: str, std: float) -> None:
    config = replace(CONFIGS[kind], hidden=128, ffn=512, init_std=std)
    torch.manual_seed(5)
    ours = our_model(kind, config, 1000, 128)
    assert_initialized(ours.state_dict(), std, PAD_ID)
    assert not ours.encoder.embeddings.positions.weight[:2].any(), "rows that nothing reads are zeros"
    theirs = their_model(kind, their_config(kind, config, 1000, 128))
    assert_initialized(state_from_huggingface(dict(theirs.named_parameters()), config, kind), std, PAD_ID)


@pytest.mark.parametrize(
    "name", ["mlm_dense.weight", "encoder.embeddings.tokens.weight", "mlm_norm.weight", "mlm_bias"]
)
@pytest.mark.parametrize("factor", [1.2, "truncated", "zeros", "ones"])
def test_other_initializations_are_seen(name: str, factor: float | str) -> None:
    config = replace(TINY, hidden=128)
    torch.manual_seed(5)
    state = our_model("roberta", config, 1000, 128).state_dict()
    fresh = torch.nn.init.trunc_normal_(torch.empty(state[name].shape), 0, 0.02, -0.04, 0.04)
    made = {"truncated": fresh, "zeros": torch.zeros_like(fresh), "ones": torch.ones_like(fresh)}
    state[name] = made[factor] if isinstance(factor, str) else state[name] * factor
    fits = (name, factor) in (("mlm_norm.weight", "ones"), ("mlm_bias", "zeros"), ("mlm_bias", 1.2))
    if fits:
        assert_initialized(state, 0.02, PAD_ID)
    else:
        with pytest.raises(AssertionError):
            assert_initialized(state, 0.02, PAD_ID)


def test_no_gradient_and_no_decay_moves_the_rows_that_nothing_reads() -> None:
    model = pair("bert").ours
    with torch.no_grad():
        model.encoder.embeddings.positions.weight[:2] = 0
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    our_results(model, batch("bert", padded=True))
    optimizer.step()
    positions = model.encoder.embeddings.positions.weight
    assert not positions[:2].any() and positions[2:].any()
