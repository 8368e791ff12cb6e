"""Faults of processes, injected into real commands: jobs that die, signals, kills, hangs, several commands at once.

Each function takes the number of tries, a folder, and a seed for the moments; it returns rows (what, survived, exit code, message).
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from roberta_lab.config.processes import children_of, stat
from roberta_lab.data.loader_watch import PATIENCE
from roberta_lab.runs.tracking import read

Found: TypeAlias = tuple[str, bool, int | None, str]
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2]
END_SECONDS = 5.0  # in which the children of a command that is gone must be gone too
INJECTED = Path(__file__).parent / "injected"
SMALL = [
    *("logger.wandb=off", "trainer.progress=false", "trainer.accelerator=cpu", "trainer.threads=1", "optimizer.warmup_steps=2"),
    *("batch_size.sequences=4", "batch_size.steps=400", "trainer.checkpoint_every_steps=50", "trainer.num_validations=4"),
    *("data_mix.train_tokens=3000", "data_mix.validation_tokens=1000", "tokenizer.vocab_size=300", "input_format.max_length=32"),
    *("model.layers=1", "model.hidden=32", "model.heads=2", "model.ffn=64", "finetune.epochs=1"),
]  # fmt: skip
TABLE = ["sweep=table1_masking", "sweep.seeds=[1]", "sweep.tasks=[]", "trainer.jobs=2"]


def small(folder: Path, outputs: str) -> list[str]:
    """The settings of runs of seconds on the docstrings of this Python, prepared once for all commands of a folder."""
    return [*SMALL, f"paths.outputs={folder / outputs}", f"paths.cache={folder / 'cache'}"]


def start(words: list[str], fault: str = "", limit: float = 60.0) -> subprocess.Popen[str]:
    """Start a command in a group of its own, in whose processes the fault happens."""
    path = [str(INJECTED), *sys.path] if fault else sys.path
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in path), "FAULT": fault}
    return subprocess.Popen(
        [sys.executable, "-m", "roberta_lab", *words],
        env=environment | {"OMP_NUM_THREADS": "1", "FAULT_LIMIT": str(limit)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finished(words: list[str], fault: str = "", seconds: float = 300) -> tuple[int, str]:
    """Run a command to its end; return its exit code and what it said on standard error."""
    process = start(words, fault)
    error = process.communicate(timeout=seconds)[1]
    return process.returncode, error


def all_gone(processes: list[int], seconds: float = END_SECONDS) -> bool:
    """Return whether the processes are gone in so many seconds."""
    deadline = time.monotonic() + seconds
    while left := [one for one in processes if (found := stat(one)) is not None and not found.is_dead]:
        if time.monotonic() > deadline:
            for one in left:
                os.kill(one, signal.SIGKILL)
            return False
        time.sleep(0.05)
    return True


def takes(process: int, number: int) -> bool:
    """Return whether a process has a handler for a signal: before, the system ends it."""
    status = Path(f"/proc/{process}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def last_line(error: str) -> str:
    return (error.strip().splitlines() or [""])[-1]


def rows_of(outputs: Path) -> dict[str, bytes]:
    """The rows of every run below, without what depends on the clock."""
    return {path.parent.name: path.read_bytes() for path in outputs.glob("*/*/metrics.jsonl")}


def nothing_lost(outputs: Path) -> bool:
    """Return whether every pretraining run has a checkpoint of its last row, or none of either."""
    for path in (outputs / "pretrain").glob("*/metrics.jsonl"):
        steps = [row.step for row in read(path)]
        saved = [int(file.stem.removeprefix("step-")) for file in (path.parent / "checkpoints").glob("step-*.ckpt")]
        if max(steps, default=0) != max(saved, default=0):
            return False
    return True


# ---------------------------------------------------------------- signals and kills
def _whole(folder: Path) -> dict[str, bytes]:
    """The rows of a table that was left alone."""
    if not (folder / "whole").exists():
        code, error = finished(["reproduce", *TABLE, *small(folder, "whole")])
        assert code == 0, error
    return rows_of(folder / "whole")


def _ends(name: str, words: list[str], folder: Path, tries: int, seed: int, longest: float) -> list[Found]:
    """Give a command each signal in turn, the process alone or its whole group, and look at what it leaves."""
    draw, rows = random.Random(seed), []
    for number in range(tries):
        sent, group, wait = SIGNALS[number % len(SIGNALS)], bool(draw.getrandbits(1)), draw.uniform(0.05, longest)
        outputs = folder / f"{name}{number}"
        process = start([*words, *small(folder, outputs.name)])
        time.sleep(wait)
        children, has_begun = children_of(process.pid), takes(process.pid, sent)
        (os.killpg if group else os.kill)(process.pid, sent)
        try:
            error = process.communicate(timeout=60)[1]
        except subprocess.TimeoutExpired:
            process.kill()
            error = f"HANGS: {process.communicate()[1]}"
        children = [*children, *children_of(process.pid)]
        over = process.returncode == 0 and wait > longest / 2  # it was done before
        # while Python itself starts, the system ends it; a shell says 128 + the number for that, too
        ended = process.returncode == 128 + sent or (process.returncode == -sent and not has_begun and not error)
        good = all_gone(children) and (over or ended) and nothing_lost(outputs)
        said = [line for line in error.splitlines() if line]
        good = good and "Traceback" not in error and "leaked" not in error and len(said) <= 4
        what = f"{name}: {sent.name} to the {'group' if group else 'process'} after {wait:.2f} s"
        rows.append((what, good, process.returncode, last_line(error) if good else error[-2000:]))
    return rows


def signals(tries: int, folder: Path, seed: int) -> list[Found]:
    """`reproduce` with two jobs side by side, `pretrain`, `finetune`, `prepare`; a quarter of the tries each."""
    _whole(folder)
    part = -(-tries // 4)
    found = _ends("reproduce", ["reproduce", *TABLE], folder, part, seed, 12.0)
    found += _ends("pretrain", ["pretrain"], folder, part, seed + 1, 9.0)
    found += _ends("finetune", ["finetune", "pretrained=none", "task=pydoc_topic"], folder, part, seed + 2, 9.0)
    fresh = ["prepare", f"data_mix.held_out_share=0.{seed % 7 + 2}", "prepare.workers=2"]
    return found + _ends("prepare", fresh, folder, part, seed + 3, 5.0)


def kills(tries: int, folder: Path, seed: int) -> list[Found]:
    """SIGKILL to `reproduce` alone at random moments, until the table is there: its rows are those of one left alone."""
    whole, draw, rows = _whole(folder), random.Random(seed), []
    words = ["reproduce", *TABLE, *small(folder, "killed")]
    for _ in range(tries):
        process = start(words)
        wait = draw.uniform(0.1, 12.0)
        time.sleep(wait)
        children = children_of(process.pid)
        process.kill()
        process.communicate()
        rows.append((f"SIGKILL after {wait:.2f} s", all_gone(children), process.returncode, ""))
    code, error = finished(words)
    same = code == 0 and rows_of(folder / "killed") == whole
    return [*rows, ("after all kills: the rows of a table left alone", same, code, error[-2000:])]


# ---------------------------------------------------------------- jobs that die, and hang
def dying_jobs(tries: int, folder: Path, seed: int) -> list[Found]:
    """A job of three that always dies, and one that does so in a table: the others are made, with summary and table."""
    rows = []
    for what, jobs in [("exit", 1), ("kill", 2), ("exit", 2), ("kill", 1)][:tries]:
        outputs = f"dying-{what}-{jobs}"
        words = [*small(folder, outputs), f"trainer.jobs={jobs}"]
        code, error = finished(["pretrain", "-m", "seed=1,2,3", *words], f"2 30 {what}")
        made = len(list((folder / outputs).glob("pretrain/*/result.json")))
        good = code == 1 and made == 2 and "Traceback" not in error
        rows.append((f"pretrain -m: {what}, {jobs} side by side", good, code, last_line(error)))
        table = ["reproduce", "sweep=table1_masking", "sweep.seeds=[1,2]", "sweep.tasks=[]"]
        code, error = finished([*table, *words, f"trainer.jobs={jobs}"], f"2 30 {what}")
        made = len(list((folder / outputs).glob("pretrain/*/result.json")))
        has_table = bool(list((folder / outputs).glob("tables/table1_masking/*/index.html")))
        good = code == 1 and made == 4 - 1 and has_table and "2 of 4 runs failed" in error and "Traceback" not in error
        rows.append((f"reproduce: {what}, {jobs} side by side", good, code, error[-300:]))
    return rows


def second_signals(tries: int, folder: Path, seed: int) -> list[Found]:
    """A run that hangs in a step, alone, in a job or on two ranks: a second signal ends it at once, and all its children."""
    rows = []
    ranks = ["trainer=ddp", "trainer.devices=2", "trainer.micro_batch_size=2"]
    cases: list[tuple[str, list[str]]] = [
        ("0 5 sleep", ["pretrain"]),
        ("0 5 loop", ["pretrain", "-m", "seed=1,2", "trainer.jobs=2"]),
        ("rank1 5 stop", ["pretrain", *ranks]),
        ("rank1 5 loop", ["pretrain", *ranks]),
        ("loader 5 stop", ["pretrain", "trainer.workers=1"]),
        ("loader 5 sleep", ["pretrain", "-m", "seed=1,2", "trainer.workers=1", "trainer.jobs=1"]),
    ]
    for number in range(tries):
        (fault, words), first, second = cases[number % len(cases)], SIGNALS[number % 5], SIGNALS[(number // 5 + 1) % 5]
        outputs = folder / f"hung{number}"
        process = start([*words, *small(folder, outputs.name)], fault)
        _wait_for(lambda folder=outputs: any(path.stat().st_size for path in folder.rglob("metrics.jsonl")))
        time.sleep(1.5)
        process.send_signal(first)
        time.sleep(2)
        waits, children, begin = process.poll() is None, children_of(process.pid), time.monotonic()
        process.send_signal(second)
        try:
            error = process.communicate(timeout=10)[1]
        except subprocess.TimeoutExpired:
            process.kill()
            error = f"HANGS: {process.communicate()[1]}"
        good = waits and time.monotonic() - begin < 3 and process.returncode == 128 + second and all_gone(children, 1)
        rows.append((f"{' '.join(words[:3])}: {fault}, {second.name}", good, process.returncode, error[-1000:]))
    return rows


def hangs(tries: int, folder: Path, seed: int, limit: float = 3.0) -> list[Found]:
    """A rank or loader worker that stops, sleeps or loops: the run ends by itself, and names it.

    One that works for too long is given ten times as long as one that does nothing (`loader_watch.PATIENCE`).
    """
    rows = []
    ranks = ["pretrain", "trainer=ddp", "trainer.devices=2", "trainer.micro_batch_size=2"]
    names = [f"{which} {what}" for what in ("stop", "sleep", "loop") for which in ("rank1", "rank0", "loader")]
    draw = random.Random(seed)
    for name in draw.sample(names, min(tries, len(names))):
        which, what = name.split()
        words = ["pretrain", "trainer.workers=2"] if which == "loader" else ranks
        begin = time.monotonic()
        process = start([*words, *small(folder, f"hang-{which}-{what}")], f"{which} 5 {what}", limit)
        children: list[int] = []
        while process.poll() is None and time.monotonic() - begin < (PATIENCE if what == "loop" else 1) * limit + 150:
            children = children_of(process.pid) or children
            time.sleep(0.5)
        process.kill()
        error = process.communicate()[1]
        called = "loader worker" if which == "loader" else f"rank {which[-1]} of 2"
        good = called in error and process.returncode in (1, -9) and all_gone(children)
        rows.append((f"{which}: {what}", good, process.returncode, error[-1000:]))
    return rows


def _wait_for(condition: Callable[[], bool], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# ---------------------------------------------------------------- several at once
def several_at_once(tries: int, folder: Path, seed: int) -> list[Found]:
    """Three commands for the same work, one of which may be killed: it is done once, and the others end with 0."""
    whole, draw, rows = _whole(folder), random.Random(seed), []
    for number in range(tries):
        outputs = folder / f"three{number}"
        processes = [start(["reproduce", *TABLE, *small(folder, outputs.name)]) for _ in range(3)]
        killed = number % 2
        if killed:
            time.sleep(draw.uniform(3.0, 9.0))
            processes[0].kill()
        errors = [process.communicate(timeout=300)[1] for process in processes]
        codes = [process.returncode for process in processes[killed:]]
        attempts = [
            len(json.loads(path.read_bytes())["attempts"]) for path in outputs.glob("pretrain/*/provenance.json")
        ]
        good = not any(codes) and rows_of(outputs) == whole and (bool(killed) or attempts == [1, 1])
        good = good and not re.search("Traceback|failed", "".join(errors))
        what = f"three reproduce at once{', one killed' * killed}"
        rows.append((what, good, max(codes), " | ".join(map(last_line, errors))[-2000:]))
    return rows


ALL = (signals, kills, dying_jobs, second_signals, hangs, several_at_once)


if __name__ == "__main__":  # processes.py NAME TRIES FOLDER SEED
    chosen, tries, folder, seed = sys.argv[1:]
    Path(folder).mkdir(parents=True, exist_ok=True)
    for row in next(one for one in ALL if one.__name__ == chosen)(int(tries), Path(folder), int(seed)):
        print(*row, sep="\t", flush=True)
