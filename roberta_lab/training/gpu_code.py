"""Choose how a run's steps are executed on a GPU: compiled or as written, launched as graphs, with kernels that repeat their bits.

All of it is circumstance, and is noted beside the cut of the steps. On a CPU nothing is chosen unless `trainer.compile=true`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch

from roberta_lab.axes.batch_size import accumulation, micro_batch_size
from roberta_lab.config import Config, TrainerConfig
from roberta_lab.model.encoder import Layers, PretrainingModel
from roberta_lab.model.flops import forward_flops
from roberta_lab.model.objective import Objective
from roberta_lab.training.devices import on_cuda

# Compiling takes about a minute. It saves some 15 milliseconds of a micro-batch on a GPU of 2022: of a large one by fused code, of a
# small one by launching it as a graph.
REPAID_AFTER = 4_000  # micro-batches
# FLOP of a micro-batch below which an H100 computes faster than a process launches: some 3 milliseconds of kernels
LAUNCHED_AS_GRAPH = 1e12
CUBLAS_WORKSPACE = ":4096:8"  # with which products repeat their bits (CUDA, cuBLAS: results reproducibility)


def is_compiled(config: Config) -> bool:
    """Return whether the run is compiled; `auto` is yes on a GPU with a compiler, if there are enough micro-batches to repay it."""
    trainer = config.trainer
    if trainer.compile != "auto":
        return bool(trainer.compile)
    sequences = config.batch_size.sequences
    passes = accumulation(sequences, trainer.world_size, micro_batch_size(sequences, trainer))
    return on_cuda(trainer.accelerator) and passes * config.batch_size.steps >= REPAID_AFTER and has_compiler()


def has_compiler() -> bool:
    """Return whether PyTorch's compiler for GPUs is installed: a package of its own, which some builds lack."""
    return find_spec("triton") is not None


def has_fixed_shapes(config: Config, objective: Objective) -> bool:
    """Return whether micro-batches are brought to one shape: on a GPU, where the run is compiled."""
    return objective.leaves_dummies_out and is_compiled(config) and on_cuda(config.trainer.accelerator)


def is_launched_as_graph(config: Config, vocab_size: int) -> bool:
    """Return whether a micro-batch is so small that launching its kernels one by one takes longer than they do."""
    length = config.input_format.max_length
    flops = forward_flops(config.model, vocab_size, length, False, config.masking.mask_prob).training
    return flops * micro_batch_size(config.batch_size.sequences, config.trainer) < LAUNCHED_AS_GRAPH


def compile_model(model: PretrainingModel, config: Config, has_fixed_shapes: bool, vocab_size: int) -> bool:
    """Compile what the run's training uses of the model; return whether it is launched as a graph.

    Batches of one shape are taken by embeddings and layers that are compiled as one. For others each layer is compiled, for
    all lengths: all layers have the same code.
    """
    if not is_compiled(config):
        return False
    if has_fixed_shapes:
        as_graph = is_launched_as_graph(config, vocab_size)
        model.encoder.compile_for_one_shape(mode="reduce-overhead" if as_graph else None)
        return as_graph
    for layers in (part for part in model.modules() if isinstance(part, Layers)):  # those of heads too
        for layer in layers:
            layer.compile(dynamic=True)
    return False


def is_deterministic(trainer: TrainerConfig) -> bool | None:
    """Return whether kernels repeat their bits, with the same shapes on the same kind of GPU; None on a CPU, where all do."""
    return trainer.deterministic in ("auto", True) if on_cuda(trainer.accelerator) else None


@contextmanager
def kernels(config: Config) -> Iterator[None]:
    """Use the kernels that the run asks for within the block, and keep compiled code in the cache for the next run."""
    if config.trainer.compile:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(config.paths.cache).absolute() / "compiled"))
    wanted = is_deterministic(config.trainer)
    if wanted is None:
        yield
        return
    fill = torch.utils.deterministic  # its one switch is not declared for type checkers
    before = torch.are_deterministic_algorithms_enabled(), fill.fill_uninitialized_memory  # type: ignore[attr-defined]
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", CUBLAS_WORKSPACE)
    torch.use_deterministic_algorithms(wanted)
    fill.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # else all new memory is written once more
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        fill.fill_uninitialized_memory = before[1]  # type: ignore[attr-defined]
