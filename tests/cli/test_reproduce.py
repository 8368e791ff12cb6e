"""`reproduce`: the plan first, each run once, on after a failure, killed jobs included, and the same command goes on."""

import io
import json
import os
import re
import shlex
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from composed_jobs import at
from example_results import pretrained
from hydra import compose
from hydra.core.utils import JobReturn, JobStatus
from small_run import SHORT, SMALL, WHOLE, small_source  # noqa: F401 (a fixture)

from roberta_lab.cli import main, reproduce
from roberta_lab.config import TaskConfig
from roberta_lab.config.formatting import elapsed
from roberta_lab.data import verified
from roberta_lab.reports.figures import drawing
from roberta_lab.runs import (
    composition,
    identity,
    jobs,
    launching,
    leases,
    options,
    progress,
    provenance,
    results,
    tables,
)
from roberta_lab.runs import run_folder as run
from roberta_lab.runs.compose import build
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.leases import Device
from roberta_lab.runs.options import SWEEPS
from roberta_lab.runs.overrides import parse, texts
from roberta_lab.runs.progress import Overview, last_row
from roberta_lab.runs.registration import register
from roberta_lab.tasks.result import MODEL_FOLDER, WEIGHTS_FILE

FEW = [*SMALL, "sweep.seeds=[1]", "sweep.tasks=[sst2]", "sweep.finetune_seeds=[1]"]
QUESTION = """
name: a_question
title: A question
question: Is it so?
base: [model=base, data_mix=books_wiki, input_format=segment_pair, nsp=auto, batch_size=bsz256]
rows:
  as in table 1: [masking=dynamic]
  more: [masking=dynamic, masking.mask_prob=0.4]
tasks: [sst2]
finetune_seeds: [1]
"""


@pytest.fixture
def two_sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Table 1 and a question that shares a row with it."""
    folder = tmp_path / "sweeps"
    folder.mkdir()
    (folder / "table1_masking.yaml").write_bytes((SWEEPS / "table1_masking.yaml").read_bytes())
    (folder / "a_question.yaml").write_text(QUESTION)
    monkeypatch.setattr(options, "SWEEPS", folder)


def runs_of(outputs: Path, *overrides: str) -> list[Job]:
    """As they would lie in `outputs`; composed once for all tests."""
    register()
    given = {word.partition("=")[0] for word in overrides}
    own = ["sweep=table1_masking", *(word for word in WHOLE if word.partition("=")[0] not in given), *overrides]
    with composition.composing():
        found = tables.runs_of(composition.composed(parse(own)), parse(own))
    return [at(one, outputs / one.kind / one.path.name) for one in found]


# ---------------------------------------------------------------- the whole way
@pytest.mark.usefixtures("small_source", "two_sweeps")
def test_all_tables_in_one_go_share_runs_and_again_nothing_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the way one job fails: the others are made, it is listed, and its command makes it."""
    from roberta_lab.cli import finetune

    broken = {"on": True}
    real = finetune._finetune

    def fails(config: Any, *rest: Any) -> Any:
        if broken["on"] and config.masking.mask_prob == 0.4:
            raise MemoryError("no room\nat all")
        return real(config, *rest)

    monkeypatch.setattr(finetune, "_finetune", fails)
    monkeypatch.setattr(provenance, "_git", lambda: {"commit": "a" * 40, "dirty": False})
    monkeypatch.setattr(provenance, "_differs", lambda commit: False)
    command = ["reproduce", "sweep=all", *FEW]
    assert main.main(command) == 1
    out, err = capsys.readouterr()
    assert "a_question      2 rows, pretrain 0 of 2 there, finetune 0 of 2 there" in out
    assert "missing: 3 pretrain and 3 finetune runs, 1 side by side; 2 runs are shared between tables; time unknown" in out  # fmt: skip
    assert out.index("missing: 3") < out.index("1 of 4 runs are missing"), (
        "the plan first, the tables whatever happened"
    )
    assert "; 3 pretrain, 2 finetune runs trained, 0 were there, 2 shared between tables, 1 failed" in out
    assert "finetune more seed 1, sst2 1: MemoryError: no room\n" in err and "Traceback" not in err
    assert "MemoryError: no room" in (tmp_path / "outputs" / "reproduce.log").read_text()
    assert re.search(r"\nfound: 2 tables; claims: .*; 1 run missing\nwhere: .*\nnext: roberta-lab reproduce ", out)
    assert list((tmp_path / "outputs").rglob("figures/*.png"))
    monkeypatch.setattr(drawing, "files", lambda figure: {})  # the same pictures again: a third of the time
    [typed] = re.findall(r"    roberta-lab (finetune sweep=a_question .*)", err)
    broken["on"] = False
    assert main.main(shlex.split(typed)) == 0
    capsys.readouterr()
    assert main.main(command) == 0
    out, err = capsys.readouterr()
    assert "nothing is missing" in out and "0 pretrain, 0 finetune runs trained, 6 were there" in out and err == ""
    assert "uncommitted code" not in out
    monkeypatch.setattr(provenance, "_differs", lambda commit: commit == "a" * 40)
    assert main.main(command) == 0
    assert "6 of the complete runs are by other or uncommitted code" in capsys.readouterr().out


@pytest.mark.usefixtures("small_source", "two_sweeps")
def test_until_adds_seeds_and_again_adds_and_trains_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to `most_seeds`, for a width out of reach; the table at the end has them all."""
    monkeypatch.setattr(drawing, "files", lambda figure: {})
    outputs = tmp_path / "outputs"
    own = ["sweep=a_question", "sweep.tasks=[]", "reproduce.until=1e-9", "reproduce.column=ppl", "trainer.jobs=1"]
    command = ["reproduce", *own, "reproduce.most_seeds=2", *SHORT]
    assert main.main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    first, second = [line for line in lines if line.startswith("until: the run's own ppl to +-1e-09; with ")]
    assert first.endswith("with 1 seed it is not known; seed 2 is added")
    assert re.search(
        r"with 2 seeds it is \d.* \(more - as in table 1\); not reached: reproduce.most_seeds=2 is", second
    )
    assert any(" 4 pretrain runs trained, 0 were there" in line for line in lines)
    written = [lines.index(line) for line in lines if line.endswith("table.md")]
    assert len(written) == 1 and written[0] > lines.index(second), "one table, at the end"
    [file] = outputs.glob("tables/a_question/*/table.json")
    rows = json.loads(file.read_text())["rows"]
    base, more = (next(cell for cell in row["cells"] if cell["column"] == "ppl") for row in rows)
    assert [[value["seed"] for value in cell["values"]] for cell in (base, more)] == [[1, 2], [1, 2]]
    assert more["difference"]["pairs"] == 2
    before = {path: path.stat().st_mtime_ns for path in (outputs / "pretrain").rglob("*")}
    assert main.main(command) == 0
    again = capsys.readouterr().out.splitlines()
    assert [line for line in again if line.startswith("until: ")] == [first, second]
    assert any(" 0 pretrain runs trained, 4 were there" in line for line in again)
    assert {path: path.stat().st_mtime_ns for path in (outputs / "pretrain").rglob("*")} == before


@pytest.mark.usefixtures("small_source")
def test_until_with_a_column_that_is_not_there_trains_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ["sweep=table1_masking", "sweep.tasks=[]", "sweep.seeds=[1]", "reproduce.until=1", "reproduce.column=pl"]
    assert main.main(["reproduce", *own, *SHORT]) == 2
    assert "reproduce.column=pl: no such column. Did you mean 'ppl'?" in capsys.readouterr().err
    assert not (tmp_path / "outputs").exists()


@pytest.mark.usefixtures("small_source")
def test_random_weights_take_the_data_and_no_pretraining(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data is prepared before the jobs, which would otherwise do it side by side."""
    from roberta_lab.cli import reproduce

    monkeypatch.setattr(reproduce, "_make", lambda *_: None)
    assert main.main(["reproduce", "sweep=table1_masking", *FEW, "pretrained=none"]) == 0
    out = capsys.readouterr().out
    assert "2 rows, finetune 0 of 1 there" in out and "1 of 1 runs are missing" in out
    assert list(tmp_path.rglob("manifest.json")) and not (tmp_path / "outputs" / "pretrain").exists()


@pytest.mark.usefixtures("small_source", "two_sweeps")
def test_a_pretraining_run_that_fails_leaves_its_finetuning_runs_waiting(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from roberta_lab.training import pretraining

    real = pretraining.pretrain

    def fails(config: Any, *rest: Any) -> Any:
        if config.masking.name == "static":
            raise FloatingPointError("the loss of step 7 is nan")
        return real(config, *rest)

    monkeypatch.setattr(pretraining, "pretrain", fails)
    command = ["reproduce", "sweep=table1_masking", *FEW, "hydra/launcher=basic"]
    assert main.main(command) == 1
    out, err = capsys.readouterr()
    assert "1 pretrain, 1 finetune runs trained" in out
    assert "pretrain static seed 1: FloatingPointError: the loss of step 7 is nan" in err
    assert "1 finetune runs wait for them" in err


@pytest.mark.usefixtures("small_source")
def test_a_worker_that_is_killed_costs_nothing_but_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A real process beside the command gets SIGKILL in the middle of its work, as from the kernel without memory."""
    killed: list[int] = []

    def kill() -> None:
        deadline = time.monotonic() + 60
        while not killed and time.monotonic() < deadline:
            for path in (tmp_path / "outputs" / "pretrain").glob("*/metrics.jsonl"):
                owner = path.with_name("owner.json")
                if path.stat().st_size and owner.is_file():
                    killed.append(json.loads(owner.read_text())["pid"])
                    os.kill(killed[0], signal.SIGKILL)
                    return
            time.sleep(0.005)

    thread = threading.Thread(target=kill)
    thread.start()
    small = [o for o in FEW if not o.startswith(("batch_size.steps", "trainer.jobs"))]
    command = [
        "reproduce",
        "sweep=table1_masking",
        *small,
        "sweep.only=[dynamic]",
        "batch_size.steps=300",
        "trainer.jobs=2",
    ]
    code = main.main(command)
    thread.join()
    out, err = capsys.readouterr()
    assert killed and killed[0] != os.getpid()
    assert code == 0, err
    assert "its process was killed by signal 9" in err and "once more, alone" in err and "Traceback" not in err
    assert "1 pretrain, 1 finetune runs trained" in out


# ---------------------------------------------------------------- what is typed
@pytest.mark.parametrize("text", ["all", "[a_question,table1_masking]", "a_question,table1_masking,a_question"])
@pytest.mark.usefixtures("two_sweeps")
def test_several_tables_are_the_first_and_the_names_of_all(text: str) -> None:
    found = texts(main._one_sweep("reproduce", parse([f"sweep={text}", "scale=mini"])))
    names = ["table1_masking", "a_question"] if text == "all" else ["a_question", "table1_masking"]
    assert found == ["scale=mini", f"sweep={names[0]}", f"reproduce.sweeps=[{','.join(names)}]"]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["sweep=[table1_masking,table9]"], ["sweep=table9", "Allowed: "]),
        (["sweep=all", "sweep.only=[static]"], ["sweep.only", "sweep=NAME"]),
        (["sweep=all", "masking=static"], ["masking=static", "sweep=", "rows"]),
    ],
)
@pytest.mark.usefixtures("two_sweeps")
def test_a_mistake_is_one_line(
    arguments: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    assert main.main(["reproduce", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and all(part in err for part in parts), err


def test_the_command_of_one_run_addresses_that_run_alone(tmp_path: Path) -> None:
    found = runs_of(tmp_path, "sweep.seeds=[1,2]")
    one = found[-1]
    words = shlex.split(one.command([]))
    assert words[:2] == ["roberta-lab", "finetune"]
    with composition.composing():
        [same] = [
            r for r in tables.runs_of(composition.composed(parse(words[2:])), parse(words[2:])) if r.kind == one.kind
        ]
    assert (same.path.name, same.name) == (one.path.name, one.name)


def test_a_run_of_a_sweep_is_where_its_own_overrides_put_it(tmp_path: Path) -> None:
    """Settings composed once for several runs give the runs that composing each of them gives."""
    found = runs_of(tmp_path)
    for one in [found[1], found[2], found[-1]]:
        with composition.composing():
            config = build(compose("config", one.words))
        assert identity.directory(config, one.kind).name == one.path.name


# ---------------------------------------------------------------- order
def test_what_a_run_needs_is_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every wave asks for it of every run, and it takes reading YAML and hashing."""
    started = runs_of(tmp_path, "finetune.init_from=pydoc_pair", "sweep.finetune_seeds=[1]")[-1]
    first = started.needs, started.encoder
    monkeypatch.setattr(identity, "directory", lambda *_: pytest.fail("addressed again"))
    monkeypatch.setattr(jobs, "encoder_config", lambda *_: pytest.fail("composed again"))
    assert (started.needs, started.encoder) == first
    assert started.encoder is not None and started.encoder.path in started.needs
    with pytest.raises(pytest.fail.Exception, match="again"):
        replace(started, is_encoder=False).needs  # noqa: B018 (another run begins anew)


@pytest.mark.parametrize("fails", [False, True])
def test_runs_that_start_from_another_finetuning_run_come_after_it(
    fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run of `finetune.init_from` is made although no column of the table is of its task, once for both columns."""
    from roberta_lab.cli import reproduce

    register()
    user = [
        "finetune.init_from=pydoc_pair",
        "trainer.progress=false",
        "sweep.only=[static]",
        "sweep.seeds=[1]",
        "sweep.finetune_seeds=[3]",
    ]
    user += ["sweep.tasks=[squad2,sst2]", "trainer=ddp", "trainer.devices=2"]  # of pretraining
    own = ["sweep=table1_masking", *user]
    with composition.composing():
        config = composition.composed(parse(own))
        work = reproduce.Work([tables.Sweep(config, parse(own), tables.runs_of(config, parse(own)))], parse(user))
    waves: list[list[Job]] = []

    def run_all(_: Any, todo: list[Job], say: Any) -> dict[Path, str]:
        waves.append(todo)
        broken = [one for one in todo if fails and one.is_encoder]
        for one in todo:
            if one not in broken:
                complete(one)
                (one.path / MODEL_FOLDER).mkdir()
                (one.path / WEIGHTS_FILE).touch()
        return {one.path: "no" for one in broken}

    monkeypatch.setattr(launching, "launcher", lambda *_: None)
    monkeypatch.setattr(launching, "run_all", run_all)
    assert "1 pretrain and 3 finetune runs" in (said := reproduce.plan(work, config))
    assert "; 1 are what finetune.init_from starts from; " in said
    for kind in identity.KINDS:
        reproduce._make(work, kind, config, [])
    names = [[one.name for one in wave] for wave in waves]
    last = ["static seed 1, squad2 3", "static seed 1, sst2 3"]
    assert names == [["static seed 1"], ["static seed 1, pydoc_pair 3"], *([] if fails else [last])]
    [encoder] = waves[1]
    words = shlex.split(encoder.command(parse(user)))
    assert words[:2] == ["roberta-lab", "finetune"] and not any(word.startswith("sweep") for word in words)
    with composition.composing():
        for typed in (words[2:], encoder.words):
            made = build(compose("config", typed))
            assert made.finetune.save_model and identity.directory(made, "finetune") == encoder.path
    assert not any(word.startswith(("trainer.devices", "trainer=")) for word in words), (
        "a task is finetuned on one device"
    )
    if fails:
        assert "2 finetune runs wait for them" in reproduce.failed(work)


def test_a_finetuning_run_that_lacks_the_weights_that_are_asked_for_is_missing(tmp_path: Path) -> None:
    *_, plain = runs_of(tmp_path)
    tuned = replace(plain.config, finetune=replace(plain.config.finetune, save_model=True))
    kept = at(replace(plain, config=tuned), plain.path)
    complete(plain)
    assert plain.is_complete and not kept.is_complete
    (plain.path / MODEL_FOLDER).mkdir()
    assert not kept.is_complete
    (plain.path / WEIGHTS_FILE).touch()
    assert kept.is_complete and run.is_finetuned(tuned, plain.path)
    (plain.path / "result.json").unlink()
    assert not kept.is_complete and not plain.is_complete


def test_a_columns_own_run_from_which_another_row_starts_keeps_what_the_column_asks(tmp_path: Path) -> None:
    """One run, not two of one folder: with the weights for the other row, under its own name."""
    register()
    user = [
        "sweep=table1_masking",
        "finetune.submission=true",
        "sweep.tasks=[mnli]",
        "sweep.seeds=[1]",
        "sweep.finetune_seeds=[3]",
    ]
    with composition.composing():
        config = composition.composed(parse(user))
        assert config.sweep is not None
        rows = {"plain": ["masking=static"], "from mnli": ["masking=static", "finetune.init_from=mnli"]}
        found = tables.runs_of(replace(config, sweep=replace(config.sweep, rows=rows)), parse(user))
    plain, started = (one for one in found if one.kind == "finetune")
    assert started.encoder is not None and started.encoder.path == plain.path in started.needs
    assert not plain.config.finetune.save_model
    every = tables.each_once(found)
    assert len(every) == 3, "one pretraining run, two of finetuning"
    made = every[plain.path]
    assert (made.name, made.is_encoder) == ("plain seed 1, mnli 3", False)
    assert made.config == replace(plain.config, finetune=replace(plain.config.finetune, save_model=True))
    assert made.config.finetune.submission and every[started.path] is started
    with composition.composing():
        assert build(compose("config", made.words)).finetune == made.config.finetune
    words = shlex.split(made.command(parse(user[1:])).replace("\\\n", ""))
    assert "finetune.save_model=true" in words and words.count("finetune.submission=true") == 1
    here = at(replace(made, config=replace(made.config, task=TaskConfig("mnli", "glue", "classification"))), tmp_path)
    complete(here)
    (tmp_path / MODEL_FOLDER).mkdir()
    assert not here.is_trained
    (tmp_path / WEIGHTS_FILE).touch()
    assert not here.is_trained, "no test split was predicted"
    (tmp_path / "predictions.test_mm.jsonl").touch()
    assert here.is_trained and not here.is_complete
    (tmp_path / "submission").mkdir()
    assert here.is_complete


# ---------------------------------------------------------------- launching
class Launcher:
    """Runs jobs as it is told, by the number of the launch."""

    def __init__(self, runs: Sequence[Job], *scripts: Any) -> None:
        self.runs, self.scripts, self.launched = runs, list(scripts), []

    def __call__(self, jobs: list[list[str]]) -> list[JobReturn]:
        self.launched.append(len(jobs))
        return self.scripts.pop(0)(self.runs)


def complete(one: Job) -> None:
    one.path.mkdir(parents=True, exist_ok=True)
    (one.path / "owner.json").unlink(missing_ok=True)
    (one.path / "result.json").write_text("{}")


def begun(one: Job, pid: int) -> None:
    one.path.mkdir(parents=True, exist_ok=True)
    (one.path / "owner.json").write_text(json.dumps({"pid": pid}))


def returned(value: Any, status: JobStatus = JobStatus.COMPLETED) -> JobReturn:
    found = JobReturn()
    found.return_value, found.status = value, status
    return found


def test_a_job_that_breaks_the_launcher_twice_is_given_up_and_the_others_are_made(tmp_path: Path) -> None:
    runs = [one for one in runs_of(tmp_path, "sweep.seeds=[1,2]") if one.kind == "pretrain"]
    gone = 2**22 + 1  # above every process id

    def first(_: Any) -> Any:
        complete(runs[0])
        begun(runs[1], gone)
        begun(runs[2], gone)
        raise RuntimeError("a worker process was killed")

    def second(_: Any) -> Any:
        begun(runs[1], gone + 1)
        raise RuntimeError("a worker process was killed")

    def third(_: Any) -> Any:
        complete(runs[2])
        return [returned(None)]

    def others(_: Any) -> Any:
        return [returned("ValueError: no")]

    launcher, said = Launcher(runs, first, others, second, third), []
    failures = launching.run_all(launcher, runs, said.append)
    assert launcher.launched == [4, 1, 1, 1], "what had not begun, then each suspect alone"
    assert failures == {runs[1].path: launching.KILLED, runs[3].path: "ValueError: no"}
    assert [line.count("going on") for line in said] == [1, 1] and runs[1].name in said[0] and runs[2].name in said[0]


def test_a_launcher_that_cannot_start_jobs_is_not_tried_again(tmp_path: Path) -> None:
    runs = [one for one in runs_of(tmp_path) if one.kind == "pretrain"]

    def refuses(_: Any) -> Any:
        raise OSError("no queue")

    launcher = Launcher(runs, refuses)
    assert launching.run_all(launcher, runs, print) == {o.path: "the launcher failed: OSError: no queue" for o in runs}


def test_ctrl_c_goes_through(tmp_path: Path) -> None:
    runs = runs_of(tmp_path)

    def stopped(_: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launching.run_all(Launcher(runs, stopped), runs, print)


# ---------------------------------------------------------------- estimates
def test_time_is_estimated_from_complete_runs_of_like_size(tmp_path: Path) -> None:
    """Twice the steps take twice as long; of another model nothing is known."""
    from omegaconf import OmegaConf

    runs = [one for one in runs_of(tmp_path, "sweep.seeds=[1,2]") if one.kind == "pretrain"]
    for one, seconds in zip(runs[:3], (90.0, 100.0, 500.0), strict=True):
        complete(one)
        (one.path / "result.json").write_text(json.dumps({"seconds": seconds}))
        (one.path / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.structured(one.config)))
    (tmp_path / "pretrain" / "old").mkdir()
    (tmp_path / "pretrain" / "old" / "result.json").write_text("{}")
    rates = progress.measured(tmp_path)
    assert progress.times([runs[3]], rates) == ([pytest.approx(100.0)], 0)
    batch = runs[3].config.batch_size
    longer = replace(runs[3], config=replace(runs[3].config, batch_size=replace(batch, steps=2 * batch.steps)))
    wider = replace(runs[3], config=replace(runs[3].config, model=replace(runs[3].config.model, hidden=512)))
    assert progress.times([longer, wider], rates) == ([pytest.approx(200.0)], 1)


def test_the_plan_counts_the_devices_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register()
    own = parse(["sweep=table1_masking", "trainer.jobs=1", "seed=1", f"paths.outputs={tmp_path}"])
    with composition.composing():
        chosen = composition.composed(own)
    work = reproduce.Work(tables.sweeps_of(chosen, own), own)
    assert "1 side by side" in reproduce.plan(work, chosen)
    monkeypatch.setattr(leases, "devices", lambda: [Device(str(i), 1e11) for i in range(2)])
    assert "2 side by side" in reproduce.plan(work, chosen)


def test_the_clock_of_runs_side_by_side_is_that_of_the_last() -> None:
    """Never below the longest one; three equal ones on two places take two turns."""
    assert progress.clock([], 4) == 0 and progress.clock([5.0], 4) == 5
    assert progress.clock([1.0, 1.0, 1.0], 2) == 2 and progress.clock([3.0, 1.0, 1.0, 1.0], 2) == 3
    assert progress.clock([1.0, 2.0, 4.0], 1) == 7


def test_the_time_of_a_damaged_run_is_not_counted(tmp_path: Path) -> None:
    from omegaconf import OmegaConf

    runs = [one for one in runs_of(tmp_path, "sweep.seeds=[1,2]") if one.kind == "pretrain"]
    for one in runs[:2]:
        complete(one)
        (one.path / "result.json").write_text(json.dumps({"seconds": 100.0}))
        (one.path / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.structured(one.config)))
        verified.seal(one.path)
    (runs[0].path / "result.json").write_text(json.dumps({"seconds": 900.0}))
    assert progress.times([runs[3]], progress.measured(tmp_path)) == ([pytest.approx(100.0)], 0)


@pytest.mark.parametrize(("seconds", "said"), [(12.4, "12 s"), (200, "3 min 20 s"), (18720, "5 h 12 min")])
def test_durations_in_words(seconds: float, said: str) -> None:
    assert elapsed(seconds) == said


# ---------------------------------------------------------------- overview
class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def working(tmp_path: Path) -> list[Job]:
    """Two runs that work and one that did not begin."""
    runs = [one for one in runs_of(tmp_path, "sweep.seeds=[1,2]") if one.kind == "pretrain"][:3]
    for one in runs[:2]:
        begun(one, 1)
    rows = [{"step": 400, "train/mlm_loss": 3.0}, {"step": 400, "val/ppl": 45.25}]
    (runs[0].path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 4')
    return runs


def test_a_file_gets_a_line_for_what_runs_and_one_for_each_that_ends(working: list[Job]) -> None:
    stream = io.StringIO()
    overview = Overview("pretrain", working, stream, every=1e9)
    overview.look()
    [line] = stream.getvalue().splitlines()
    assert line.startswith("pretrain: 0 of 3 done, 2 running, ") and "static seed 2: starts" in line
    assert "static seed 1: 400 of 2,000 steps, val/ppl 45.2" in line
    complete(working[0])
    result = pretrained(ppl=30.0)
    results.write(working[0].path, replace(result, seconds=61.0))
    overview.look(last=True)
    [_, last] = stream.getvalue().splitlines()
    assert last == f"static seed 1: held-out perplexity 30.0 (unigram 30.0), 1 min 1 s, {working[0].path}"


def test_on_a_terminal_the_lines_are_drawn_again_and_gone_at_the_end(working: list[Job]) -> None:
    stream = Terminal()
    with Overview("pretrain", working, stream, every=1e9) as overview:
        overview.look()
        drawn = stream.getvalue()
        assert "2 running" in drawn and drawn.count("static seed") == 2
        overview.look()
        again = stream.getvalue().removeprefix(drawn)
        assert again.startswith("\r\x1b[2K\x1b[1A\x1b[2K\x1b[1A\x1b[2K") and again.count("static seed") == 2
        complete(working[0])
        results.write(working[0].path, pretrained())
        before = stream.getvalue()
    at_the_end = stream.getvalue().removeprefix(before)
    assert "static seed 1: held-out perplexity 9.0" in at_the_end and at_the_end.endswith("\x1b[2K")


def test_speed_and_what_is_left_follow_from_two_looks(working: list[Job], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("roberta_lab.runs.progress.time.monotonic", lambda: now[0])
    overview = Overview("pretrain", working, io.StringIO(), every=1e9)
    overview.look()
    (working[0].path / "metrics.jsonl").write_text('{"step": 500}\n')
    now[0] = 110.0
    assert overview._progress(working[0]) == "500 of 2,000 steps, 10.0 steps/s, 2 min 30 s left"


def test_the_newest_values_are_read_from_the_end_of_a_long_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": s, "train/mlm_loss": 1.0}) + "\n" for s in range(10_000)))
    assert last_row(path) == {"step": 9999, "train/mlm_loss": 1.0}
    assert last_row(tmp_path / "none") == {}
