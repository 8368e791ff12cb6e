"""What finetuning asks of its device: kernels that repeat their bits, one place and precision for all splits, less memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_finetuning import config, items, run, span_batch, trained
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from roberta_lab.model import encoder
from roberta_lab.runs import known_words
from roberta_lab.tasks import finetuning, heads
from roberta_lab.tasks.items import TaskData
from roberta_lab.tasks.task_model import TaskModel, predict


class Kernels(TorchDispatchMode):
    """The names of the kernels that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["span", "span with answerability"])
def test_losses_of_spans_need_no_kernel_that_never_repeats_its_bits(name: str) -> None:
    """On CUDA nll_loss2d raises where kernels must be deterministic."""
    head, batch = heads.load(name), span_batch()
    outputs = {"ends": torch.randn(3, 6, 2, requires_grad=True), "answerable": torch.randn(3, requires_grad=True)}
    with Kernels() as called:
        head.loss(outputs, batch).backward()
    assert any("nll_loss_" in kernel for kernel in called.names)
    assert not [kernel for kernel in called.names if "nll_loss2d" in kernel]


def test_losses_of_spans_are_cross_entropy_of_both_ends() -> None:
    """Values and gradients are those of torch's own cross-entropy of (B, T, 2)."""
    batch, draw = span_batch(), torch.Generator().manual_seed(0)
    ours, theirs = (torch.randn(3, 6, 2, generator=draw.manual_seed(1)).requires_grad_() for _ in range(2))
    found = heads.load("span").loss({"ends": ours}, batch)
    outside = ~batch["context"]
    outside[:, 0] = False
    expected = F.cross_entropy(theirs.masked_fill(outside[:, :, None], -torch.inf), batch["target"][:, :2].long())
    found.backward()
    expected.backward()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_other_splits_are_predicted_on_the_run_s_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning leaves the model on the CPU when training ends: it goes back before test, in the run's precision."""
    events: list[str] = []
    monkeypatch.setattr(finetuning, "device_of", lambda accelerator: f"that of {accelerator}")
    monkeypatch.setattr(TaskModel, "to", lambda model, device: events.append(device) or model)

    def noted(model: TaskModel, task: Any, these: Any, table: Any, pad_id: int, precision: Any) -> Any:
        with precision():
            events.append(f"{len(these)} items, bf16 {torch.is_autocast_enabled('cpu')}")
        return predict(model, task, these, table, pad_id, precision)

    monkeypatch.setattr(finetuning, "predict", noted)
    cfg = config("classification", tmp_path, epochs=1)
    cfg.precision.dtype = "bf16"
    own = [items("classification", number, number) for number in (32, 12, 3, 4)]
    run(cfg, trained(), tmp_path, TaskData(own[0], own[1], ("no", "yes"), {"test": own[2], "more": own[3]}))
    assert events == ["12 items, bf16 True", "that of cpu", "3 items, bf16 True", "4 items, bf16 True"]


def test_checkpointing_computes_layers_again_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, right, rows = list[int](), encoder.checkpoint, []
    monkeypatch.setattr(encoder, "checkpoint", lambda *given, **how: calls.append(1) or right(*given, **how))
    own = items("classification", 48, 0)
    for wanted in (False, True):
        cfg = config("classification", tmp_path, epochs=1, dropout=0.1)
        cfg.trainer.activation_checkpointing = wanted
        rows.append(run(cfg, trained(), tmp_path, TaskData(own, own[:12], ("no", "yes")))[1])
        assert len(calls) == (3 if wanted else 0), "of one layer in three steps"
    assert rows[0] == rows[1]


def test_words_for_accumulation_say_that_finetuning_has_none() -> None:
    said = known_words.meaning("gradient_accumulation_steps")
    assert "trainer.micro_batch_size in pretraining" in said and said.endswith("finetuning takes finetune.batch whole.")
