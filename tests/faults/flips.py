"""Flip a bit of a file, cut it short or remove it, and see whether a command notices: many times in one process.

Run alone, it prints what came of it: `python tests/faults/flips.py FOLDER NUMBER SEED [--interrupted] [-v]`.
"""

import contextlib
import hashlib
import io
import json
import os
import random
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))  # where it is run alone

import composed_once
from small_run import SMALL, patch_source

from roberta_lab.axes import tokenizer
from roberta_lab.cli import main
from roberta_lab.cli.launched import main_of
from roberta_lab.config import ANSWERED, Unfinished, console, of_the_machine
from roberta_lab.data import file_hashes, token_store, verified
from roberta_lab.data.common_set import common_text
from roberta_lab.data.corpus.preparation import embedded, prepared_for
from roberta_lab.model import checkpoint
from roberta_lab.reports import items, tidy
from roberta_lab.reports.page.examples import examples_of
from roberta_lab.runs import identity, jobs, loading, results
from roberta_lab.runs.composition import composed, composing
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.overrides import parse
from roberta_lab.runs.registration import register
from roberta_lab.tasks import families, feature_table
from roberta_lab.tasks.features import PairFormat
from roberta_lab.tasks.initial_model import InitialModel
from roberta_lab.tasks.predictor import TaskPredictor
from roberta_lab.training.step_end import StepEnd

SWEEP = [
    *("sweep=table1_masking", "sweep.only=[static,dynamic]", "sweep.seeds=[1]", "sweep.tasks=[sst2]"),
    *("sweep.finetune_seeds=[1]", "finetune.save_model=true", "paths.outputs=outputs", *SMALL),
]
HARMLESS = ("detected", "identical")  # outcomes of a fault
_DAMAGE = re.compile(
    r"damaged|is missing|cannot be read|is not there|has no whole|has no weights|is of older code|was removed"
)
NOT_COMPLETE_WITHOUT = ("result.json", "finetuned.ckpt")  # a run that lacks one is made anew: never removed here
OF_CACHES = ("prepare", "data", "task")  # steps that read the cache; the others read runs
_REMADE = re.compile(
    r"index\.html$|outputs/(claims\.|tables/|wandb/|reproduce\.log)"
)  # written anew by each `table`, not read


@dataclass(frozen=True)
class Outcome:
    """What came of one fault."""

    file: str
    fault: str  # bit 3 of byte 17, cut at byte 9, removed
    outcome: str  # detected | identical | silent | traceback
    said: str  # the line that names it, or what went wrong


@dataclass(frozen=True)
class World:
    """The jobs that read the complete runs in the current folder."""

    table: Job
    runs: tuple[Job, ...]


def world(folder: Path) -> World:
    """Make the runs of a small table and the table, in a folder that becomes the current one; `patch_source` comes before."""
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
        code = main.main(["reproduce", *SWEEP])
    assert code == 0, said.getvalue()
    register()
    words = parse(SWEEP)
    with composing():
        config = composed(words)
        found = [job for kind in ("pretrain", "finetune") for job in jobs.jobs_of(kind, words, config)]
    return World(Job("table", config, words), tuple(found))


def flips(made: World, number: int, seed: int) -> list[Outcome]:
    """Return the outcomes of so many faults, each in a random file, and at a random place of it."""
    draw = random.Random(seed)
    files = sorted(
        path for path in Path("outputs").rglob("*") if path.is_file() and not _REMADE.search(path.as_posix())
    )
    expected = {name: _tried(step)[0] for name, step in _steps(made)}
    found = []
    order = [draw.choice(files) for _ in range(max(0, number - len(files)))] + draw.sample(
        files, min(number, len(files))
    )
    for path in order:
        before = path.read_bytes()
        fault = _inject(path, draw)
        try:
            found.append(_outcome(made, path, fault, expected))
        finally:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(before)
    return found


def interrupted_flips(made: World, number: int, seed: int) -> list[Outcome]:
    """Return the outcomes of so many faults in the folder of an interrupted run, each resumed to its end after it."""
    draw, job = random.Random(seed), made.runs[0]
    expected, saved = _end_of(job.path), Path("interrupted")
    save = StepEnd._save

    def stop(self: StepEnd, trainer: Any, module: Any, step: int) -> None:
        if step == 15:
            raise Unfinished("interrupted")
        save(self, trainer, module, step)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(StepEnd, "_save", stop)
        shutil.rmtree(job.path)
        assert "interrupted" in _tried(lambda: main_of("pretrain")(job))[1]
    shutil.copytree(job.path, saved, dirs_exist_ok=True)
    names = sorted(path.relative_to(saved) for path in saved.rglob("*") if path.is_file())
    found = []
    for _ in range(number):
        shutil.rmtree(job.path)
        shutil.copytree(saved, job.path)
        path = job.path / draw.choice(names)
        fault = _inject(path, draw)
        forget()
        _, said, is_answered = _tried(lambda: main_of("pretrain")(job))
        line = next((line for line in said.splitlines() if path.name in line and _DAMAGE.search(line)), "")
        same = results.is_complete(job.path) and _end_of(job.path) == expected
        outcome = "traceback" if not is_answered else "detected" if line else "identical" if same else "silent"
        if line and results.is_complete(job.path) and not same:
            outcome = "silent"  # it was said, and what is wrong is in the result all the same
        found.append(Outcome(path.as_posix(), fault, outcome, line or said[-300:]))
    return found


def _end_of(run: Path) -> tuple[bytes, dict[str, object]]:
    """Return what a run found: its rows and its result, without its time."""
    result = json.loads((run / "result.json").read_bytes())
    return (run / "metrics.jsonl").read_bytes(), {name: value for name, value in result.items() if name != "seconds"}


def _inject(path: Path, draw: random.Random) -> str:
    """Damage a file: most often a bit, else its end, a block of zeros as a loss of power leaves it, or all of it."""
    content, kind = path.read_bytes(), draw.random()
    place, end = draw.randrange(len(content) or 1), draw.randrange(len(content) + 1)
    if kind < 0.6 and content:
        bit = draw.randrange(8)
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
        return f"bit {bit} of byte {place}"
    if kind < 0.8:
        path.write_bytes(content[:end])
        return f"cut at byte {end} of {len(content)}"
    if kind < 0.9 or path.name in NOT_COMPLETE_WITHOUT:
        path.write_bytes(content[:place] + bytes(len(content[place : place + 512])) + content[place + 512 :])
        return f"zeros from byte {place}"
    path.unlink()
    return "removed"


def _outcome(made: World, path: Path, fault: str, expected: dict[str, str]) -> Outcome:
    """Return what came of a fault: silent where any step gives something else and does not say itself what is wrong."""
    forget()
    in_cache, said_of = path.is_relative_to("outputs/cache"), ""
    folder = "/".join(path.parts[: 4 if in_cache else 3])  # the made folder that holds the file
    for step_name, step in _steps(made):
        if (step_name in OF_CACHES) != in_cache:
            continue
        digest, said, is_answered = _tried(step)
        line = next((line for line in said.splitlines() if folder in line and _DAMAGE.search(line)), "")
        if not is_answered:
            return Outcome(path.as_posix(), fault, "traceback", f"{step_name}: {said}")
        if digest != expected[step_name] and not line:
            return Outcome(path.as_posix(), fault, "silent", f"{step_name} differs: {said[-300:]}")
        said_of = said_of or line
    return Outcome(path.as_posix(), fault, "detected" if said_of else "identical", said_of)


def forget() -> None:
    """Forget what a process keeps of files between commands, as a new process would."""
    console.forget()
    file_hashes.forget()
    verified._parsed.cache_clear()
    feature_table._read.cache_clear()
    items._data_once.cache_clear()
    jobs.forget()


def _tried(step: Callable[[], object]) -> tuple[str, str, bool]:
    """Return a digest of what a step gives, what it said, and whether it is an answer: no traceback."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            value = step()
        except ANSWERED as error:
            return "", f"{said.getvalue()}\n{error}", True
        except OSError as error:
            return "", f"{said.getvalue()}\n{of_the_machine(error) or error!r}", of_the_machine(error) is not None
        except Exception as error:
            return "", f"{type(error).__name__}: {error}", False
    return hashlib.sha256(_bytes(value)).hexdigest(), said.getvalue(), True


def _bytes(value: Any) -> bytes:
    if isinstance(value, np.ndarray) or hasattr(value, "detach"):
        array = np.asarray(value)
        return str((array.dtype, array.shape)).encode() + array.tobytes()
    if isinstance(value, dict):
        return b"".join(str(name).encode() + _bytes(part) for name, part in value.items())
    return b"".join(map(_bytes, value)) if isinstance(value, list | tuple) else repr(value).encode()


def _steps(made: World) -> Iterator[tuple[str, Callable[[], object]]]:
    first = made.runs[0]
    yield "prepare", lambda: json.dumps(main_of("prepare")(Job("prepare", first.config, first.overrides)))
    yield "data", lambda: _data(first)
    yield "task", lambda: _task(made.runs[-1])
    for job in made.runs:
        yield f"run {job.name}", lambda job=job: _run(job)
        yield f"page of {job.name}", lambda job=job: _page(job)
        yield f"again {job.name}", lambda job=job: json.dumps(main_of(job.kind)(job))
    yield "table", lambda: _table(made)
    yield "results", lambda: tidy.results("table1_masking", outputs="outputs", overrides=SWEEP[1:]).to_csv()


def _data(job: Job) -> object:
    prepared = prepared_for(job.config)
    stores = [token_store.open_store(prepared.store / split) for split in ("train", "validation")]
    arrays = [
        [*store.shards, store.sentence_starts, store.document_ends, store.document_hashes, store.document_sources]
        for store in stores
    ]
    return [
        arrays,
        common_text(prepared.corpus, job.config.data_mix).digest,
        tokenizer.load(prepared.tokenizer).fingerprint,
    ]


def _task(job: Job) -> object:
    prepared, config = prepared_for(job.config), job.config
    data = families.load(config.task, embedded(config))
    start = InitialModel.from_run(config, identity.directory(config, "pretrain"), prepared.tokenizer)
    pairs = PairFormat.for_task(config.task, start.max_length, start.paired)
    table = feature_table.cached(config.task.head, data.dev, start.encoding, pairs, Path(config.paths.cache))
    return [repr(data), {field.name: getattr(table, field.name) for field in fields(table)}]


def _run(job: Job) -> object:
    run = loading.load_run(job.path)
    found: list[object] = [run.result, repr(run.config), run.metrics.to_csv()]
    if job.kind == "pretrain":
        found.append(checkpoint.final(job.path, job.config.batch_size.steps)["state_dict"])
    else:
        assert run.result is not None
        found += [TaskPredictor(job.path, job.config.task).model.state_dict()]
        scored, why = items.scored_items(job.path, run.result, run.config_here)
        found += [scored.table if scored is not None else why, why]
        print(why)
    return found


def _page(job: Job) -> object:
    found, why = examples_of(job.path, results.read(job.path))
    print(why)
    return json.dumps(found, sort_keys=True)


def _table(made: World) -> object:
    answer: Any = main_of("table")(made.table)
    return json.dumps({name: value for name, value in answer.items() if name not in ("files", "origins")})


if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patched:
        patch_source(patched)
        composed_once.patch(patched)
        begin = time.monotonic()
        made = world(Path(sys.argv[1]))
        inject = interrupted_flips if "--interrupted" in sys.argv else flips
        outcomes = inject(made, int(sys.argv[2]), int(sys.argv[3]))
    for one in outcomes:
        if one.outcome in ("silent", "traceback") or "-v" in sys.argv:
            print(f"{one.outcome}: {one.file}, {one.fault}: {one.said}")
    print(dict(Counter(one.outcome for one in outcomes)), f"{time.monotonic() - begin:.0f} s")
