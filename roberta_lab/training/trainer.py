"""Lightning's Trainer without what this project does itself; what remains is devices, precision and accumulation."""

import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as L
import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.optim import Optimizer

from roberta_lab.axes.batch_size import ALONE, Rank
from roberta_lab.config import Config, stopping
from roberta_lab.model.checkpoint import SealedCheckpointIO
from roberta_lab.training.devices import of_this_machine, on_cuda

PRECISIONS: dict[str, Literal["32-true", "bf16-mixed"]] = {"fp32": "32-true", "bf16": "bf16-mixed"}
FIRST_SCALE = 2.0**16
SMALLEST_SCALE = 2.0**-14  # gradients that overflow with a smaller one are not finite with any


class RetryingHalfPrecision(MixedPrecision):
    """fp16 with a scaled loss, where no step is skipped: one whose gradients overflow is computed again with a smaller scale.

    So steps, schedule and position in the data stay one. The module computes its gradients anew in `gradients_again`.
    A checkpoint holds the scale under this class's name, which must not change.
    """

    scale = FIRST_SCALE  # of the loss of the step at hand

    def __init__(self, device: str) -> None:
        super().__init__("16-mixed", device, torch.amp.GradScaler(device, init_scale=FIRST_SCALE))

    def optimizer_step(  # type: ignore[override]  # as MixedPrecision's own
        self, optimizer: Optimizer, model: Any, closure: Callable[[], Any], **kwargs: Any
    ) -> Any:
        """Take a step; give it up (`leave_out_step` of the module) when its gradients are not finite with any scale."""
        assert self.scaler is not None
        self.scale = scale = first = self.scaler.get_scale()
        result = super().optimizer_step(optimizer, model, closure, **kwargs)
        while self.scaler.get_scale() < scale:  # the gradients were not finite, and nothing has been changed by them
            if scale < SMALLEST_SCALE:
                model.leave_out_step()
                self.scaler.update(first)  # the scale says nothing of the steps to come
                return result
            model.gradients_again()
            self.scale = scale = self.scaler.get_scale()
            if not getattr(optimizer, "_step_supports_amp_scaling", False):
                self.scaler.unscale_(optimizer)
            model.on_before_optimizer_step(optimizer)
            self.scaler.step(optimizer, **kwargs)
            self.scaler.update()
        return result


def joint_norm(tensors: list[Tensor]) -> Tensor:
    """Return the norm of all tensors together, () float32, without waiting for the device.

    torch's public `get_total_norm` takes a call for each tensor on a CPU, this one call for all: two fifths less time.
    """
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors)))


def scale_of(trainer: L.Trainer, optimizer: Optimizer) -> float:
    """Return the factor on the gradients that an optimizer is about to take: fp16's scale, where it takes scaled ones."""
    plugin = trainer.precision_plugin
    # private, as there is no public mark: the one that torch's own GradScaler and Lightning read
    takes_scaled = getattr(optimizer, "_step_supports_amp_scaling", False)
    return plugin.scale if isinstance(plugin, RetryingHalfPrecision) and takes_scaled else 1.0


class NoProfiler(PassThroughProfiler):
    """A profiler that measures nothing. Lightning's own makes a context manager for each of thirty places a step."""

    nothing = nullcontext()

    def profile(self, action_name: str) -> nullcontext[None]:  # type: ignore[override]  # not a generator
        return self.nothing


class JoinedRanks(LightningEnvironment):
    """An environment of processes that `training.ranks` has joined; a run on one device is the only one.

    Lightning would else look for a scheduler around the run. From SLURM's variables it takes its number of processes, submits
    the job again when time is up and leaves `hpc_ckpt` files; from torchrun's it takes a rank.
    """

    def __init__(self, rank: Rank, devices: int) -> None:
        super().__init__()
        self.node, self.local = divmod(rank.number, devices)

    @property
    def creates_processes_externally(self) -> bool:
        return True

    def local_rank(self) -> int:
        return self.local

    def node_rank(self) -> int:
        return self.node

    def teardown(self) -> None:
        """Leave torchrun's variables alone, which the next run of a sweep needs; Lightning would remove one."""


def build_trainer(config: Config, directory: Path, rank: Rank = ALONE, **options: Any) -> L.Trainer:
    """Return a Trainer that prints nothing, logs nothing and saves nothing unasked; with several ranks, one with DDP."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning 2.6 with torch 2.13
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")  # the user's choice: `trainer.workers`
    warnings.filterwarnings(
        "ignore", message="The `srun` command is available"
    )  # nothing is taken from SLURM, see JoinedRanks
    device = "cuda" if on_cuda(config.trainer.accelerator) else "cpu"
    half = [RetryingHalfPrecision(device)] if config.precision.dtype == "fp16" else []
    if rank.world_size > 1:
        options["strategy"] = DDPStrategy(gradient_as_bucket_view=True)
    devices = of_this_machine(config.trainer, rank.world_size)
    trainer = L.Trainer(
        default_root_dir=directory,
        accelerator=config.trainer.accelerator,
        devices=devices,
        num_nodes=max(1, rank.world_size // devices),
        precision=PRECISIONS.get(config.precision.dtype),
        plugins=[SealedCheckpointIO(), JoinedRanks(rank, devices), *half],
        profiler=NoProfiler(),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        limit_val_batches=0,
        **options,
    )
    # Before each micro-batch Lightning broadcasts whether rank 0 got SIGTERM, and waits for the device. Here the ranks agree
    # on that at the end of a step. There is no public switch yet (Lightning-AI/pytorch-lightning, issue 21487, pull 21640).
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]  # see above
    # Its handler of SIGTERM may end ranks at different steps (Lightning-AI/pytorch-lightning, issue 20806), and it takes no
    # other signal unless SLURM is there: `config/stopping.py` takes all. There is no public switch (asked for in issue 5225).
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]  # see above
    return trainer


def fit(trainer: L.Trainer, *arguments: Any, **options: Any) -> None:
    """Call `Trainer.fit`. Lightning turns KeyboardInterrupt into an exit of its own and ignores SIGINT from then on; here
    that is Stopped, and SIGINT stays as it was.
    """
    before = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(*arguments, **options)
    except SystemExit:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)
        stopping.stop(stopping.asked() or signal.SIGINT)


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Use so many CPU threads of torch in the block. Sums depend on their number, so it is restored afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def seed_dropout(device: torch.device, key: int) -> None:
    """Key the random numbers that are drawn next on a device.

    `torch.manual_seed` would do it too. But before CUDA is in use it records a stack trace for each kind of device, every
    time: more work than a small model's step, and memory that is never freed.
    """
    if device.type not in ("cpu", "cuda"):
        torch.manual_seed(key >> 1)
        return
    torch.random.default_generator.manual_seed(key >> 1)
    if device.type == "cuda":
        torch.cuda.manual_seed(key >> 1)
