"""Config from outside the clone: options, experiments and sweeps of one's own, found by all commands; and files that are none."""

import os
import pickle
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra.core.singleton import Singleton
from small_run import SHORT, small_source  # noqa: F401 (a fixture)

from roberta_lab.cli import launched, main
from roberta_lab.runs import composition, jobs, options
from roberta_lab.runs.command_line import typed
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.options import Outside
from roberta_lab.runs.outside import open_places
from roberta_lab.runs.overrides import check_names, parse, without_sweep
from roberta_lab.runs.registration import register

FILES = {
    "masking/mine.yaml": "defaults: [dynamic]\nmask_prob: 0.2\n",
    "experiment/rarely.yaml": """# @package _global_
defaults:
  - override /masking: mine
  - override /optimizer: roberta_base
masking: {mask_share: 0.7, random_share: 0.3}
data_mix: {sources: {pydoc: {repeats: 2}}}
finetune: {epochs: 1}
""",
    "experiment/more.yaml": "# @package _global_\ndefaults: [rarely, _self_]\nmasking: {mask_prob: 0.25}\n",
    "all.yaml": "rows: {usual: [masking=dynamic]}\n",
    "sweep/rates.yaml": "base: [data_mix=books_wiki]\nrows: {usual: [masking=dynamic], mine: [masking=mine]}\ntasks: [sst2]\n",
    "sweeps/tries.yaml": "rows: {mine: [experiment=rarely], half: [experiment=rarely, masking.mask_prob=0.5]}\n",
}  # fmt: skip
RARELY = ["masking.mask_prob=0.2", "optimizer=roberta_base", "masking.mask_share=0.7", "masking.random_share=0.3"]
BOMB = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(f"{new}: &{new} [{', '.join([f'*{old}'] * 8)}]\n" for old, new in zip("abcdefghij", "bcdefghijk", strict=True))  # fmt: skip


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of one's own, and another one to work in."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    yield write(tmp_path / "lab", {**FILES})
    options.use(Outside())


def jobs_of(kind: str, *words: str) -> list[Job]:
    """The jobs of a command with these words, its places opened as the command does."""
    register()
    overrides = parse(open_places(words))
    check_names(overrides)
    jobs.forget()
    with composition.composing():
        return jobs.jobs_of(kind, overrides)


def run_ids(*words: str) -> list[str]:
    return [job.path.name for job in jobs_of("pretrain", *words)]


def complete(line: str) -> list[str]:
    command = [sys.executable, "-m", "roberta_lab", "-sc", "query=bash"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COMP_LINE": line})
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    "place", [["--config-dir", "../lab"], ["--config-dir={lab}"], ["hydra.searchpath=[file://{lab}]"]]
)
def test_help_lists_what_lies_outside(place: list[str], lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["pretrain", *(word.format(lab=lab) for word in place), "--help"]) == 0
    text = capsys.readouterr().out
    assert "*dynamic | mine | " in text and "  experiment    more | rarely\n" in text
    assert all(f"| {name}" in text for name in ("rates", "tries"))
    assert main.main(["pretrain", "--help"]) == 0 and "| mine" not in capsys.readouterr().out, "only where it is asked"


def test_tab_completes_what_lies_outside(lab: Path) -> None:
    assert "masking=mine" in complete(f"roberta-lab pretrain --config-dir {lab} masking=")
    assert complete(f"roberta-lab pretrain --config-dir {lab} sweep=ra") == ["sweep=rates"]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["masking=mne"], ["masking=mne", "'mine'", "Allowed: dynamic, mine, "]),
        (["experiment=rarly"], ["experiment=rarly", "'rarely'", "Allowed: more, rarely"]),
        (["sweep=rate"], ["sweep=rate", "'rates'"]),
        (["sweep=../lab/sweep/rats.yaml"], ["rats.yaml: no such file", "'rates.yaml'"]),
        (["sweep=../lab/all.yaml"], ["sweep=../lab/all.yaml", "sweep=all is no file's", "another name"]),
        (["--config-dir", "../lob"], ["--config-dir ../lob", "'lab'"]),
        (["hydra.searchpath=[pkg://nothing.here]"], ["pkg://nothing.here", "Allowed: file://FOLDER"]),
    ],
)
@pytest.mark.usefixtures("lab")
def test_a_typo_is_answered_with_the_nearest_name(
    words: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["plan", "--config-dir", "../lab", *words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and all(part in said for part in parts), said


@pytest.mark.usefixtures("lab")
def test_an_experiment_is_the_run_of_the_same_settings_typed_out() -> None:
    here = ("--config-dir", "../lab")
    repeats = "data_mix.pydoc.repeats=2"
    typed_out = [*run_ids(*RARELY, repeats), *run_ids(*RARELY, repeats, "masking.mask_prob=0.5")]
    assert [
        *run_ids(*here, "experiment=rarely"),
        *run_ids(*here, "experiment=rarely", "masking.mask_prob=0.5"),
    ] == typed_out
    assert run_ids(*here, "sweep=tries") == typed_out == run_ids(*here, "sweep=../lab/sweeps/tries.yaml")
    assert run_ids(*here, "experiment=more") == run_ids(*RARELY, repeats, "masking.mask_prob=0.25")
    [job] = jobs_of("finetune", *here, "sweep=tries", "sweep.only=[half]", "sweep.tasks=[pydoc_topic]")
    assert job.config.finetune.epochs == 1


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("finetune/own.yaml", "defaults: [bert]\ndropout: ${model.dropout}\n", ["finetune=own", "model.dropout=0.3"]),
        ("finetune/own.yaml", "defaults: [base]\n", ["finetune=own", "model.dropout=0.3"]),
        ("masking/own.yaml", "# @package _global_\ndefaults: [dynamic@masking]\nfinetune: {epochs: 7}\n", ["masking=own"]),
        ("scale/own.yaml", "# @package _global_\ndefaults: [smoke]\nfinetune: {epochs: '${model.layers}'}\n", ["scale=own"]),
    ],
)  # fmt: skip
def test_a_file_that_looks_into_another_group_means_the_same_in_a_sweep(
    file: str, content: str, words: list[str], lab: Path
) -> None:
    write(lab, {file: content, "finetune/base.yaml": "defaults: [bert]\ndropout: ${model.dropout}\n"})
    write(lab, {"sweeps/one.yaml": "rows: {usual: [optimizer=adamw]}\ntasks: [pydoc_topic]\n"})
    place, tuning = ["--config-dir", str(lab)], ["task=pydoc_topic", "finetune.seed=1", "seed=1"]
    [one] = jobs_of("finetune", *place, *words, *tuning)
    of_sweep = jobs_of("finetune", *place, "sweep=one", *words, "sweep.seeds=[1]", "sweep.finetune_seeds=[1]")
    assert [job.path for job in of_sweep] == [one.path] and of_sweep[0].config.finetune == one.config.finetune


def test_a_task_that_starts_from_one_of_ours_is_a_column_of_a_sweep(lab: Path) -> None:
    """Its family and files are those that Hydra composes, though the sweep asks before anything is composed."""
    task = "defaults: [text_classification]\nname: topics\npath: labels\nfiles: {train: t.csv, dev: d.csv}\n"
    sweep = "rows: {usual: [masking=dynamic]}\ntasks: [topics]\n"
    write(lab, {"task/topics.yaml": task, "sweep/own.yaml": sweep})
    [job] = jobs_of("finetune", "--config-dir", str(lab), "sweep=own", "sweep.seeds=[1]", "sweep.finetune_seeds=[1]")
    assert (job.task, job.config.task.family, job.config.task.path) == ("topics", "text_classification", "labels")
    for group in ("task", "data_mix", "batch_size"):
        for option in options.files(group):
            assert "defaults" not in options.content(group, option), "all are followed"
    assert options.content("task", "topics").metric == options.content("task", "text_classification").metric


def test_what_a_task_knows_goes_with_it_into_another_process(lab: Path) -> None:
    """What its runs are called, and the places that are open."""
    open_places(["--config-dir", str(lab)])
    task, places = launched.Task(), options.outside()
    task.called = {("batch_size.peak_lr=1e-3",): "peak_lr=1e-3"}
    sent = pickle.dumps(task)
    options.use(Outside())
    assert pickle.loads(sent).called == task.called and options.outside() == places


@pytest.mark.usefixtures("lab")
def test_an_experiment_beside_a_sweep_counts_as_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    """It replaces what the rows share, and may not set what they differ in."""
    assert run_ids("--config-dir", "../lab", "sweep=rates", "data_mix=own", "sweep.only=[mine]") != run_ids(
        "--config-dir", "../lab", "sweep=rates", "sweep.only=[mine]"
    )
    assert main.main(["plan", "--config-dir", "../lab", "sweep=rates", "experiment=rarely"]) == 2
    assert "masking=mine: the rows of sweep=rates differ in it" in capsys.readouterr().err


def test_a_command_that_is_shown_names_the_places(lab: Path) -> None:
    [mine] = jobs_of("pretrain", "--config-dir", "../lab", "sweep=../lab/sweep/rates.yaml", "sweep.only=[mine]")
    shown = shlex.split(mine.command(()))
    assert shown[:5] == ["roberta-lab", "pretrain", "--config-dir", str(lab), "sweep=rates"]
    write(lab, {"../elsewhere/by path.d/rows_of_mine.yaml": "rows: {mine: [masking=mine]}\n"})
    [mine] = jobs_of("pretrain", "--config-dir", "../lab", "sweep=../elsewhere/by path.d/rows_of_mine.yaml")
    assert run_ids(*shlex.split(mine.command(()))[2:]) == [mine.path.name]
    noted = [f"hydra.searchpath=['file://{lab}']", "masking=mine", "sweep=rates", "hydra.job.name=pretrain"]
    assert shlex.split(typed("pretrain", without_sweep(parse(noted))))[2:] == noted[:2], (
        "as the page of all runs shows it"
    )


@pytest.mark.usefixtures("small_source")
def test_a_table_of_ones_own_from_another_folder(
    lab: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`reproduce`, `table`, a run alone, and workers; the run's folder says where its options lie."""
    monkeypatch.chdir(lab.parent / "work")
    few = "# @package _global_\ndefaults: [override /masking: static]\nmasking: {num_patterns: 2}\n"
    write(lab, {"experiment/few.yaml": few, "../own.yaml": "rows: {mine: [masking=mine], few: [experiment=few]}\n"})
    command = ["--config-dir", "../lab", "sweep=../own.yaml", *SHORT]
    assert main.main(["reproduce", *command, "trainer.jobs=1"]) == 0
    assert "2 pretrain runs trained" in capsys.readouterr().out
    assert main.main(["table", *command]) == 0
    said = capsys.readouterr().out.replace(" \\\n  ", " ")
    assert f"or roberta-lab reproduce --config-dir {lab} sweep={lab.parent}/own.yaml" in said
    assert main.main(["pretrain", "-m", "--config-dir", "../lab", "experiment=few", *SHORT, "trainer.jobs=1"]) == 0
    assert capsys.readouterr().out.count(": complete, outputs/pretrain/") == 1
    for path in Path("outputs/pretrain").iterdir():
        assert (path / "overrides.yaml").read_text().startswith(f"- hydra.searchpath=['file://{lab}']\n")
    pretrain = [sys.executable, "-m", "roberta_lab", "pretrain", *command, "trainer.jobs=2"]  # processes of joblib
    done = subprocess.run(pretrain, capture_output=True, text=True)
    assert done.returncode == 0 and "2 runs, 2 side by side" in done.stdout, done.stderr
    assert done.stdout.count(": complete, outputs/pretrain/") == 2, "the workers found the same runs"


@pytest.mark.usefixtures("lab")
def test_places_outlast_a_job_that_joblib_runs_in_this_process() -> None:
    """It sets Hydra's state anew, and with it the registry of plugins; `reproduce` composes again afterwards."""
    register()
    open_places(["--config-dir", "../lab"])
    Singleton.set_state(Singleton.get_state())
    with composition.composing():
        assert composition.composed(parse(["masking=mine"])).masking.mask_prob == 0.2


HOSTILE: list[tuple[str, str | bytes, str]] = [
    ("masking", BOMB, "line 4: more than 5,000 values"),
    ("task", "a: &a [*a]", "*a contains itself"),
    ("model", "[" * 60_000, "nested too deeply"),
    ("masking", "mask_prob: 0.2\n" * 10_000, "150,000 bytes. Allowed: a YAML file of at most 65,536 bytes"),
    ("sweep", BOMB, "more than 5,000 values"),
    ("sweep", bytes(range(256)), "no text in UTF-8"),
    ("sweep", "- a\n- b\n", "no mapping"),
    ("sweep", "rows: {a: [masking=static]}\nseed: [1]\n", "no key 'seed' in 'sweep'. Did you mean 'seeds'?"),
    ("sweep", "rows: {a: [maskng=static]}\n", "no key 'maskng'. Did you mean 'masking'?"),
    ("sweep", "title: none\n", "rows are missing"),
    ("sweep", "name: other\nrows: {a: []}\n", "name: other. Allowed: the file's name, bad"),
    ("masking", "mask_prob: [\n", "line 2: "),
    ("masking", "mask_prob: 1\nmask_prob: 2\n", "line 2: found duplicate key mask_prob"),
    ("masking", "mask_prb: 0.2\n", "Did you mean 'mask_prob'?"),
    ("masking", "mask_prob: many\n", "masking.mask_prob: Value 'many'"),
    ("masking", "defaults: [bad]\n", "its defaults lead back to it"),
    ("masking", "defaults: [dynmic]\n", "Did you mean 'dynamic'?"),
    ("masking", "mask_prob: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
    ("masking", f"selection: '{'${oc.env:HOME}' * 21}'\n", "too many ${...}"),
    ("experiment", "masking: {mask_prob: 0.2}\n", "`# @package _global_` is missing"),
    ("experiment", "# @package _global_\ndefaults: [override /maskng: static]\n", "Did you mean 'masking'?"),
]


@pytest.mark.parametrize(("group", "content", "said"), HOSTILE, ids=lambda value: str(value)[:20])
def test_a_broken_or_hostile_file_is_named_in_one_line_and_costs_only_the_command_that_reads_it(
    group: str, content: str | bytes, said: str, lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(lab, {f"{group}/bad.yaml": content})
    start = time.process_time()
    assert main.main(["plan", "--config-dir", "../lab", f"{group}=bad"]) == 2
    assert time.process_time() - start < 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"roberta-lab: {lab}/{group}/bad.yaml: ") and err.count("\n") == 1, err
    assert said in err and len(err) < 1200, err
    assert main.main(["plan", "--config-dir", "../lab", "--help"]) == 0 and "bad" in capsys.readouterr().out
    assert run_ids("--config-dir", "../lab", "masking=mine"), "others go on"


def test_a_broken_sweep_of_the_clone_costs_no_other_command(
    lab: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(options, "SWEEPS", write(lab, {"clone/bad.yaml": "rows: [", "clone/bomb.yaml": BOMB}) / "clone")
    assert main.main(["plan", "sweep=bad"]) == 2 and "bad.yaml: line 2: " in capsys.readouterr().err
    assert main.main(["plan", "masking=static"]) == 0


@pytest.mark.skipif(os.name == "nt", reason="POSIX files")
def test_what_is_no_file_is_not_waited_for(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(lab / "masking" / "pipe.yaml")
    (lab / "masking" / "gone.yaml").symlink_to("nowhere")
    for name, said in (("pipe", "this is a named pipe"), ("gone", "a link that leads nowhere")):
        assert main.main(["plan", "--config-dir", "../lab", f"masking={name}"]) == 2
        assert f"{name}.yaml: {said}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["masking/dynamic.yaml", "sweeps/table1_masking.yaml", "sweep/tries.yaml", "config.yaml"]
)
def test_a_file_that_would_never_be_read_is_refused(name: str, lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Hydra would silently take ours, or the first of two."""
    write(lab, {name: "{}"})
    assert main.main(["plan", "--config-dir", "../lab"]) == 2
    assert Path(name).name in capsys.readouterr().err
