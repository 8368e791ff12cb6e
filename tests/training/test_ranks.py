"""However a batch is cut, into micro-batches and over processes, the step is the same; and no process is left waiting."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import lightning.pytorch as L
import pytest
import torch
import torch.distributed as dist
from meeting import meet
from small_run import SMALL, own_text, wait_for_a_new_checkpoint
from test_pretraining import Store, make, train
from torch import Tensor
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from roberta_lab.axes.batch_size import ALONE, Rank
from roberta_lab.axes.examples import Vocabulary
from roberta_lab.axes.input_format import FORMATS
from roberta_lab.cli import main
from roberta_lab.config import Config, RankDied, TrainerConfig, stopping
from roberta_lab.data.datamodule import PretrainingData
from roberta_lab.model import checkpoint
from roberta_lab.model.objective import Objective
from roberta_lab.model.objectives.mlm import PairLabels
from roberta_lab.runs.tracking import read
from roberta_lab.training import ranks
from roberta_lab.training.child_ranks import ChildRanks
from roberta_lab.training.module import PretrainingModule
from roberta_lab.training.pretraining import build_pretraining_trainer
from roberta_lab.training.rows import Row
from roberta_lab.training.step_end import StepEnd

SIZES = {1: (8, 4, 2, 1), 2: (4, 2, 1)}  # of micro-batches, by number of ranks; a batch is 8 inputs
Step = tuple[dict[str, Any], dict[str, Tensor], int]  # its row, its gradients, the times that ranks exchanged them


class Kept:
    """Rows in memory."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def write(self, row: Row) -> None:
        self.rows.append(row)

    def flush(self) -> None:
        pass

    def saved(self) -> bytes:
        return b""


class FirstGradients(L.Callback):
    """Those of the first step, as the optimizer gets them; and how often DDP exchanged some."""

    def __init__(self) -> None:
        self.found: dict[str, Tensor] = {}
        self.exchanges: list[int] = []

    def on_train_start(self, trainer: Any, module: Any) -> None:
        if trainer.world_size > 1:
            trainer.strategy.model.register_comm_hook(None, self._exchange)

    def _exchange(self, state: Any, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        self.exchanges.append(bucket.index())
        return allreduce_hook(None, bucket)

    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
        if not self.found:
            self.found = {name: p.grad.clone() for name, p in module.named_parameters() if p.requires_grad}


def config_for(name: str, size: int, devices: int, dropout: float = 0.0) -> Config:
    config = make(size, dropout, input_format=name, masking="dynamic")
    config.trainer.devices = devices
    return config


class Stopped(L.Callback):
    """The last rank alone gets a signal, in its fifth micro-batch. Later runs of the same process have not got it."""

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 4 and trainer.global_rank == trainer.world_size - 1:
            os.kill(os.getpid(), signal.SIGUSR1)

    def on_train_end(self, trainer: Any, module: Any) -> None:
        if stopping._listener is not None:
            stopping._listener.first = 0


def fit(
    rank: Rank, config: Config, directory: Path, newest: Path | None = None, *callbacks: L.Callback
) -> tuple[list[dict[str, Any]], FirstGradients]:
    module = PretrainingModule(config, 60, 1)
    data = PretrainingData(
        config, Store(), Store(), Vocabulary(60, 59, (0, 1, 2, 3, 59)), rank, module.objective.fields
    )
    rows, gradients = Kept(), FirstGradients()
    step_end = StepEnd(config, data, rows, directory / "checkpoints")
    fitted = build_pretraining_trainer(config, data, step_end, directory)
    fitted.callbacks += [gradients, *callbacks]
    fitted.fit(module, datamodule=data, ckpt_path=newest)
    return rows.rows, gradients


def every_cut(rank: Rank, directory: Path) -> dict[tuple[str, int], tuple[list[dict[str, Any]], FirstGradients]]:
    """Three steps of each format, in micro-batches of each size."""
    found = {}
    for name in FORMATS:
        for size in SIZES[rank.world_size]:
            config = config_for(name, size, rank.world_size)
            config.batch_size.steps = 3
            found[name, size] = fit(rank, config, directory / f"{name}-{size}")
    return found


def what_two_do(rank: Rank, directory: Path, newest: Path) -> tuple[Any, ...]:
    """All that tests look at, for starting a process takes longer than all of its runs."""
    cuts, config = every_cut(rank, directory), config_for("segment_pair", 2, rank.world_size, 0.1)
    stopped = fit(rank, config, directory / "stopped", None, Stopped())[0]
    dist.barrier()  # rank 0 saves
    own = checkpoint.newest(directory / "stopped" / "checkpoints")
    gone_on = [*stopped, *fit(rank, config, directory / "gone on", own)[0]]
    whole = fit(rank, config, directory / "whole")[0]
    resumed = fit(rank, config, directory / "resumed", newest)[0]
    return cuts, stopped, gone_on, whole, resumed, measured_noise(rank, directory), pairs_alone(rank, directory)


def measured_noise(rank: Rank, directory: Path) -> list[dict[str, Any]]:
    """Two steps in small batches of two inputs, which are the same on one rank and on two."""
    config = config_for("segment_pair", 2, rank.world_size)
    config.batch_size.steps, config.trainer.noise_scale_every = 2, 1
    return fit(rank, config, directory / "noise")[0]


def pairs_alone(rank: Rank, directory: Path) -> tuple[list[dict[str, Any]], FirstGradients]:
    """Three steps of an objective that does not read the MLM head."""
    config = config_for("segment_pair", 2, rank.world_size)
    config.batch_size.steps = 3
    with mock.patch("roberta_lab.training.module.objective_of", lambda _: Objective((PairLabels("nsp", 1.0),))):
        return fit(rank, config, directory / f"{rank.world_size}")


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return every_cut(ALONE, tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What two ranks do, and the folder of one process's run, of which one of theirs goes on at step 3."""
    directory = tmp_path_factory.mktemp("two")
    train(config_for("segment_pair", 8, 1, 0.1), directory / "cut", stop_after=0)
    train(config_for("segment_pair", 2, 1, 0.1), directory / "cut", stop_after=4)
    newest = checkpoint.newest(directory / "cut" / "checkpoints")
    assert newest is not None and checkpoint.step_of(newest) == 3
    with ranks.start(TrainerConfig("cpu", devices=2), directory, what_two_do, directory, newest) as rank:
        return directory, *what_two_do(rank, directory, newest)


def assert_same_steps(found: Any, reference: Any) -> None:
    for (name, size), (rows, gradients) in found.items():
        expected_rows, expected = reference[name, 8]
        assert len(rows) == len(expected_rows) > 3, "a row for each step, and those of validation"
        for row, other in zip(rows, expected_rows, strict=True):
            assert row == pytest.approx(other, rel=1e-5), (name, size)
        whole = torch.cat([g.flatten() for g in expected.found.values()]).norm()
        for key, gradient in gradients.found.items():
            difference = (gradient - expected.found[key]).norm()
            # a gradient of nothing but rounding (of key biases, which softmax does not see) is compared with the whole
            assert difference < 1e-5 * max(expected.found[key].norm(), 1e-2 * whole), (name, size, key)


def test_a_step_does_not_depend_on_micro_batches(one_process: Any) -> None:
    assert set(one_process) == {(name, size) for name in FORMATS for size in SIZES[1]}
    assert "train/nsp_loss" in one_process["segment_pair", 1][0][0]
    assert_same_steps(one_process, one_process)


def test_nor_on_two_ranks_which_stop_together_and_go_on_from_one_and_back(
    one_process: Any, two_processes: Any, tmp_path: Path
) -> None:
    directory, cuts, stopped, gone_on, of_two, resumed, noise, _ = two_processes
    whole, _ = train(config_for("segment_pair", 2, 1, 0.1), tmp_path / "whole")
    assert_same_steps(cuts, one_process)
    for row, alone in zip(noise, measured_noise(ALONE, tmp_path / "alone"), strict=True):
        assert row == pytest.approx(alone, rel=1e-4) and ("train/noise_trace" in row or "val/ppl" in row)
    assert {len(gradients.exchanges) for _, gradients in cuts.values()} == {3}, "one exchange a step, whatever its cut"
    assert [row["step"] for row in stopped if "lr" in row] == [1, 2, 3], "both ranks stop at the same step, and save it"
    assert gone_on == of_two, "and go on to what they would have been, bitwise"
    assert [row["step"] for row in resumed if "lr" in row] == list(range(4, 13))
    for row, expected in zip(resumed, [r for r in whole if r["step"] > 3], strict=True):
        assert row == pytest.approx(expected, rel=1e-5), "with dropout too: the micro-batches are the same"
    two = directory / "resumed" / "checkpoints" / "step-000000009.ckpt"
    back, _ = fit(ALONE, config_for("segment_pair", 8, 1, 0.1), tmp_path / "back", two)
    assert [row["step"] for row in back if "lr" in row] == [10, 11, 12]
    assert back[-1]["tokens_seen"] == whole[-1]["tokens_seen"]


def test_nor_of_an_objective_that_leaves_a_head_unread(two_processes: Any, tmp_path: Path) -> None:
    """For whose gradients DDP would wait."""
    rows, gradients = pairs_alone(ALONE, tmp_path)
    assert "val/nsp_acc" in rows[-1] and not any(name.startswith("model.mlm_") for name in gradients.found)
    assert_same_steps({("segment_pair", 2): two_processes[-1]}, {("segment_pair", 8): (rows, gradients)})


def test_ranks_take_shares_of_one_batch() -> None:
    """Disjoint, together the batch, and with keys for dropout that one process gives the same micro-batches."""

    def batches(size: int, devices: int) -> list[dict[str, Any]]:
        config, vocabulary = config_for("doc_sentences", size, devices), Vocabulary(60, 59, (0, 1, 2, 3, 59))
        data = [PretrainingData(config, Store(), Store(), vocabulary, Rank(r, devices)) for r in range(devices)]
        assert len({len(d.micro_batches) for d in data}) == 1
        return [d.micro_batches[i] for i in range(data[0].accumulation) for d in data]

    alone, shared = batches(2, 1), batches(2, 2)
    assert [b["position"] for b in shared] == [b["position"] for b in alone] == [0, 1, 2, 3]
    assert all(torch.equal(a["input_ids"], b["input_ids"]) for a, b in zip(alone, shared, strict=True))


def test_a_rank_that_ends_badly_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    with (
        pytest.raises(RankDied, match="rank 1 of 2 ended with exit code 1;"),
        ranks.start(TrainerConfig("cpu", devices=2), Path(), meet, "raise") as rank,
    ):
        meet(rank, "meet")
    assert not dist.is_initialized()
    out, err = capfd.readouterr()
    assert err.count("ValueError: something is wrong here") == 1 and "rank 1 met" not in out, "rank 0 prints for all"


def test_a_rank_that_has_ended_well_is_not_dead() -> None:
    """It may end a moment before rank 0 does."""
    others = ChildRanks.__new__(ChildRanks)
    others.looked = time.monotonic()
    for code, said in ((None, None), (0, None), (3, "rank 1 of 2 ended with exit code 3")):
        process: Any = SimpleNamespace(poll=lambda code=code: code, returncode=code)
        others.processes = {Rank(1, 2): process}
        assert others.look() == said and others.have_left() is (code is not None)


def start_meeting(first: str, second: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
    command = [sys.executable, str(Path(__file__).with_name("meeting.py")), first, second]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def children(process: int) -> list[int]:
    """Process ids, from /proc; none of a process that is gone."""
    try:
        return [int(n) for n in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def is_there(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")")[1].split()[0] != "Z"
    except OSError:
        return False


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads process ids from /proc")


def test_a_collective_that_waits_for_a_dead_rank_does_not_wait_for_ever() -> None:
    """As with NCCL: rank 0 is stuck where no exception reaches it."""
    process = start_meeting("wait", "be killed")
    error = process.communicate(timeout=40)[1]
    assert process.returncode == 1
    assert (
        error
        == "roberta-lab: rank 1 of 2 ended with exit code -9; the same command goes on from the last checkpoint.\n"
    )


@needs_proc
def test_ranks_end_with_rank_0() -> None:
    process = start_meeting("meet", "wait")
    deadline = time.monotonic() + 30
    while not (others := children(process.pid)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1.0)
    process.kill()
    process.wait()  # its pipe is the others' too
    assert process.stderr is not None
    process.stderr.close()
    try:
        while any(map(is_there, others)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        for other in filter(is_there, others):
            os.kill(other, signal.SIGKILL)


def pretraining(folder: Path, outputs: str, devices: int, *overrides: str) -> list[str]:
    """The arguments of a command: micro-batches of two, one thread a rank, over the text in `folder`."""
    settings = [*SMALL, "batch_size.steps=40", "trainer.checkpoint_every_steps=4", "trainer.accelerator=cpu"]
    settings += [*own_text(folder), "trainer=ddp", f"trainer.devices={devices}", "trainer.micro_batch_size=2"]
    places = f"paths.outputs={folder / outputs}", f"paths.cache={folder / 'cache'}"
    return ["pretrain", *overrides, *settings, *places, "trainer.threads=1"]


@needs_proc
def test_a_multirun_on_two_ranks_each_and_killed_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two rows are two runs, not four sweeps. A dead rank ends its run, and soon; the same command then ends as one rank does."""
    assert main.main(pretraining(tmp_path, "whole", 1, "masking=static")) == 0
    multirun = pretraining(tmp_path, "cut", 2, "-m", "masking=static,dynamic")
    command = [sys.executable, "-m", "roberta_lab", *multirun]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_for_a_new_checkpoint(tmp_path / "cut", set(), process)
    [job] = children(process.pid)
    [other] = children(job)
    os.kill(other, signal.SIGKILL)
    error = process.communicate(timeout=90)[1]
    assert process.returncode == 1 and not is_there(other)
    assert error.startswith("roberta-lab: rank 1 of 2 ended with exit code -9;") and error.count("\n") == 1
    capsys.readouterr()
    assert main.main(multirun) == 0
    out = capsys.readouterr().out
    assert out.count(": held-out perplexity") == out.count(": complete, ") == 1, "the other run was made meanwhile"
    assert len(list((tmp_path / "cut" / "pretrain").iterdir())) == 2
    [whole] = (tmp_path / "whole").rglob("metrics.jsonl")
    cut = tmp_path / "cut" / "pretrain" / whole.parent.name / "metrics.jsonl"
    expected = read(whole)
    assert [row["step"] for row in expected if "train/mlm_loss" in row] == list(range(1, 41))
    for row, other in zip(read(cut), expected, strict=True):
        assert row == pytest.approx(other, rel=1e-4)
