"""Runs submitted to a real SLURM and left: they end bitwise as the local launcher's, whatever interrupts them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_slurm import jobs_on_disk
from real_slurm import RealSlurm
from small_run import SMALL, own_text

from roberta_lab.model import checkpoint
from roberta_lab.runs.slurm.script import TOO_SHORT
from roberta_lab.runs.slurm.states import last_error

pytestmark = pytest.mark.slurm

TABLE = ["sweep=table1_masking", "sweep.seeds=[1]", "sweep.tasks=[sst2]", "sweep.finetune_seeds=[1]"]
ONE = ["sweep=table1_masking", "sweep.only=[dynamic]", "sweep.tasks=[]"]
SUBMIT = ["reproduce.launch=slurm", "slurm.cpus=1", "slurm_light.cpus=1"]
MOST = 420.0  # seconds of waiting for anything


class Lab:
    """A folder with a corpus, and commands that are typed in it."""

    def __init__(self, folder: Path, slurm: RealSlurm) -> None:
        self.folder, self.slurm = folder, slurm
        self.words = [*SMALL, *own_text(folder)]
        self.hastened: set[str] = set()

    def types(self, command: str, *words: str, code: int = 0) -> Any:
        """Type a command; return its answer."""
        line = [sys.executable, "-m", "roberta_lab", command, *self.words, *words, "--json"]
        done = subprocess.run(line, cwd=self.folder, env=self.slurm.environment, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    def states(self, *words: str) -> dict[str, Any]:
        """Return the runs of a sweep as `status` shows them, by kind and name."""
        [found] = self.types("status", *words)
        return {f"{run['kind']} {run['run']}": run for run in found["runs"]}

    def waits(self, is_so: Callable[[], bool], poll: float = 0.5, most: float = MOST) -> None:
        deadline = time.monotonic() + most
        while not is_so():
            assert time.monotonic() < deadline, self.slurm.says("squeue") + self.logs()
            time.sleep(poll)

    def is_empty(self) -> bool:
        """Whether the queue is. What was put back waits for seconds, where SLURM would give it two minutes.

        Not for less: SLURM revokes the credential of a job that starts again before its node has forgotten it.
        """
        lines = self.slurm.says(
            "squeue", "--noheader", "--array", "--Format=JobArrayID:|,RestartCnt:|,Reason:|"
        ).splitlines()
        for line in lines:
            if "BeginTime" in line and line not in self.hastened:
                self.hastened.add(line)
                self.slurm.says("scontrol", "update", f"jobid={line.partition('|')[0].strip()}", "starttime=now+8")
        return not lines

    def logs(self) -> str:
        return "\n".join(f"{log.name}: {log.read_text()}" for log in sorted(self.folder.glob("outputs/slurm/*/*.log")))


@pytest.fixture
def lab(slurm: RealSlurm, tmp_path: Path) -> Lab:
    return Lab(tmp_path, slurm)


def made(outputs: Path) -> dict[str, bytes]:
    """What runs have found: rows of metrics, final weights, predictions."""
    patterns = ("*/*/metrics.jsonl", "*/*/checkpoints/*.ckpt", "*/*/predictions*")
    return {
        file.relative_to(outputs).as_posix(): file.read_bytes()
        for pattern in patterns
        for file in outputs.glob(pattern)
    }


def test_table_1_submitted_and_left_is_that_of_the_local_launcher(lab: Lab) -> None:
    start = time.monotonic()
    sent = lab.types("reproduce", *TABLE, *SUBMIT)
    seconds = time.monotonic() - start
    print(f"Table 1 was submitted in {seconds:.1f} s")
    assert seconds < 30 and [job["kind"] for job in sent["submitted"]] == [
        "prepare", *["pretrain"] * 2, *["finetune"] * 2, "table"
    ]  # fmt: skip
    again = lab.types("reproduce", *TABLE, *SUBMIT)
    assert (again["submitted"], again["queued"] + again["complete"]) == ([], 4)
    lab.waits(lab.is_empty)
    assert {run["state"] for run in lab.states(*TABLE).values()} == {"done"}, lab.logs()
    [table] = lab.folder.glob("outputs/tables/table1_masking/*/table.json")
    here = lab.folder / "here"
    lab.types("reproduce", *TABLE, f"paths.outputs={here}")
    ours, theirs = made(lab.folder / "outputs"), made(here)
    assert ours.keys() == theirs.keys() and len(ours) > 8
    assert [name for name in ours if ours[name] != theirs[name]] == []
    nothing = lab.types("reproduce", *TABLE, *SUBMIT)
    assert (nothing["submitted"], nothing["complete"]) == ([], 4) and table.is_file()


def test_preparation_by_an_array_of_three_is_that_of_one_machine(lab: Lab) -> None:
    mix = []
    for name in ("second", "third", "fourth", "fifth"):  # sources of their own: units of their own
        (lab.folder / name).mkdir()
        for i in range(100):
            (lab.folder / name / f"{i}.txt").write_text(
                f"The {name} text number {i} has few words. Another is {i * i}."
            )
        mix.append(f"data_mix.{name}={{kind: text, path: {lab.folder / name}}}")
    sent = lab.types("prepare", *mix, *SUBMIT, "prepare.jobs=3")["submitted"]
    assert [job["kind"] for job in sent] == ["prepare"] * 8
    lab.waits(lab.is_empty)
    account = lab.slurm.says(
        "sacct", "-n", "-P", "-X", f"--jobs={','.join(job['job'] for job in sent)}", "--format=State"
    )
    assert account.split() == ["COMPLETED"] * 8, lab.logs()
    for name, piece in (("corpus", "units"), ("tokens", "parts")):
        made = [int(number) for number in re.findall(rf"{name}: (\d+) of 5 {piece} here", lab.logs())]
        print(f"{name}: {piece} that the jobs made: {made}")
        assert sum(made) == 5
    here = lab.folder / "here"
    lab.types("prepare", *mix, f"paths.outputs={here}")
    ours, theirs = (
        {file.relative_to(cache): file.read_bytes() for file in cache.rglob("*") if file.is_file()}
        for cache in (lab.folder / "outputs" / "cache", here / "cache")
    )
    assert {*ours} == {*theirs} and len(ours) > 30
    assert [name for name in ours if ours[name] != theirs[name] and name.name != "file_scans.json"] == []


def test_requeued_and_out_of_time_a_run_ends_bitwise_as_one_that_went_through(lab: Lab) -> None:
    """An administrator puts the job back, then its time is up. SLURM looks at limits every 30 seconds."""
    long, short = (
        lab.types("pretrain", f"batch_size.steps={steps}", f"paths.outputs={lab.folder / 'trial'}")["seconds"]
        for steps in (800, 200)
    )
    steps = int(600 / max(1.0, long - short) * 120)  # of two minutes, where the limit is one
    words = [*ONE, "sweep.seeds=[3]", f"batch_size.steps={steps}", f"trainer.checkpoint_every_steps={steps}"]
    lab.types("reproduce", *words, *SUBMIT, "slurm.time=30", "slurm.signal_seconds=50")
    [job] = [one for one in jobs_on_disk(lab.folder / "outputs") if one["kind"] == "pretrain"]
    metrics, log = lab.folder / "outputs" / job["run"] / "metrics.jsonl", lab.folder / "outputs" / job["log"]
    lab.waits(lambda: metrics.exists() and metrics.stat().st_size > 0, 0.1)
    lab.slurm.says("scontrol", "requeue", job["job"])
    lab.waits(lambda: not lab.is_empty() and "goes on from step" in log.read_text(), 0.1)
    [seen] = lab.states(*words).values()
    assert (seen["state"], seen["job"]) == ("running", job["job"])
    lab.slurm.says("scontrol", "update", f"jobid={job['job']}", "timelimit=1")
    lab.waits(lambda: "asks SLURM for another turn" in log.read_text(), 0.1)
    [seen] = lab.states(*words).values()
    assert (seen["state"], seen["job"]) == ("preempted", job["job"])
    lab.slurm.says("scontrol", "update", f"jobid={job['job']}", "timelimit=30")
    lab.waits(lab.is_empty)
    [seen] = lab.states(*words).values()
    assert seen["state"] == "done" and log.read_text().count("goes on from step") == 2
    here = lab.folder / "here"
    lab.types("reproduce", *words, f"paths.outputs={here}")
    ours, theirs = made(lab.folder / "outputs"), made(here)
    assert ours[f"{job['run']}/metrics.jsonl"] == theirs[f"{job['run']}/metrics.jsonl"]
    last = f"{job['run']}/checkpoints/step-{steps:09d}.ckpt"  # which also notes how often Lightning began
    own, other = (checkpoint.load(place / last) for place in (lab.folder / "outputs", here))
    for part in ("state_dict", "optimizer_states"):
        torch.testing.assert_close(own[part], other[part], rtol=0, atol=0, equal_nan=True)


def test_a_time_limit_too_short_to_save_anything_ends_the_job(lab: Lab) -> None:
    """Finetuning has no checkpoints on its way."""
    words = ["pretrained=none", "task=pydoc_topic", "finetune.epochs=100000", "finetune.patience=null"]
    lab.types("finetune", *words, *SUBMIT, "slurm.time=1", "slurm.signal_seconds=15")
    lab.waits(lab.is_empty)
    [job] = [one for one in jobs_on_disk(lab.folder / "outputs") if one["kind"] == "finetune"]
    assert last_error(lab.folder / "outputs" / job["log"]) == f"roberta-lab: {TOO_SHORT}."
    assert lab.logs().count("stopped by SIGUSR1") == 1
    account = lab.slurm.says("sacct", "-n", "-P", "-X", "-D", f"--jobs={job['job']}", "--format=State,ExitCode")
    assert account == f"FAILED|{138 - 128}:0\n"  # which is how SLURM shows codes of signals


def test_failing_and_cancelled_jobs_are_shown(lab: Lab) -> None:
    needs = [*TABLE[:1], "sweep.only=[static]", "sweep.seeds=[5]", *TABLE[2:]]
    [failing] = lab.types("finetune", *needs, *SUBMIT)
    assert [job["kind"] for job in failing["submitted"]] == ["finetune"]
    lab.waits(lab.is_empty)
    seen = lab.states(*needs)
    assert seen["finetune static seed 5, sst2 1"]["state"] == "failed"
    assert "is not complete: roberta-lab pretrain" in seen["finetune static seed 5, sst2 1"]["error"]
    assert seen["pretrain static seed 5"]["state"] == "missing"
    words = [*ONE, "sweep.seeds=[6,7]", "batch_size.steps=1000000", "trainer.checkpoint_every_steps=1000000"]
    lab.types("reproduce", *words, *SUBMIT, "slurm.throttle=1")
    jobs = [one for one in jobs_on_disk(lab.folder / "outputs") if one["kind"] == "pretrain"]
    metrics = lab.folder / "outputs" / jobs[0]["run"] / "metrics.jsonl"
    lab.waits(lambda: metrics.exists() and metrics.stat().st_size > 0, 0.1)
    assert [run["state"] for run in lab.states(*words).values()] == ["running", "queued"]
    assert lab.types("cancel", *words)["running"] == 1
    lab.waits(lab.is_empty)
    assert [run["state"] for run in lab.states(*words).values()] == ["cancelled", "cancelled"]
    assert [*metrics.parent.glob("checkpoints/step-*.ckpt")] and not (metrics.parent / "owner.json").exists()
    assert re.search(r"stopped by SIGTERM", lab.logs())


def test_a_job_without_memory_is_shown_as_that_and_another_user_sees_the_same(lab: Lab) -> None:
    """SLURM ends what takes more than it asked for; a process of Python with torch takes more than 100 MB."""
    words = [*ONE, "sweep.seeds=[8]", "batch_size.steps=1000000", "slurm.memory=100M"]
    lab.types("reproduce", *words, *SUBMIT)
    lab.waits(lab.is_empty, most=120)
    [run] = lab.states(*words).values()
    assert run["state"] == "failed" and "memory" in json.dumps(run).lower(), (run, lab.logs())
    for folder in (lab.folder, *lab.folder.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    before = {path: path.stat().st_mtime_ns for path in lab.folder.rglob("*")}
    line = [
        "setpriv",
        "--reuid=nobody",
        "--regid=nogroup",
        "--clear-groups",
        sys.executable,
        "-m",
        "roberta_lab",
        "status",
    ]
    asked = [
        subprocess.Popen(
            [*(line if is_other else line[4:]), *lab.words, *words, "--json"],
            cwd=lab.folder,
            env=lab.slurm.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for is_other in (True, False)
    ]
    (theirs, error), (ours, _) = (one.communicate(timeout=MOST) for one in asked)
    assert asked[0].returncode == 0, error
    assert json.loads(theirs)[0]["runs"] == json.loads(ours)[0]["runs"]
    assert {path: path.stat().st_mtime_ns for path in lab.folder.rglob("*")} == before


# ---------------------------------------------------------------- runs on several processes
TWO = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.threads=1"]


def by_srun(lab: Lab, *words: str) -> subprocess.Popen[str]:
    """Start `pretrain` as two tasks of srun on one node, without a job around it."""
    line = ["srun", "--nodes=1", "--ntasks=2", "--kill-on-bad-exit=1", sys.executable, "-m", "roberta_lab", "pretrain"]
    return subprocess.Popen(
        [*line, *lab.words, *TWO, "trainer.devices=2", *words],
        cwd=lab.folder,
        env=lab.slurm.environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def ranks_of(words: str) -> list[int]:
    """The processes of this machine that have these words in their command, without srun's own; the oldest first."""
    found = subprocess.run(["pgrep", "-f", words], capture_output=True, text=True).stdout.split()
    return [int(one) for one in found if not Path(f"/proc/{one}/cmdline").read_text().startswith("srun")]


def test_two_tasks_of_srun_make_one_run_and_a_submitted_one_on_two_nodes_its_bits(lab: Lab) -> None:
    """Whatever interrupts them: a signal to the step, to the job of the other, and a rank that is killed."""
    words = ["batch_size.steps=600", "trainer.checkpoint_every_steps=600"]
    whole = by_srun(lab, *words, f"paths.outputs={lab.folder / 'whole'}")
    out, error = whole.communicate(timeout=MOST)
    assert whole.returncode == 0 and out.count("held-out perplexity") == 1, error
    [expected] = lab.folder.glob("whole/pretrain/*/metrics.jsonl")

    cut = by_srun(lab, *words, f"paths.outputs={lab.folder / 'cut'}")
    metrics = lab.folder / "cut" / "pretrain" / expected.parent.name / "metrics.jsonl"
    lab.waits(lambda: metrics.exists() and metrics.stat().st_size > 0, 0.05)
    steps = lab.slurm.says("squeue", "--steps", "--noheader", "--format=%i").split()
    [step] = [one for one in steps if one.endswith(".0")]
    lab.slurm.says("scancel", "--signal=USR1", step)
    error = cut.communicate(timeout=MOST)[1]
    assert cut.returncode == 138 and error.count("roberta-lab: stopped by SIGUSR1") == 1, error
    again = by_srun(lab, *words, f"paths.outputs={lab.folder / 'cut'}")
    out, error = again.communicate(timeout=MOST)
    assert "goes on from step" in out, error
    assert metrics.read_bytes() == expected.read_bytes(), "bitwise as the run that went through"

    many = [*words, *TWO, "trainer.nodes=2", "trainer.devices=1"]
    lab.types("pretrain", *many, *SUBMIT)
    [job] = [one for one in jobs_on_disk(lab.folder / "outputs") if one["kind"] == "pretrain"]
    metrics, log = lab.folder / "outputs" / job["run"] / "metrics.jsonl", lab.folder / "outputs" / job["log"]
    lab.waits(lambda: metrics.exists() and metrics.stat().st_size > 0, 0.05)
    assert metrics.parent.name == expected.parent.name, "neither nodes nor devices are part of what a run is"
    lab.slurm.says("scancel", "--batch", "--signal=USR1", job["job"])
    lab.waits(lambda: "asks SLURM for another turn" in log.read_text(), 0.1)
    lab.waits(lab.is_empty)
    assert log.read_text().count("goes on from step") == 1 and metrics.with_name("result.json").exists(), lab.logs()
    assert metrics.read_bytes() == expected.read_bytes()

    long = ["seed=9", "batch_size.steps=1000000", "trainer.checkpoint_every_steps=1000000", *many[2:]]
    lab.types("pretrain", *long, *SUBMIT)
    [job] = [one for one in jobs_on_disk(lab.folder / "outputs") if one["kind"] == "pretrain" and one != job]
    metrics = lab.folder / "outputs" / job["run"] / "metrics.jsonl"
    lab.waits(lambda: metrics.exists() and metrics.stat().st_size > 0, 0.05)
    start = time.monotonic()
    os.kill(ranks_of("roberta_lab pretrain.*seed=9")[-1], signal.SIGKILL)
    lab.waits(lab.is_empty)
    seconds = time.monotonic() - start
    print(f"the job of a killed rank ended after {seconds:.1f} s")
    account = lab.slurm.says("sacct", "-n", "-P", "-X", f"--jobs={job['job']}", "--format=State")
    assert account.startswith("FAILED") and seconds < 60, (account, lab.logs())
