"""Lightning's Trainer with everything off that the project does itself, exactly; what remains is devices, precision, accumulation."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import DDPStrategy

from roberta_lab.axes.batch_size import ALONE, Rank
from roberta_lab.config import Config
from roberta_lab.model.checkpoint import SealedCheckpointIO
from roberta_lab.training.ranks import on_cuda

PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed"}
FIRST_SCALE = 2.0**16
SMALLEST_SCALE = 2.0**-14  # gradients that overflow with less are no numbers with any


class RetryingHalfPrecision(MixedPrecision):
    """fp16 with a scaled loss. A step whose gradients overflow is computed again with a smaller scale: none is skipped, so
    steps, schedule and position in the data stay one. The module gives its gradients anew by `gradients_again`.

    Its scale is part of a checkpoint.
    """

    def __init__(self, device: str) -> None:
        super().__init__("16-mixed", device, torch.amp.GradScaler(device, init_scale=FIRST_SCALE))

    def optimizer_step(self, optimizer: Any, model: Any, closure: Any, **kwargs: Any) -> Any:
        assert self.scaler is not None
        result = closure()
        self._after_closure(model, optimizer)
        while True:
            scale = self.scaler.get_scale()
            self.scaler.step(optimizer, **kwargs)
            self.scaler.update()
            if self.scaler.get_scale() >= scale:
                return result
            if scale < SMALLEST_SCALE:
                raise FloatingPointError(
                    f"the gradients of step {model.trainer.global_step + 1} are not finite with any loss scale"
                )
            model.gradients_again()


class NoProfiler(Profiler):
    """Lightning times thirty places a step; its own way of not doing so makes a context manager for each."""

    def start(self, action_name: str) -> None:
        pass

    def stop(self, action_name: str) -> None:
        pass

    def profile(self, action_name: str) -> Any:
        return _NOTHING


_NOTHING = nullcontext()


def fit(trainer: L.Trainer, *arguments: Any, **options: Any) -> None:
    """`Trainer.fit`. Lightning turns Ctrl-C and SIGTERM into an exit of its own; here both are KeyboardInterrupt."""
    try:
        trainer.fit(*arguments, **options)
    except SystemExit:
        raise KeyboardInterrupt from None


@contextmanager
def threads(number: int) -> Iterator[None]:
    """So many CPU threads of torch within; sums depend on their number, so what comes after has as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def seed_dropout(device: torch.device, key: int) -> None:
    """Keys what is drawn next on a device. `torch.manual_seed` would do it too, but before CUDA is in use it notes a stack
    trace for each kind of device, every time: more work than a small model's step, and memory that is never freed.
    """
    if device.type not in ("cpu", "cuda"):
        torch.manual_seed(key >> 1)
        return
    torch.random.default_generator.manual_seed(key >> 1)
    if device.type == "cuda":
        torch.cuda.manual_seed(key >> 1)


class JoinedRanks(LightningEnvironment):
    """Processes that roberta_lab/ranks.py has started and joined."""

    def __init__(self, rank: Rank) -> None:
        super().__init__()
        self.rank = rank

    @property
    def creates_processes_externally(self) -> bool:
        return True

    def local_rank(self) -> int:
        return self.rank.number


def build_trainer(config: Config, directory: Path, rank: Rank = ALONE, **options: Any) -> L.Trainer:
    """A Trainer that prints nothing, logs nothing and saves nothing unasked; with several ranks, one that is DDP."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning 2.6 with torch 2.13
    warnings.filterwarnings(
        "ignore", message=".*does not have many workers.*"
    )  # `trainer.workers` is the user's choice
    device = "cuda" if on_cuda(config.trainer.accelerator) else "cpu"
    half = [RetryingHalfPrecision(device)] if config.precision.dtype == "fp16" else []
    if rank.world_size > 1:
        options["strategy"] = DDPStrategy(cluster_environment=JoinedRanks(rank), gradient_as_bucket_view=True)
    trainer = L.Trainer(
        default_root_dir=directory,
        accelerator=config.trainer.accelerator,
        devices=rank.world_size,
        precision=PRECISIONS.get(config.precision.dtype),
        plugins=[SealedCheckpointIO(), *half],
        profiler=NoProfiler(),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        limit_val_batches=0,
        **options,
    )
    # Lightning asks before each micro-batch whether rank 0 was told to stop, and waits for the device to know.
    # Here the ranks agree on that at the end of a step.
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]
    return trainer
