"""Every sweep expands, each of its jobs builds; rows are written in the paper's numbers and shrunk by the scale."""

import shlex
from dataclasses import replace

import joblib
import pytest
from composed_jobs import config
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf
from small_run import WHOLE

from roberta_lab.cli import main
from roberta_lab.config import Config, ConfigError, SizeConfig, SweepConfig
from roberta_lab.model.costs import costs_of
from roberta_lab.runs import identity
from roberta_lab.runs.compose import encoder_config
from roberta_lab.runs.composition import composed
from roberta_lab.runs.jobs import Job, jobs_of
from roberta_lab.runs.overrides import parse, texts
from roberta_lab.runs.registration import RowSweeper, set_jobs, side_by_side
from roberta_lab.runs.sweeps import expand

pytestmark = pytest.mark.usefixtures("composing")


def jobs(command: str, *user: str) -> list[Job]:
    return jobs_of(command, parse(user))


def placed(sweep: SweepConfig, command: str) -> list[Job]:
    """The jobs of a sweep that no file holds."""
    user = parse([f"sweep={sweep.name}"])
    return jobs_of(command, user, replace(composed(user), sweep=sweep))


def test_rows_that_differ_in_finetuning_share_their_pretraining_run() -> None:
    few = ["sweep=finetune_glue", "scale=mini", "sweep.finetune_seeds=[1,2]"]
    pretrain, finetune = (jobs(command, *few) for command in ("pretrain", "finetune"))
    assert len(finetune) == 6 * 9 * 2 and len({job.row for job in finetune}) == 6
    [made] = {identity.directory(job.config, "pretrain") for job in (*pretrain, *finetune)}
    some = finetune[::7]  # every row, task and seed among them; Hydra itself takes a minute for all
    assert all(
        len({getattr(job, key) for job in some}) == n for key, n in (("row", 6), ("task", 9), ("finetune_seed", 2))
    )
    assert {identity.directory(config(*job.words), "pretrain") for job in (*pretrain, *some)} == {made}


def test_table_1_is_two_runs_and_eighteen_finetunings() -> None:
    """With one seed and all its columns; at smoke it has two seeds and the one that so small a model learns."""
    assert [len(jobs(kind, "sweep=table1_masking")) for kind in identity.KINDS] == [4, 4, 0]
    pretrain, finetune, evaluate = (jobs(command, "sweep=table1_masking", *WHOLE) for command in identity.KINDS)
    assert evaluate == [], "no column of it is scored without finetuning"
    assert [job.row for job in pretrain] == ["static", "dynamic"]
    assert len(finetune) == 2 * 3 * 3
    static, dynamic = (config(*job.words) for job in pretrain)
    assert (static.masking.name, dynamic.masking.name) == ("static", "dynamic")
    assert identity.science(static)["masking"].pop("num_patterns") == 10
    differing = {k for k, v in identity.science(static).items() if identity.science(dynamic)[k] != v}
    assert differing == {"masking"}, "rows differ in their axis and in nothing else"
    assert costs_of(static).passes == pytest.approx(40, rel=0.05) and static.masking.num_patterns == 10


def test_a_table_addresses_the_runs_that_single_commands_make() -> None:
    """The row's run is the run of its overrides typed by hand."""
    [job, _] = jobs("pretrain", "sweep=table1_masking", "sweep.only=[static]")
    typed = config("masking=static")
    assert identity.directory(config(*job.words), "pretrain") == identity.directory(typed, "pretrain")


def test_the_scale_replaces_what_a_machine_cannot_hold() -> None:
    smoke, paper = jobs("pretrain", "sweep=table1_masking"), jobs("pretrain", "sweep=table1_masking", "scale=paper")
    assert "model=tiny" in smoke[0].words and "data_mix=pydoc" in smoke[0].words
    assert "model=base" in paper[0].words and "data_mix=books_wiki" in paper[0].words


def test_the_user_may_choose_what_rows_do_not_differ_in() -> None:
    found = jobs("pretrain", "sweep=table1_masking", "seed=7", "batch_size.steps=25", "model=mini")
    assert {job.seed for job in found} == {7}
    built = config(*found[0].words)
    assert (built.seed, built.batch_size.steps, built.model.layers) == (7, 25, 4)
    with pytest.raises(ConfigError, match=r"masking.mask_prob=0.2.*sweep.only"):
        jobs("pretrain", "sweep=table1_masking", "masking.mask_prob=0.2")
    with pytest.raises(ConfigError, match=r"\+\+finetune.lr=0.2.*sweep.only"):
        jobs("finetune", "sweep=finetune_glue", "++finetune.lr=0.2")
    with pytest.raises(ConfigError, match=r"finetune=.*sweep.only"):
        jobs("finetune", "sweep=finetune_glue", "finetune={lr:0.2}")
    few = ["sweep=finetune_glue", "sweep.tasks=[rte]", "sweep.finetune_seeds=[1]"]
    job = jobs("finetune", *few, "finetune.submission=true", "finetune.epochs=7")[0]
    assert config(*job.words).finetune.submission and config(*job.words).finetune.epochs == 7


@pytest.mark.parametrize(("override", "instead"), [("task=pydoc_span", "sweep.tasks"), ("finetune.seed=1", "sweep.finetune_seeds")])  # fmt: skip
def test_what_the_columns_set_is_not_the_users(override: str, instead: str) -> None:
    """Else every column would show the same runs."""
    with pytest.raises(ConfigError, match=f"{override}.*{instead}"):
        jobs("finetune", "sweep=table1_masking", override)


def test_where_a_corpus_lies_reaches_the_rows_that_read_it() -> None:
    """Rows of Table 4 differ in their corpora, and still the user says where those are."""
    paths = [f"++data_mix.sources.{name}.path=/{name}" for name in ("books", "stories")]
    found = jobs("pretrain", "sweep=table4_data", "scale=paper", *paths)
    read = [{n: s.path for n, s in config(*job.words).data_mix.sources.items()} for job in found]
    assert read[0] == {"books": "/books", "wikipedia": ""}
    assert read[1] == {"books": "/books", "wikipedia": "", "cc_news": "", "openwebtext": "", "stories": "/stories"}
    with pytest.raises(ConfigError, match=r"sweep\.only"):
        jobs("pretrain", "sweep=table4_data", "data_mix=own")
    with pytest.raises(ConfigError, match="no row of sweep=table4_data reads the source 'boks'"):
        jobs("pretrain", "sweep=table4_data", "scale=paper", "++data_mix.sources.boks.path=/books")


def test_what_replaces_a_setting_goes_with_it() -> None:
    """`all` stands for more of the embedded corpus; the user's own text is not cut to that."""
    [job] = jobs("pretrain", "sweep=table4_data", "sweep.only=[all_100k]", "sweep.seeds=[1]")
    assert config(*job.words).data_mix.train_tokens == 413_200
    [job] = jobs("pretrain", "sweep=table5_glue", "sweep.only=[base]", "sweep.seeds=[1]", "data_mix=own")
    assert "data_mix.train_tokens=413200" not in job.words and "data_mix=own" in job.words


def test_a_scale_leaves_tasks_out_and_a_sweep_has_its_own_seeds_there_unless_they_are_asked_for() -> None:
    chosen = config("sweep=table1_masking")
    sweep, scale = chosen.sweep, replace(chosen.scale, leaves_out=["squad2", "mnli"])
    assert sweep is not None
    sweep = replace(
        sweep, seeds=[1], finetune_seeds=[1, 2, 3], at_scale={"smoke": SizeConfig(seeds=[1, 2], finetune_seeds=[1])}
    )

    def places(*user: str, name: str = "smoke") -> list[tuple[str, str | None]]:
        at = replace(chosen, sweep=replace(sweep, rows={"static": []}), scale=replace(scale, name=name))
        return [
            (str(next(o for o in place.overrides if o.key_or_group == "seed").value()), place.task)
            for place in expand(at, "finetune", parse(user))
        ]

    assert places() == [("1", "sst2"), ("2", "sst2")]
    assert places(name="mini") == [("1", "sst2")] * 3
    assert places("sweep.seeds=[1]") == [("1", "sst2")], "the config has what was typed"
    assert places("sweep.tasks=[squad2,mnli,sst2]", "seed=7") == [("7", "squad2"), ("7", "mnli"), ("7", "sst2")]


@pytest.mark.parametrize("spelled", ["finetune.init_from", "++finetune.init_from"])
def test_what_finetuning_starts_from_is_the_stand_in_of_its_column(spelled: str) -> None:
    """Else it would be MNLI's own files, at a scale whose columns have none of theirs."""
    few = ["sweep=finetune_glue", "sweep.tasks=[rte]", "sweep.only=[batch16_lr1e-5]", "sweep.finetune_seeds=[1]"]
    [job] = jobs("finetune", *few, f"{spelled}=mnli")
    [same] = jobs("finetune", *few, f"{spelled}=pydoc_pair")
    assert job == same and f"{spelled}=pydoc_pair" in job.words
    assert encoder_config(config(*job.words)).task.name == "pydoc_pair"
    [paper] = jobs("finetune", *few, "scale=paper", f"{spelled}=mnli")
    assert config(*paper.words).finetune.init_from == "mnli"
    [none] = jobs("finetune", *few, f"{spelled}=null")
    assert config(*none.words).finetune.init_from is None


def test_a_row_that_starts_from_a_task_starts_from_its_stand_in() -> None:
    chosen = config("sweep=finetune_glue", "sweep.tasks=[rte]", "sweep.finetune_seeds=[1]")
    assert chosen.sweep is not None
    rows = {"plain": ["finetune.lr=1e-5"], "from mnli": ["finetune.lr=1e-5", "finetune.init_from=mnli"]}
    found = placed(replace(chosen.sweep, rows=rows), "finetune")
    started = [[o for o in job.words if "init_from" in o] for job in found]
    assert started == [[], ["finetune.init_from=pydoc_pair"]]


def test_a_row_takes_the_place_of_what_the_base_says_with_all_that_stands_for_it() -> None:
    """At smoke the large model is the tiny one with four layers: of a row that takes base none of that may stay."""
    chosen = config("sweep=table4_data", "sweep.seeds=[1]")
    assert chosen.sweep is not None
    rows = {"large": ["data_mix=books_wiki"], "base": ["data_mix=books_wiki", "model=base"]}
    sweep = replace(chosen.sweep, rows=rows, base=[*chosen.sweep.base, "batch_size=bsz8k_100k"])
    found = placed(sweep, "pretrain")
    assert [config(*job.words).model.layers for job in found] == [4, 2]


@pytest.mark.parametrize("spelled", ["1e-5", "1.0e-5", "0.00001"])
def test_a_number_has_its_stand_in_however_it_is_spelled(spelled: str) -> None:
    chosen = config("sweep=finetune_glue", "sweep.tasks=[rte]", "sweep.finetune_seeds=[1]")
    assert chosen.sweep is not None
    sweep = replace(chosen.sweep, rows={"one": [f"finetune.lr={spelled}"], "other": ["finetune.lr=4e-5"]})
    found = placed(sweep, "finetune")
    assert [config(*job.words).finetune.lr for job in found] == [5e-4, 4e-5]


FEW = (
    "sweep=table1_masking",
    "sweep.only=[static]",
    "sweep.seeds=[1]",
    "sweep.tasks=[mnli]",
    "sweep.finetune_seeds=[1,2]",
)


def test_a_grid_is_searched_when_asked_for_and_a_job_of_it_is_addressed_alone() -> None:
    found = jobs(
        "finetune", *FEW, "sweep.finetune_grid=true", "finetune.grid.batch=[8]", "++finetune.grid.epochs=[1,2]"
    )
    tried = [(job.config.finetune.lr, job.config.finetune.batch, job.config.finetune.epochs) for job in found]
    assert tried == 2 * [(lr, 8, epochs) for lr in (5e-4, 1e-3, 1.5e-3) for epochs in (1, 2)]
    assert found[-1].name == "static seed 1, mnli 2, lr=0.0015, batch=8, epochs=2"
    [alone] = jobs("finetune", *shlex.split(found[-1].command(parse(["sweep.finetune_grid=true"])))[2:])
    assert alone.path == found[-1].path and len({job.path for job in found}) == len(found)
    [plain, _] = jobs("finetune", *FEW)
    assert plain.path in {job.path for job in jobs("finetune", *FEW, "sweep.finetune_grid=true")}, (
        "the recipe's own setting"
    )
    assert len(jobs("finetune", *FEW, "sweep.finetune_grid=true", "finetune.lr=1e-4")) == 2 * 2, (
        "the user has chosen one"
    )
    assert len(jobs("pretrain", *FEW, "sweep.finetune_grid=true")) == 1


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ("{lr:[]}", r"finetune\.grid\.lr=\[\]: no list of numbers\. Allowed: \[NUMBER, \.\.\.\] of batch, lr, "),
        ("{rate:[1]}", r"finetune\.grid\.rate=\[1\]: no key of a grid\..* Allowed: "),
        ("{seed:[1]}", "finetune.grid.seed=.*: no key"),
        ("{lr:[x]}", "finetune.grid.lr=.*: no list of numbers"),
        ("{batch:[0]}", "finetune.batch=0: allowed is 1 to 65,536"),
    ],
)
def test_a_grid_that_cannot_be_searched_is_refused_in_one_line(grid: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        jobs("finetune", *FEW, "sweep.finetune_grid=true", f"++finetune.grid={grid}")


def test_the_recipe_of_a_task_is_taken_from_that_of_the_table_unless_its_task_is_a_stand_in() -> None:
    """Also where the user chooses the recipe, or nobody does; an option that has none for tasks stays."""
    few = ["sweep=table6_squad", "sweep.only=[base]", "sweep.seeds=[1]", "sweep.finetune_seeds=[1]"]
    columns = "sweep.tasks=[squad1,squad2]"  # smoke leaves them out unless asked for
    paper, smoke = config(*few, "scale=paper"), config(*few)
    assert paper.sweep is not None
    plain = replace(paper, sweep=replace(paper.sweep, base=[o for o in paper.sweep.base if o != "finetune=roberta"]))

    def chosen(of: Config, *user: str) -> list[list[str]]:
        places = expand(of, "finetune", parse(user))
        found = [[text for text in texts(place.overrides) if text.startswith("finetune")] for place in places]
        return [[text for text in words if not text.startswith("finetune.seed")] for words in found]

    assert chosen(paper) == chosen(plain) == [["finetune=roberta_squad1"], ["finetune=roberta_squad2"]]
    typed = chosen(paper, "finetune=bert", "finetune.lr=1e-4")
    assert typed == [["finetune.lr=1e-4", f"finetune=bert_{task}"] for task in ("squad1", "squad2")]
    assert chosen(paper, "finetune=roberta_race") == 2 * [["finetune=roberta_race"]]
    assert chosen(smoke, columns) == 2 * [["finetune=roberta"]] and chosen(smoke) == []


@pytest.mark.parametrize("scale", ["smoke", "mini", "paper"])
def test_the_name_of_a_recipe_and_its_grid_are_in_no_id_and_a_scale_s_own_settings_win(scale: str) -> None:
    def finetune_id(*words: str) -> str:
        return identity.directory(config(f"scale={scale}", *words), "finetune").name

    assert finetune_id() == finetune_id("finetune=roberta") == finetune_id("finetune.recipe=mine", "finetune.grid=null")
    assert (finetune_id("finetune=bert") == finetune_id()) is (scale == "smoke")


FEWEST = ["sweep.only=[doc_sentences]", "sweep.finetune_seeds=[1]"]  # of jobs that are composed one by one


@pytest.mark.parametrize("command", identity.KINDS)
@pytest.mark.parametrize(
    "user",
    [
        ["scale=paper"],
        ["finetune.lr=1e-3", "model.dropout=0", "seed=3"],
        ["++finetune.lr=1e-3", "++task.num_dev=7"],
        ["task.files.train=x", "task.columns.text_a=y"],
        ["sweep.finetune_seeds=[0,1]"],
        ["model.dropout=0.3", "finetune.dropout=${model.dropout}", *FEWEST],
        ["paths.outputs=there", "task.num_dev=${batch_size.steps}", *FEWEST],
        ["model.layers=${seed}", *FEWEST],
        ["scale.lr_factor=3", "finetune.lr=${rate:1e-3}"],
        ["seed=${oc.env:SEED}", *FEWEST],
        ["seed='5'"],
    ],
)
def test_configs_of_many_jobs_are_those_that_hydra_composes(
    command: str, user: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEED", "4")
    found = jobs(command, "sweep=table2_input_format", *user)
    sweep = config("sweep=table2_input_format", *(o for o in user if o.startswith(("sweep.", "scale=")))).sweep
    assert sweep is not None
    for job in found[:: max(1, len(found) - 1)]:
        made = config(*job.words)
        assert job.config == replace(made, sweep=replace(sweep, row=job.row))
        assert job.path == identity.directory(made, command)


def test_a_batch_that_follows_another_part_of_its_row_counts_in_the_common_batch_of_rows_that_are_left_out() -> None:
    """With the layers of the default model they would have 2, and no common divisor but 1."""
    words = ["sweep=table2_input_format", "model.layers=3", "batch_size.sequences=${model.layers}"]
    [one, *_] = jobs("pretrain", *words, "sweep.only=[doc_sentences]")
    assert one.config.batch_size.sequences == one.config.trainer.common_batch == 3


@pytest.mark.parametrize(
    ("overrides", "jobs"),
    [((), 3), (("hydra.launcher.n_jobs=5",), 5), (("hydra/launcher=basic",), None)],
)
def test_any_launcher_runs_the_jobs_and_joblib_as_many_as_trainer_jobs(
    overrides: tuple[str, ...], jobs: int | None
) -> None:
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    made = hydra.compose_config("config", ["trainer.jobs=3", *overrides], run_mode=RunMode.MULTIRUN)
    set_jobs(made)
    assert made.hydra.launcher.get("n_jobs") == jobs


BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"


@pytest.mark.parametrize(
    ("num_runs", "launcher", "said"),
    [
        (3, {"_target_": "J", "n_jobs": 2}, "3 runs, 2 side by side"),
        (3, {"_target_": "J", "n_jobs": 8}, "3 runs, 3 side by side"),
        (3, {"_target_": "J", "n_jobs": 1}, "3 runs, one after the other"),
        (99999, {"_target_": "J", "n_jobs": -1}, f"99999 runs, {joblib.cpu_count()} side by side"),
        (3, {"_target_": BASIC}, "3 runs, one after the other"),
        (3, {"_target_": "Slurm"}, "3 runs"),
    ],
)
def test_how_many_runs_go_side_by_side(num_runs: int, launcher: dict, said: str) -> None:
    if joblib.cpu_count() == 1:
        said = said.replace("1 side by side", "one after the other")
    assert side_by_side(num_runs, OmegaConf.create(launcher)) == said


@pytest.mark.parametrize(("seeds", "said"), [("1,2,3,2", ["3 runs, 2 side by side"]), ("1", [])])
def test_several_runs_are_announced_before_the_first(
    seeds: str, said: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Launcher:
        def launch(self, jobs: list, initial_job_idx: int) -> list:
            print(f"launched {len(jobs)}")
            return []

    def setup(self: RowSweeper, *, hydra_context: object, task_function: object, config: object) -> None:
        self.context, self.config, self.task, self.launcher = hydra_context, config, task_function, Launcher()
        set_jobs(config)

    monkeypatch.setattr(RowSweeper, "setup", setup)
    command = ["finetune", "-m", "task=pydoc_topic", f"finetune.seed={seeds}", "trainer.jobs=2"]
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        assert main.main(command) == 0
    finally:
        GlobalHydra.instance().hydra = before
    assert capsys.readouterr().out.splitlines() == [*said, f"launched {len(set(seeds.split(',')))}"]
