"""What a user types, and what they read: help, one line for each mistake, nothing left behind."""

import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from roberta_lab.cli import launched, main
from roberta_lab.config import ConfigError
from roberta_lab.config.starters import check_alone
from roberta_lab.runs import composition, fingerprints, known_words
from roberta_lab.runs.compose import build
from roberta_lab.runs.jobs import jobs_of
from roberta_lab.runs.options import CONF, default_options, groups
from roberta_lab.runs.overrides import check_key, parse
from roberta_lab.runs.registration import register


@pytest.mark.parametrize("name", main.COMMANDS)
def test_help_shows_groups_with_options_and_every_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.count(f"\n  roberta-lab {name}") == len(main.COMMANDS[name].examples) >= 3
    for group, options in groups().items():
        marked = ["*" * (default_options().get(group) == option) + option for option in options]
        assert f"  {group} " in text and " | ".join(marked) in text


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_example_in_the_help_composes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes all the way, and each of its jobs builds; only the work itself is left out. Of seeds in a sweep, one."""
    jobs = []
    monkeypatch.setattr(launched.Task, "__call__", lambda self, cfg: jobs.append(build(cfg)))
    for of_files in ("hash_task_files", "hash_model_folder"):  # the user's, which are not there
        monkeypatch.setattr(fingerprints, of_files, lambda where: {})
    for example in main.COMMANDS[name].examples:
        seeds = ["sweep.finetune_seeds=[1]"] if name == "finetune" and "sweep=" in example else []
        one_job = [] if main.COMMANDS[name].reads else ["trainer.jobs=1"]
        assert main.main([name, *shlex.split(example), *seeds, *one_job]) == 0
    assert len(jobs) >= 3


@pytest.mark.parametrize("words", [["pretrain"], ["diff", "table1_masking/static", "table1_masking/dynamic"]])
def test_what_is_set_of_a_sweep_needs_one(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([*words, "sweep.seeds=[1,2]"]) == 2
    assert "sweep.seeds=[1,2]: of which sweep? Add sweep=NAME. Allowed: table1_masking," in capsys.readouterr().err


def test_columns_with_the_same_stand_in_are_launched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine tasks of GLUE, two stand-ins at smoke; jobs side by side would else wait for one another's directory."""
    jobs = []
    monkeypatch.setattr(launched.Task, "__call__", lambda self, cfg: jobs.append(build(cfg).task.name))
    arguments = [
        "sweep=table5_glue",
        "sweep.only=[base]",
        "sweep.seeds=[1]",
        "sweep.finetune_seeds=[1]",
        "trainer.jobs=1",
    ]
    assert main.main(["finetune", *arguments]) == 0
    assert sorted(jobs) == ["pydoc_pair", "pydoc_topic"]


def test_where_corpora_lie_is_said_of_a_whole_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row takes the paths of the corpora that it reads."""
    jobs = []
    monkeypatch.setattr(launched.Task, "__call__", lambda self, cfg: jobs.append(build(cfg).data_mix.sources))
    paths = [f"data_mix.{name}.path=/{name}" for name in ("books", "wikipedia", "cc_news", "openwebtext", "stories")]
    only = "sweep.only=[books_wiki_100k,all_100k]"
    assert main.main(["pretrain", "sweep=table4_data", "scale=paper", only, "trainer.jobs=1", *paths]) == 0
    found = [{name: source.path for name, source in sources.items()} for sources in jobs]
    assert found[0] == {"books": "/books", "wikipedia": "/wikipedia"}
    assert set(found[1].values()) == {path.partition("=")[2] for path in paths}


def test_without_a_command_the_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([]) == 2 and main.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in main.COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["pretran"], ["pretran", "'pretrain'", "Allowed: "]),
        (["pretrain", "maskng=static"], ["maskng", "'masking'", "Allowed: "]),
        (["pretrain", "masking=statc"], ["masking=statc", "'static'", "Allowed: dynamic, "]),
        (["pretrain", "masking.mask_prb=0.1"], ["masking.mask_prb", "'mask_prob'", "Allowed: "]),
        (["pretrain", "-m", "masking=static,dynmic"], ["dynmic", "'dynamic'"]),
        (["pretrain", "masking.mask_prob=abc"], ["masking.mask_prob=abc", "a number"]),
        (["pretrain", "masking.num_patterns=1.5"], ["masking.num_patterns=1.5", "a whole number"]),
        (["pretrain", "masking.whole_words=perhaps"], ["whole_words=perhaps", "true or false"]),
        (["pretrain", "tokenizer.vocab_size=null"], ["tokenizer.vocab_size=null", "not null"]),
        (["pretrain", "data_mix.pydoc.repeats=many"], ["data_mix.pydoc.repeats=many", "a number"]),
        (["pretrain", "sweep=table1_masking", "sweep.seeds=3"], ["sweep.seeds", "a list"]),
        (["pretrain", "batch_size.steps=12"], ["optimizer.warmup_steps=20", "batch_size.steps=12", "peak rate"]),
        (["pretrain", "seed", "=", "1"], ["seed: no override", "key=value, without blanks"]),
        (["pretrain", "lr=1e-3"], ["'lr'", "batch_size.peak_lr", "finetune.lr"]),
        (["pretrain", "optimizer.lr=1e-3"], ["'lr' in 'optimizer'", "batch_size.peak_lr"]),
        (["finetune", "learning_rate=1e-3"], ["'learning_rate'", "finetune.lr"]),
        (["pretrain", "max_steps=10"], ["'max_steps'", "batch_size.steps"]),
        (["pretrain", "trainer.max_epochs=1"], ["'max_epochs'", "batch_size.steps", "finetune.epochs"]),
        (["pretrain", "--num-train-epochs=3"], ["num_train_epochs", "finetune.epochs"]),
        (["pretrain", "batch_size=32"], ["batch_size=32", "batch_size.sequences=32", "bsz256"]),
        (["pretrain", "--lr", "1e-3"], ["--lr: no such flag", "batch_size.peak_lr"]),
        (["pretrain", "--seed", "2"], ["--seed: no such flag", "Write seed=2"]),
        (["pretrain", "--dry-run"], ["--dry-run", "roberta-lab plan"]),
        (["train"], ["train", "'pretrain'"]),
        (["pretrain", "masking.mask_prob=2"], ["masking.mask_prob=2.0", "allowed"]),
        (["pretrain", "nsp=on", "input_format=full_sentences"], ["nsp=on", "input_format=full_sentences", "nsp=auto"]),
        (["pretrain", "trainer.micro_batch_size=7"], ["batch_size.sequences=16", "micro_batch_size=7", "4 or 8"]),
        (["pretrain", "masking.name=foo"], ["masking.name", "foo", "static, dynamic"]),
        (["pretrain", "batch_size.steps=["], ["batch_size.steps=["]),
        (["pretrain", "sweep=table1"], ["sweep=table1", "'table1_masking'"]),
        (["pretrain", "sweep=table1_masking", "sweep.only=[dynamc]"], ["dynamc", "'dynamic'", "static, dynamic"]),
        (["pretrain", "sweep=table1_masking", "masking=static"], ["masking=static", "sweep.only"]),
        (["pretrain", "sweep=table1_masking", "sweep.only=[]"], ["sweep.only=[]", "static, dynamic"]),
        (["finetune", "sweep=table1_masking", "sweep.tasks=[mnly]"], ["mnly", "'mnli'", "pydoc_pair"]),
        (["pretrain", "optimizer.warmup_steps=-5"], ["optimizer.warmup_steps=-5", "0 or more"]),
        (["pretrain", "batch_size.peak_lr=-1"], ["batch_size.peak_lr=-1.0", "more than 0"]),
        (["pretrain", "optimizer.eps=0"], ["optimizer.eps=0.0", "more than 0"]),
        (["pretrain", "optimizer.beta1=2"], ["optimizer.beta1=2.0", "less than 1"]),
        (["pretrain", "optimizer.weight_decay=-1"], ["optimizer.weight_decay=-1.0", "0 or more"]),
        (["finetune", "finetune.lr=-1"], ["finetune.lr=-1.0", "more than 0"]),
        (["pretrain", "seed=-1"], ["seed=-1", "0 or more"]),
        (["pretrain", "trainer.jobs=0"], ["trainer.jobs=0", "1 to 1,024"]),
        (["pretrain", "trainer.threads=0"], ["trainer.threads=0", "1 to 4,096"]),
        (["pretrain", "seed=1,2"], ["seed=1,2", "-m"]),
        (["predict", "predict.texts=a"], ["'texts' in 'predict'", "'text'"]),
        (["reproduce"], ["sweep=NAME", "table1_masking"]),
        (["finetune"], ["roberta-lab pretrain"]),
        (["prune", "prune.yes=true", "masking=static"], ["masking=static: prune looks at everything", "prune.KEY="]),
        (["prune", "sweep=table1_masking"], ["sweep=table1_masking: prune", "paths.KEY="]),
        (["prune", "sweep.only=[static]"], ["sweep.only=[static]: prune"]),
        (["sync", "seed=2"], ["seed=2: sync looks at everything", "paths.KEY=VALUE, logger.KEY=VALUE."]),
        (["export", "sweep=table1_masking"], ["sweep=table1_masking: export is of one run", "sweep.only=[ROW]"]),
        (["inspect", "sweep=table1_masking", "sweep.only=[a]"], ["inspect is of one run"]),
        (["prepare", "sweep=[table1_masking,table2_input_format]"], ["prepare is of one run"]),
        (["export", "-m", "seed=1,2", "export.path=x"], ["export.path=x: seed=1,2 makes several", "one job"]),
        (["predict", "-m", "seed=1,2", "predict.output=x.jsonl"], ["predict.output=x.jsonl: seed=1,2 makes"]),
    ],
)
def test_a_mistake_is_one_line_that_names_it_and_what_is_allowed(
    arguments: list[str], parts: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("roberta-lab: ") and err.count("\n") == 1
    assert all(part in err for part in parts), err
    assert not [p for p in tmp_path.rglob("*") if p.is_file()], "nothing half-written is left"


def test_a_command_of_one_run_says_the_overrides_of_the_row_that_was_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = ["sweep=table3_batch_size", "sweep.only=[2k]", "scale=laptop", "paths.outputs=elsewhere"]
    assert main.main(["predict", *row, "task=rte", "predict.what=task"]) == 2
    words = shlex.split(capsys.readouterr().err.partition("Allowed: roberta-lab predict ")[2].rstrip(".\n"))
    assert {"batch_size=bsz2k", "scale=laptop", "paths.outputs=elsewhere", "task=rte"} <= {*words}
    register()
    with composition.composing():
        alone = jobs_of("pretrain", parse(words))
        [of_table, *_] = jobs_of("pretrain", parse(row))
    assert [job.path for job in alone] == [of_table.path] and not any(word.startswith("sweep") for word in words)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "roberta_lab", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "COLUMNS": "200"})


def test_words_brought_along_name_keys_that_there_are() -> None:
    """No answer names a key or a command that the schema does not have; and no key is taken for a word of another program."""
    for word, meaning in known_words._MEANING.items():
        keys = re.findall(r"\b[a-z_]+\.[a-z0-9_]+\b", meaning)
        for key in keys:
            check_key(key.replace("data_mix.own", "data_mix.sources"))
        assert (
            keys or any(group in meaning for group in groups()) or "roberta-lab" in meaning or "goes on" in meaning
        ), word


def test_dashes_before_a_key_mean_the_key(capsys: pytest.CaptureFixture[str]) -> None:
    """`--key=value` is how W&B's sweeps start a program; of a multirun, --cfg shows the first job."""
    assert main.main(["pretrain", "--seed=7", "--batch-size.steps=30", "--cfg", "job"]) == 0
    shown = capsys.readouterr().out
    assert "\nseed: 7\n" in f"\n{shown}" and "\n  steps: 30\n" in shown
    assert main.main(["pretrain", "-m", "seed=8,9", "masking=static,dynamic", "--cfg", "job"]) == 0
    out, err = capsys.readouterr()
    assert "seed: 8\n" in out and "name: static" in out and err == "of the first job: seed=8 masking=static\n"


def test_dashes_before_a_group_and_a_flag_with_a_value() -> None:
    assert known_words.without_dashes(["--hydra/launcher=basic", "-m"]) == ["hydra/launcher=basic", "-m"]
    for words in (["-seed=3"], ["--seed", "3"]):
        with pytest.raises(ConfigError, match=r"no such flag\. Write seed=3\."):
            known_words.without_dashes(words)


@pytest.mark.parametrize("word", ["--version", "version", "-V"])
def test_the_version_is_said(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([word]) == 0
    assert capsys.readouterr().out == f"roberta-lab {version('roberta_lab')}\n"


@pytest.mark.parametrize(
    "variables",
    [
        {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "4", "RANK": "1", "LOCAL_RANK": "1", "GROUP_WORLD_SIZE": "1"}
        | {"MASTER_ADDR": "localhost", "MASTER_PORT": "1"},
        {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "1", "SLURM_LOCALID": "1"}
        | {"SLURM_STEP_NUM_NODES": "1", "SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "a"},
    ],
)
def test_a_command_of_one_device_that_is_started_several_times_says_so(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main.main(["finetune", "seed=3"]) == 2
    assert "has started 4 processes of finetune, which works on one device (this is 1)" in capsys.readouterr().err
    for name in {"WORLD_SIZE", "SLURM_STEP_NUM_TASKS"} & variables.keys():
        monkeypatch.setenv(name, "1")
    check_alone("finetune")  # started once, as without them


def test_hydras_own_flags_work() -> None:
    shown = run("pretrain", "--cfg", "job", "masking=static", "sweep=table1_masking")
    assert shown.returncode == 0 and "num_patterns: 10" in shown.stdout, shown.stderr
    info = run("pretrain", "--info", "defaults")
    assert info.returncode == 0 and "scale/smoke" in info.stdout


def complete(line: str) -> list[str]:
    command = [sys.executable, "-m", "roberta_lab", "-sc", "query=bash"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COMP_LINE": line})
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_tab_completes_commands_groups_options_and_keys() -> None:
    assert complete("roberta-lab ") == list(main.COMMANDS)
    assert {"masking=", "input_format="} <= set(complete("roberta-lab pretrain "))
    assert set(complete("roberta-lab pretrain masking=")) == {
        f"masking={option.stem}" for option in (CONF / "masking").glob("*.yaml")
    }
    assert complete("roberta-lab finetune batch_size.se") == ["batch_size.sequences="]
    assert "complete " in run("-sc", "install=bash").stdout


def test_the_exit_code_reaches_the_shell() -> None:
    done = run("pretrain", "masking=statc")
    assert done.returncode == 2 and "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_permission_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o500)
    assert main.main(["prepare", f"paths.outputs={tmp_path}/x"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_file_in_the_place_of_a_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main.main(["prepare", f"paths.outputs={tmp_path}/file"]) == 1
    assert "paths.outputs" in capsys.readouterr().err


def test_a_reader_who_has_read_enough_is_no_error() -> None:
    code = (
        "import sys, types; from roberta_lab.cli import main as cli\n"
        "work = types.ModuleType('work'); work.main = lambda *_: [print('x' * 1000) for _ in range(1000)]\n"
        "sys.modules['roberta_lab.cli.inspect'] = work\n"
        "sys.exit(cli.main(['inspect']))\n"
    )
    command = f'{sys.executable} -u -c "$CODE" | head -c 10'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env={**os.environ, "CODE": code})
    assert (done.stdout, done.stderr) == ("x" * 10, "")
