"""The batch script, run by bash in place of SLURM: signals reach the command, and another turn is asked for when that helps."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_slurm import FakeSlurm
from fake_slurm import cluster as cluster

from roberta_lab.config import SlurmConfig
from roberta_lab.runs.slurm import script
from roberta_lab.runs.slurm.script import Task

# in place of Python: it notes its words, then waits for a signal, on which it may save and leaves as the program does
PROGRAM = """#!/bin/bash
printf '%s\\n' "$@" > words
trap '{saves}; exit 138' USR1
trap '{saves}; exit 140' USR2
trap '{saves}; exit 143' TERM
touch ready
for i in $(seq 400); do sleep 0.02; done
exit 3
"""
SAVES = "mkdir -p run/checkpoints; echo weights > run/checkpoints/step-000000007.ckpt"


def job(
    folder: Path, number: signal.Signals, saves: str, time_limit: str | None = "1", kind: str = "pretrain"
) -> tuple[int, str]:
    """Run the second job of an array, send its shell a signal; return the exit code and what it printed."""
    (folder / "program").write_text(PROGRAM.format(saves=saves))
    (folder / "program").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "executable", str(folder / "program"))
        tasks = [
            Task(kind, "other", ("seed=1",), (Path("other"),)),
            Task(kind, "own", ("it's=[a b,'c']", "$x"), (Path("run"), Path("skipping"))),
        ]
        text = script.text("title", tasks, SlurmConfig(time=time_limit))
    (folder / "job.sh").write_text(text)
    around = {**os.environ, "SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "1"}
    process = subprocess.Popen(
        ["bash", str(folder / "job.sh")], env=around, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    deadline = time.monotonic() + 20
    while not (folder / "ready").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.005)
    process.send_signal(number)
    printed = process.communicate(timeout=20)[0]
    return process.returncode, printed


@pytest.mark.parametrize(("number", "own"), [(signal.SIGUSR1, 138), (signal.SIGUSR2, 140)])
def test_a_run_that_saved_asks_for_one_more_turn_and_ends_with_its_own_code(
    cluster: FakeSlurm, tmp_path: Path, number: signal.Signals, own: int
) -> None:
    code, printed = job(tmp_path, number, SAVES)
    assert (code, cluster.calls("scontrol")) == (own, [["requeue", "7_1"]])
    assert "too short" not in printed
    assert (tmp_path / "words").read_text().split("\n")[:5] == ["-m", "roberta_lab", "pretrain", "it's=[a b,'c']", "$x"]


def test_a_time_limit_too_short_for_anything_is_said_and_not_looped_on(cluster: FakeSlurm, tmp_path: Path) -> None:
    code, printed = job(tmp_path, signal.SIGUSR1, "mkdir -p run; echo row > run/metrics.jsonl")  # no checkpoint
    assert (code, cluster.calls("scontrol")) == (138, [])
    assert printed == f"roberta-lab: {script.TOO_SHORT}.\n"


def test_of_a_table_nothing_is_saved(cluster: FakeSlurm, tmp_path: Path) -> None:
    """Its folder is that of the submission, where its own log grows; what a preparation has made stays."""
    for kind, calls in (("table", []), ("prepare", [["requeue", "7_1"]])):
        (tmp_path / kind).mkdir()
        assert job(tmp_path / kind, signal.SIGUSR1, "mkdir -p run; echo line > run/own.log", kind=kind)[0] == 138
        assert cluster.calls("scontrol") == calls


def test_a_run_that_begins_to_leave_steps_out_saves_in_another_folder(cluster: FakeSlurm, tmp_path: Path) -> None:
    assert job(tmp_path, signal.SIGUSR1, SAVES.replace("run/", "skipping/"))[0] == 138
    assert cluster.calls("scontrol") == [["requeue", "7_1"]]


def test_what_an_earlier_turn_saved_is_no_progress_of_this_one(cluster: FakeSlurm, tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "step-000000003.ckpt").write_text("weights")
    assert job(tmp_path, signal.SIGUSR1, "true")[0] == 138 and cluster.calls("scontrol") == []


def test_a_signal_long_before_the_limit_is_a_preemption_whatever_was_saved(cluster: FakeSlurm, tmp_path: Path) -> None:
    assert job(tmp_path, signal.SIGUSR1, "true", "1:00:00")[0] == 138
    assert cluster.calls("scontrol") == [["requeue", "7_1"]]


def test_the_time_limit_is_due_from_the_signal_on() -> None:
    """A little before, as SLURM may send it early by some seconds."""
    config = SlurmConfig(time="1:00:00", signal_seconds=600)
    assert '[ "$SECONDS" -ge 2850 ]' in script.text("", [Task("pretrain", "a", (), (Path("a"),))], config)


def test_after_sigterm_slurm_decides(cluster: FakeSlurm, tmp_path: Path) -> None:
    """It is sent to cancelled jobs too, which must not come back."""
    assert job(tmp_path, signal.SIGTERM, SAVES)[0] == 143
    assert cluster.calls("scontrol") == [] and (tmp_path / "run/checkpoints/step-000000007.ckpt").exists()


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("90", 5400),
        ("1:30", 90),
        ("1:30:00", 5400),
        ("2-12", 216_000),
        ("1-0:30", 88_200),
        ("1-00:00:05", 86_405),
        (None, None),
    ],
)
def test_time_limits_are_read_as_slurm_reads_them(said: str | None, seconds: int | None) -> None:
    assert script.seconds(said) == seconds


def test_only_pretraining_has_several_gpus() -> None:
    """Of eight that are asked for, finetuning has one."""
    config = SlurmConfig(gpus=8, cpus=64, throttle=4, lines=["--qos=long"], time="2-00:00:00")
    wide, small = (
        set(script.options([Task(kind, "a", (), (Path("a"),))] * 10, config, Path("log")))
        for kind in ("pretrain", "finetune")
    )
    assert {"--gpus-per-node=8", "--cpus-per-task=64", "--array=0-9%4"} <= wide
    assert {
        "--gpus-per-node=1",
        "--cpus-per-task=64",
        "--qos=long",
        "--requeue",
        "--open-mode=append",
        "--time=2-00:00:00",
    } <= small


def test_srun_starts_the_processes_of_a_run_on_several_nodes() -> None:
    """With the CPUs that sbatch's option gives a process; those of one node are started by the command itself."""
    config, log = SlurmConfig(gpus=8, cpus=64), Path("log")
    many, one = (Task("pretrain", "a", (), (Path("a"),), nodes=nodes, devices=8) for nodes in (4, 1))
    options = {*script.options([many], config, log)}
    assert {"--nodes=4", "--ntasks-per-node=8", "--cpus-per-task=8", "--gpus-per-node=8"} <= options
    started = "program=(srun --nodes=4 --ntasks-per-node=8 --cpus-per-task=8 --distribution=block --kill-on-bad-exit=1 "
    assert started in script.text("", [many], config)
    options = {*script.options([one], config, log)}
    assert "--cpus-per-task=64" in options and not [o for o in options if o.startswith(("--nodes", "--ntasks"))]
    assert "(srun" not in script.text("", [one], config)
