"""Table 1 submitted and left, on commands of SLURM that run nothing: what is handed over, again, shown and cancelled."""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fake_slurm import FakeSlurm, jobs_on_disk
from fake_slurm import cluster as cluster
from small_run import SHORT, own_text

from roberta_lab.cli import launched, main
from roberta_lab.data import claims
from roberta_lab.runs import compose
from roberta_lab.runs.jobs import Job, job_of

TABLE = ["sweep=table1_masking", "sweep.seeds=[1]", "sweep.tasks=[sst2]", "sweep.finetune_seeds=[1]", *SHORT]
SUBMIT = [
    "reproduce",
    *TABLE,
    "reproduce.launch=slurm",
    "slurm.partition=gpu",
    "slurm.throttle=1",
    "slurm_light.partition=cpu",
]


def lines_of(script: str) -> list[list[str]]:
    """The commands in a script, as words."""
    return [
        shlex.split(line)[1:]
        for line in re.findall(r"^\d+\) folders=.*? (words=\(.*)\) ;;$", script.replace("words=(", "words=( "), re.M)
    ]


def answered(capfd: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    assert main.main([*words, "--json"]) == code
    return json.loads(capfd.readouterr().out)


def made_by(words: list[str], monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """The jobs that a command line would run."""
    found: list[Job] = []

    def note(self: launched.Task, tree: Any) -> None:
        hydra = launched_config()
        found.append(job_of(hydra.job.name, compose.words_of(hydra.overrides.task), tree))

    def launched_config() -> Any:
        from hydra.core.hydra_config import HydraConfig

        return HydraConfig.get()

    with monkeypatch.context() as patch:
        patch.setattr(launched.Task, "__call__", note)
        assert main.main([*words, "trainer.jobs=1"]) == 0
    return found


def test_each_job_is_the_command_of_one_run_and_waits_for_what_it_needs(
    cluster: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main.main([*SUBMIT, *own_text(tmp_path)]) == 0
    assert (
        "submitted: prepare 100 (1 job), pretrain 101 (2 jobs), finetune 102 (2 jobs), table 103 (1 job)"
        in capfd.readouterr().out
    )
    noted = {job["job"]: job for job in jobs_on_disk(Path("outputs"))}
    assert list(noted) == ["100_0", "101_0", "101_1", "102_0", "102_1", "103_0"]
    depends = [cluster.options(number).get("dependency", "") for number in range(100, 104)]
    assert depends == ["", "afterok:100_0", "afterok:100_0,afterany:101", "afterany:101,afterany:102"]
    assert [cluster.options(number)["partition"] for number in range(100, 104)] == ["cpu", "gpu", "gpu", "cpu"]
    assert [cluster.options(number)["array"] for number in range(100, 104)] == ["0-0", "0-1%1", "0-1%1", "0-0"]
    for number in (101, 102):
        lines = lines_of(cluster.script(number))
        assert len(lines) == 2
        for i, words in [[*enumerate(lines)][number % 2]]:  # composing takes a while: one of each kind
            assert not any(word.startswith(("slurm", "reproduce", "hydra/")) for word in words)
            [job] = made_by(words, monkeypatch)
            assert job.path.relative_to("outputs").as_posix() == noted[f"{number}_{i}"]["run"]
            assert job.config.trainer.common_batch == 4 and job.name == noted[f"{number}_{i}"]["name"]
    [[table, *words]] = lines_of(cluster.script(103))
    assert (table, words[0]) == ("table", "sweep=table1_masking")


def test_preparation_by_many_jobs_is_arrays_with_a_job_after_each(
    cluster: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [*SUBMIT, *own_text(tmp_path), "prepare.jobs=3", "slurm_light.throttle=2"]
    assert main.main(words) == 0
    assert "prepare 100 (3 jobs), prepare 101 (1 job), prepare 102 (3 jobs), prepare 103 (1 job), pretrain 104" in (
        capfd.readouterr().out
    )
    options = [cluster.options(number) for number in range(100, 107)]
    assert [one.get("dependency", "") for one in options] == [
        *("", "afterany:100", "afterok:101", "afterany:102"),
        *("afterok:103_0", "afterok:103_0,afterany:104", "afterany:104,afterany:105"),
    ]
    assert [one["array"] for one in options[:4]] == ["0-2%2", "0-0", "0-2%2", "0-0"]
    assert [one["partition"] for one in options] == ["cpu"] * 4 + ["gpu"] * 2 + ["cpu"]
    stages = [
        {word for line in lines_of(cluster.script(n)) for word in line if "prepare." in word} for n in range(100, 105)
    ]
    one = {"prepare.workers=1"}
    assert stages == [
        one | {"prepare.stage=corpus"},
        one | {"prepare.stage=tokenizer"},
        one | {"prepare.stage=tokens"},
        one,
        one,
    ]
    assert [len(lines_of(cluster.script(number))) for number in range(100, 104)] == [3, 1, 3, 1]
    [job] = made_by(lines_of(cluster.script(102))[2], monkeypatch)
    assert (job.kind, job.config.prepare.stage, job.config.prepare.jobs) == ("prepare", "tokens", 1)


def test_text_that_cannot_be_prepared_costs_only_the_runs_that_read_it(
    cluster: FakeSlurm, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    small = [word for word in SHORT if not word.startswith("tokenizer.vocab_size=")]
    words = ["pretrain", "-m", "masking=static,dynamic", "tokenizer.vocab_size=300,310", *small, *own_text(tmp_path)]
    assert main.main([*words, "reproduce.launch=slurm", "prepare.jobs=2"]) == 0
    depends = [cluster.options(number).get("dependency", "") for number in range(100, 106)]
    assert depends[:4] == ["", "afterany:100", "afterany:101", "afterany:102"]
    assert depends[4:] == ["afterok:103_0", "afterok:103_1"], "a job of array 103 for each text"
    assert [len(lines_of(cluster.script(number))) for number in range(100, 106)] == [4, 2, 4, 2, 2, 2]


def test_preparation_is_submitted_alone(cluster: FakeSlurm, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["prepare", *SHORT, *own_text(tmp_path), "reproduce.launch=slurm"]
    assert [job["kind"] for job in answered(capfd, *words)["submitted"]] == ["prepare"]
    assert "dependency" not in cluster.options(100) and not Path("outputs/cache").exists()
    cluster.holds(("100_0", "PENDING"))
    assert answered(capfd, "cancel", *TABLE) == {"cancelled": [], "running": 0}, "it is no table's"
    assert answered(capfd, *words, "prepare.jobs=2") == {"submitted": []} and len(cluster.calls("sbatch")) == 1
    other_text = [word.replace("vocab_size=300", "vocab_size=310") for word in words]
    for other in ([*words, "paths.cache=elsewhere"], other_text):
        assert len(answered(capfd, *other)["submitted"]) == 1
    cluster.holds()
    found = answered(capfd, *words, "prepare.jobs=1024")["submitted"]
    assert len(found) == 2 * 1024 + 2  # in arrays of 1,000 at most
    assert [cluster.options(number).get("dependency", "") for number in range(103, 109)] == [
        *("", "", "afterany:103,afterany:104", "afterok:105", "afterok:105", "afterany:106,afterany:107")
    ]
    assert [job["kind"] for job in jobs_on_disk(Path("outputs"))] == ["prepare"] * 2053


@pytest.mark.parametrize("word", ["prepare.jobs=0", "prepare.jobs=10001", "prepare.stage=token"])
def test_jobs_and_stages_of_preparation_are_checked(word: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main.main(["prepare", word]) == 2
    assert capfd.readouterr().err.startswith(f"roberta-lab: {word}: ")


def test_the_same_line_again_submits_what_is_neither_done_nor_queued(
    cluster: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [*SUBMIT, *own_text(tmp_path)]
    answered(capfd, *words)
    cluster.holds(("101_0", "RUNNING"), ("101_1", "PENDING"), ("102_0", "PENDING"), ("102_1", "PENDING"))
    found = answered(capfd, *words)
    assert (found["submitted"], found["queued"], len(cluster.calls("sbatch"))) == ([], 4, 4)
    cluster.holds(("101_1", "PENDING"), ("102_1", "PENDING"))  # one was killed, and with it what needs it
    done = Path(jobs_on_disk(Path("outputs"))[1]["run"]).name
    found = answered(capfd, *words)
    kinds = [job["kind"] for job in found["submitted"]]
    assert kinds == ["prepare", "pretrain", "finetune", "table"] and found["submitted"][1]["run"] == f"pretrain/{done}"
    assert cluster.options(107)["dependency"] == "afterany:101,afterany:102,afterany:105,afterany:106"
    monkeypatch.setattr(Job, "is_complete", property(lambda job: job.path.name == done))
    cluster.holds(("101_1", "PENDING"), ("102_1", "PENDING"))
    found = answered(capfd, *words)
    assert ([job["kind"] for job in found["submitted"]], found["complete"]) == (["finetune", "table"], 1)
    assert "dependency" not in cluster.options(108)  # what it needs is there, and so is its text


def test_status_shows_each_run_and_cancel_ends_what_is_left(
    cluster: FakeSlurm, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = own_text(tmp_path)
    answered(capfd, *SUBMIT, *words)
    jobs = jobs_on_disk(Path("outputs"))
    run = Path("outputs") / jobs[1]["run"]
    run.mkdir(parents=True)
    (run / "metrics.jsonl").write_text('{"step": 2, "train/mlm_loss": 1.0}\n')
    (Path("outputs") / jobs[3]["log"]).write_text("starts\nroberta-lab: the pretrained run is not complete.\nbye\n")
    cluster.holds(("101_0", "RUNNING"), ("101_1", "PENDING"), restarts=1)
    cluster.has_ended(
        ("102_0", "FAILED"), ("102_1", "CANCELLED by 7"), ("100_0", "COMPLETED"), ("103_[0]", "CANCELLED")
    )
    [found] = answered(capfd, "status", *TABLE, *words)
    seen = {one["job"]: one for one in found["runs"]}
    assert {job: one["state"] for job, one in seen.items()} == {
        **{"101_0": "running", "101_1": "preempted"},
        **{"102_0": "failed", "102_1": "cancelled"},
    }
    assert (seen["101_0"]["step"], seen["101_0"]["steps"]) == (2, 3)
    assert seen["102_0"]["error"] == "roberta-lab: the pretrained run is not complete."
    beside = [(one["kind"], one["name"], one["state"], one["job"]) for one in found["beside"]]
    assert beside == [("table", "table1_masking", "cancelled", "103_0")], "as the text has it"
    assert main.main(["status", *TABLE, *words]) == 0
    out = capfd.readouterr().out
    assert "table1_masking: 4 runs: 1 running, 1 preempted, 1 failed, 1 cancelled" in out
    assert re.search(r"running +pretrain static seed 1 +job 101_0 +step 2 of 3", out)
    assert re.search(r"cancelled +table table1_masking +job 103_0", out)
    assert answered(capfd, "cancel", *TABLE, *words) == {"cancelled": ["101_0", "101_1"], "running": 1}
    assert cluster.calls("scancel") == [["--quiet", "101_0", "101_1"]]


def test_where_slurm_cannot_be_asked_folders_speak(
    cluster: FakeSlurm, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = own_text(tmp_path)
    answered(capfd, *SUBMIT, *words)
    (cluster.folder / "down").touch()
    assert main.main(["status", *TABLE, *words]) == 0
    out = capfd.readouterr().out
    assert "4 runs: 4 submitted" in out and "SLURM cannot be asked here: squeue failed with 1" in out
    assert main.main([*SUBMIT, *words]) == 1
    assert capfd.readouterr().err == "roberta-lab: squeue failed with 1: squeue: error: no controller\n"


def test_what_slurm_refuses_is_one_line_and_what_it_took_is_noted(
    cluster: FakeSlurm, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (cluster.folder / "refuses").write_text("sbatch: error: invalid partition specified: gpu\n")
    assert main.main([*SUBMIT, *own_text(tmp_path)]) == 1
    assert (
        capfd.readouterr().err == "roberta-lab: sbatch failed with 1: sbatch: error: invalid partition specified: gpu\n"
    )
    assert jobs_on_disk(Path("outputs")) == []


@pytest.mark.parametrize(
    ("words", "kinds"),
    [(["pretrain"], ["prepare", "pretrain"]), (["pretrain", "-m", "seed=1,2"], ["prepare", "pretrain", "pretrain"])],
)
def test_runs_without_a_table_are_submitted_too(
    words: list[str],
    kinds: list[str],
    cluster: FakeSlurm,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert main.main([*words, *SHORT, "reproduce.launch=slurm"]) == 0
    noted = jobs_on_disk(Path("outputs"))
    assert [job["kind"] for job in noted] == kinds and not [*Path("outputs").glob("pretrain/*")]
    runs = [made_by(line, monkeypatch) for line in lines_of(cluster.script(101))]
    assert [[job.path.relative_to("outputs").as_posix() for job in run] for run in runs] == [
        [job["run"]] for job in noted[1:]
    ]


@pytest.mark.parametrize(
    "word",
    [
        "slurm.partition='a b'",
        "slurm.time=soon",
        "slurm.lines=['--qos=a\n#SBATCH --x']",
        "slurm.gpus=-1",
        "slurm.memory='1G;x'",
    ],
)
def test_what_sbatch_could_misread_is_refused(word: str, cluster: FakeSlurm, capfd: pytest.CaptureFixture[str]) -> None:
    assert main.main([*SUBMIT, word]) == 2
    assert f"{word.partition('=')[0]}" in capfd.readouterr().err and cluster.calls("sbatch") == []


def test_a_run_that_another_process_makes_is_left_to_it_and_each_text_is_prepared(
    cluster: FakeSlurm, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of two vocabularies over one corpus, both."""
    short = [word for word in SHORT if "vocab_size" not in word]
    words = ["reproduce", "sweep=own.yaml", *short, *own_text(tmp_path), "reproduce.launch=slurm"]
    rows = "rows: {small: [tokenizer.vocab_size=300], large: [tokenizer.vocab_size=320]}"
    Path("own.yaml").write_text(f"name: own\ntitle: Own\nquestion: Which?\n{rows}\n")
    sent = answered(capfd, *words)["submitted"]
    assert [job["kind"] for job in sent] == ["prepare", "prepare", "pretrain", "pretrain", "table"]
    vocabularies = [[word for word in line if "vocab_size" in word] for line in lines_of(cluster.script(100))]
    assert [line[-1] for line in vocabularies] == ["tokenizer.vocab_size=300", "tokenizer.vocab_size=320"]
    theirs = Path("outputs") / sent[3]["run"]
    theirs.mkdir(parents=True)
    with subprocess.Popen(["sleep", "60"]) as other:
        (theirs / claims.NOTE).write_text(json.dumps({"pid": other.pid, "host": socket.gethostname()}))
        again = answered(capfd, *words)
        other.kill()
    assert ([job["run"] for job in again["submitted"]], again["elsewhere"]) == (["", sent[2]["run"], ""], 1)


def test_seeds_that_depend_on_results_are_not_submitted(cluster: FakeSlurm, capfd: pytest.CaptureFixture[str]) -> None:
    assert main.main([*SUBMIT, "reproduce.until=0.1"]) == 2
    assert "reproduce.until" in capfd.readouterr().err and cluster.calls("sbatch") == []


def test_more_processes_than_gpus_are_refused_before_anything_is_submitted(
    cluster: FakeSlurm, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [word for word in SUBMIT if "accelerator" not in word]
    assert main.main([*words, "slurm=one_gpu", "trainer.devices=2"]) == 2
    assert "trainer.devices=2: more than the GPUs of a job" in capfd.readouterr().err and cluster.calls("sbatch") == []


def test_what_does_not_divide_is_said_of_rows_before_submission(
    cluster: FakeSlurm, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The default batch, which no row has, is no matter."""
    many = ["reproduce.launch=slurm", "trainer=ddp", "trainer.nodes=3", "trainer.devices=2", *own_text(tmp_path)]
    words = [word for word in SHORT if not word.startswith("batch_size.")]
    Path("own.yaml").write_text("name: own\ntitle: Own\nquestion: Which?\nrows: {six: [batch_size.sequences=12]}\n")
    assert main.main(["reproduce", "sweep=own.yaml", *words, *many]) == 0
    submitted = len(cluster.calls("sbatch"))
    Path("own.yaml").write_text("name: own\ntitle: Own\nquestion: Which?\nrows: {odd: [batch_size.sequences=16]}\n")
    assert main.main(["reproduce", "sweep=own.yaml", *words, *many]) == 2
    assert "batch_size.sequences=16 does not divide into 6 rank(s)" in capfd.readouterr().err
    assert len(cluster.calls("sbatch")) == submitted > 0
