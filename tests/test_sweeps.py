"""The sweep files: each expands and builds at every scale, has the published settings, and shares the runs it can share."""

import hashlib
import itertools
import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose
from omegaconf import OmegaConf

from roberta_lab.axes.batch_size import LARGEST_BY_DEFAULT, micro_batch_size
from roberta_lab.axes.nsp import nsp_is_on
from roberta_lab.config import Config, SweepConfig
from roberta_lab.config.formatting import counted
from roberta_lab.data import storage
from roberta_lab.model.costs import costs_of
from roberta_lab.model.hardware import HARDWARE
from roberta_lab.reports.plan import costs_text, plan_of_runs
from roberta_lab.reports.table import columns
from roberta_lab.reports.table.columns import METRIC_OF_TASK, published
from roberta_lab.reports.table.judging import claims_of, margin_of_claim
from roberta_lab.runs import identity
from roberta_lab.runs.compose import build
from roberta_lab.runs.jobs import Job, jobs_of
from roberta_lab.runs.options import SWEEPS, groups
from roberta_lab.runs.overrides import parse
from roberta_lab.runs.sweeps import at_scale

SCALES = groups()["scale"]
TABLES = yaml.safe_load((Path(columns.__file__).parent / "published.yaml").read_text())
PINNED = yaml.safe_load((Path(__file__).parent / "pinned_ids.yaml").read_text(encoding="utf-8"))["sweeps"]


pytestmark = pytest.mark.usefixtures("composing")


@cache
def chosen(sweep: str, scale: str) -> Config:
    """The config of the sweep itself, one setting of each grid; that `sweep=NAME` composes is tested in test_composition."""
    file = OmegaConf.merge(OmegaConf.structured(SweepConfig), OmegaConf.load(SWEEPS / f"{sweep}.yaml"))
    tree = OmegaConf.create({"scale": OmegaConf.structured(scaled(scale).scale), "sweep": file})
    found = OmegaConf.to_object(tree.sweep)
    assert isinstance(found, SweepConfig)
    return replace(scaled(scale), sweep=replace(found, finetune_grid=False))


@cache
def scaled(scale: str) -> Config:
    return build(compose("config", [f"scale={scale}"]))


@cache
def jobs(sweep: str, scale: str, command: str) -> list[tuple[Job, Config]]:
    found = jobs_of(command, parse([f"sweep={sweep}", f"scale={scale}"]), chosen(sweep, scale))
    return [(job, job.config) for job in found]


def runs(sweep: str, scale: str) -> dict[str, str]:
    """Row -> the id of its pretraining run, of the first seed."""
    found: dict[str, str] = {}
    for job, config in jobs(sweep, scale, "pretrain"):
        found.setdefault(job.row, storage.digest(identity.science(config)))
    return found


@pytest.mark.parametrize("sweep", sorted(set(groups()["sweep"]) - {"finetune_glue"}))
def test_every_sweep_states_claims_about_its_own_rows_and_columns(sweep: str) -> None:
    """With a margin for each column; rows may be published ones. A grid of finetuning settings compares nothing."""
    file = chosen(sweep, "paper").sweep
    assert file is not None and file.claims
    rows = {*file.rows, *(published(file.published) if file.published else ())}
    for claim, column in claims_of(file):
        assert {claim.row, claim.over} <= rows and claim.row in file.rows and claim.source
        assert margin_of_claim(claim, column, file) > 0
        assert column == "common_bits_per_byte" or column in file.tasks


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("sweep", groups()["sweep"])
def test_every_job_of_every_sweep_builds(sweep: str, scale: str) -> None:
    """Jobs of one run are those whose stand-ins are the same: of tasks, at smoke."""
    found = jobs(sweep, scale, "finetune")
    ids = {storage.digest(identity.finetune_science(config)) for _, config in found}
    file = chosen(sweep, scale).sweep
    assert file is not None and file.name == sweep
    sized = at_scale(file, chosen(sweep, scale).scale, set())
    assert len(found) == len(file.rows) * len(sized.tasks) * len(sized.seeds) * len(sized.finetune_seeds)
    if scale != "smoke":
        assert len(ids) == len(found) and len(set(runs(sweep, scale).values())) in (len(file.rows), 1)
        assert all(config.task.name == job.task for job, config in found)
    else:
        tasks = {config.task.name for _, config in found}
        assert {config.task.family for _, config in found} <= {"pydoc"}
        rows = len({(storage.digest(identity.science(c)), c.finetune.batch, c.finetune.lr) for _, c in found})
        assert len(ids) == rows * len(tasks) * len(sized.finetune_seeds)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("sweep", groups()["sweep"])
def test_the_runs_of_every_sweep_keep_their_ids(sweep: str, scale: str) -> None:
    """Compares a digest of them with that of `pinned_ids.yaml`, which says when its line may change."""
    rows = [
        (kind, job.row, job.seed, job.task, job.finetune_seed, identity.directory(config, kind).name)
        for kind in identity.KINDS
        for job, config in jobs(sweep, scale, kind)
        if kind == "finetune" or identity.starts_from_run(config)
    ]
    text = json.dumps(sorted([*map(str, row)] for row in rows))
    assert [hashlib.sha256(text.encode()).hexdigest()[:16], len(rows)] == PINNED[scale][sweep]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("sweep", groups()["sweep"])
def test_all_rows_of_a_table_take_one_micro_batch(sweep: str, scale: str) -> None:
    """The largest, up to the usual limit, that divides each row's batch; or the one that the scale sets."""
    found = [(config.batch_size.sequences, config.trainer) for _, config in jobs(sweep, scale, "pretrain")]
    [size] = {micro_batch_size(sequences, trainer) for sequences, trainer in found} or {0}
    fitting = [n for n in range(1, LARGEST_BY_DEFAULT + 1) if all(sequences % n == 0 for sequences, _ in found)]
    own = scaled(scale).trainer.micro_batch_size
    assert not found or size == (max(fitting) if own is None else own)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("sweep", groups()["sweep"])
def test_rows_are_runs_of_their_own(sweep: str, scale: str) -> None:
    rows = runs(sweep, scale)
    same = [{row for row, other in rows.items() if other == own} for own in dict.fromkeys(rows.values())]
    expected = [set(rows)] if sweep == "finetune_glue" else []  # a grid of finetuning settings
    assert [group for group in same if len(group) > 1] == expected


def settings(config: Config) -> dict[str, Any]:
    """Of a config, under the names that the data file has."""
    batch, optimizer, masking = config.batch_size, config.optimizer, config.masking
    found = {name: getattr(config.model, name) for name in ("layers", "hidden", "heads", "ffn", "dropout")}
    found |= {f"adam_{name}": getattr(optimizer, name) for name in ("beta1", "beta2", "eps")}
    found |= {"weight_decay": optimizer.weight_decay, "warmup_steps": optimizer.warmup_steps, "nsp": nsp_is_on(config)}
    found |= {"batch": batch.sequences, "steps": batch.steps, "peak_lr": pytest.approx(batch.peak_lr, rel=1e-12)}
    found |= {"input_format": config.input_format.name, "max_length": config.input_format.max_length}
    found |= {"masking": masking.name, "mask_prob": masking.mask_prob, "num_patterns": masking.num_patterns}
    return found | {"corpora": sorted(config.data_mix.sources)}


@pytest.mark.parametrize(
    "table", ["table1_masking", "table2_input_format", "table3_batch_size", "table3_extended", "table4_data"]
)
def test_at_paper_scale_rows_have_exactly_the_published_settings(table: str) -> None:
    every = TABLES[table]["settings"]["every"]
    for job, config in jobs(table, "paper", "pretrain"):
        stated = every | TABLES[table]["settings"][job.row]
        stated["corpora"] = sorted(stated["corpora"])
        found = settings(config)
        assert {name: found[name] for name in stated} == stated, job.row
    rows = {job.row for job, _ in jobs(table, "paper", "pretrain")}
    assert rows == set(TABLES[table]["settings"]) - {"every"}


@pytest.mark.parametrize("sweep", groups()["sweep"])
def test_rows_and_columns_stand_beside_published_ones(sweep: str) -> None:
    file = chosen(sweep, "paper").sweep
    assert file is not None
    if file.published is None:
        return
    figures = published(file.published)
    assert [row for row in file.rows if row not in figures] == (["base"] if "base" in file.rows else [])
    metrics = set(TABLES[file.published]["metrics"])
    assert {METRIC_OF_TASK[task] for task in file.tasks} <= metrics


def test_rows_are_compared_with_the_papers_setting() -> None:
    rates, patterns = (chosen(name, "paper").sweep for name in ("masking_rate", "static_patterns"))
    assert rates is not None and rates.rows[rates.reference or ""] == ["masking=dynamic", "masking.mask_prob=0.15"]
    assert patterns is not None and patterns.rows[patterns.reference or ""] == [
        "masking=static",
        "masking.num_patterns=10",
    ]


@pytest.mark.parametrize("scale", SCALES)
def test_equal_rows_of_different_tables_are_one_run(scale: str) -> None:
    one, two, three, longer = (
        runs(name, scale) for name in ("table1_masking", "table2_input_format", "table3_batch_size", "table3_extended")
    )
    assert one["dynamic"] == two["segment_pair+nsp"]
    assert two["full_sentences"] == three["256"] == longer["256x1m"], "Section 4.3 comes after full_sentences won"
    assert (three["2k"], three["8k"]) == (longer["2kx125k"], longer["8kx31k"])
    four, five, eight = (runs(name, scale) for name in ("table4_data", "table5_glue", "table8_glue_by_config"))
    assert four["all_500k"] == five["roberta"] == eight["large_all_500k"]
    assert five == runs("table6_squad", scale) == runs("table7_race", scale) and five["base"] == eight["base_all_500k"]
    assert list(four.values()) == list(eight.values())[1:]
    corpora = runs("corpora_one_by_one", scale)
    assert (corpora["books_wiki"], corpora["with_stories"]) == (four["books_wiki_100k"], four["all_100k"])
    patterns, pairs = runs("static_patterns", scale), runs("nsp_off_with_segment_pair", scale)
    assert (patterns["10"], patterns["dynamic"]) == (one["static"], one["dynamic"])
    assert (pairs["segment_pair+nsp"], pairs["full_sentences"]) == (two["segment_pair+nsp"], two["full_sentences"])
    assert (
        runs("masking_rate", scale)["15%"] == two["full_sentences"] == runs("text_encoding", scale)["bytelevel_bpe_50k"]
    )


def test_every_task_and_corpus_of_the_paper_has_a_stand_in_at_smoke() -> None:
    stands_for = chosen("table1_masking", "smoke").scale.stands_for
    assert {f"task={task}" for task in METRIC_OF_TASK if task != "blimp"} <= set(stands_for), "blimp is of no table"
    corpora = set(groups()["data_mix"]) - {"own", "pydoc"}
    assert {f"data_mix={mix}" for mix in corpora} <= set(stands_for)


@pytest.mark.parametrize("scale", ["laptop", "mini"])
def test_at_the_scales_of_evidence_nothing_but_its_size_stands_for_the_paper(scale: str) -> None:
    """Real corpora and real tasks: the embedded documentation is in no row and no column, whatever is left out."""
    for sweep in groups()["sweep"]:
        found = [config for kind in ("pretrain", "finetune") for _, config in jobs(sweep, scale, kind)]
        assert all("pydoc" not in config.data_mix.sources and config.task.family != "pydoc" for config in found)


@pytest.mark.parametrize("scale", ["laptop", "mini"])
def test_passes_over_the_text_are_those_of_the_paper(scale: str) -> None:
    """Table 1: 40 (Section 4.1). Table 4: 8K x 512 x 100K tokens are 125 of the text's at paper scale, and so on."""
    found = {job.row: costs_of(config) for job, config in jobs("table1_masking", scale, "pretrain")}
    assert all(row.passes == pytest.approx(40, rel=0.02) for row in found.values())
    ours, paper = (
        {job.row: costs_of(config).passes for job, config in jobs("table4_data", at, "pretrain")}
        for at in (scale, "paper")
    )
    assert ours == pytest.approx(paper, rel=0.06)


@pytest.mark.parametrize("scale", ["smoke", "laptop", "mini"])
def test_corpora_have_the_ratio_of_their_gigabytes(scale: str) -> None:
    found = {job.row: config.data_mix.train_tokens for job, config in jobs("corpora_one_by_one", scale, "pretrain")}
    tokens = [*found.values()]
    assert [round(16 * number / tokens[0], 2) for number in tokens] == [16, 92, 130, 160]


@pytest.mark.parametrize("scale", SCALES)
def test_the_share_of_the_warmup_is_the_same_at_every_scale(scale: str) -> None:
    for table, row, share in (("table1_masking", "static", 0.01), ("table4_data", "all_500k", 0.06), ("table5_glue", "base", 0.048)):  # fmt: skip
        config = next(config for job, config in jobs(table, scale, "pretrain") if job.row == row)
        assert config.optimizer.warmup_steps / config.batch_size.steps == pytest.approx(share, rel=0.02), (table, scale)


GLUE, RACE = ("mnli", "sst2"), ("race",)
OF_RECIPE = {  # batches, rates, epochs, weight decay, share of the warmup, beta2
    # Devlin et al. 2019, Sections 4.1 to 4.3, and their code
    ("table2_input_format", "bert"): {
        (*GLUE, *RACE): ([32], [2e-5, 3e-5, 4e-5, 5e-5], 3, 0.01, 0.1, 0.999),
        ("squad1",): ([32], [5e-5], 3, 0.01, 0.1, 0.999),
        ("squad2",): ([48], [5e-5], 2, 0.01, 0.1, 0.999),
    },
    # RoBERTa, Table 10
    ("table4_data", "roberta"): {
        GLUE: ([16, 32], [1e-5, 2e-5, 3e-5], 10, 0.1, 0.06, 0.98),
        ("squad1", "squad2"): ([48], [1.5e-5], 2, 0.01, 0.06, 0.98),
    },
    ("table7_race", "roberta"): {RACE: ([16], [1e-5], 4, 0.1, 0.06, 0.98)},
}


@pytest.mark.parametrize(("table", "recipe"), OF_RECIPE)
def test_at_paper_scale_each_task_has_the_grid_of_its_recipe_over_five_seeds(table: str, recipe: str) -> None:
    found: dict[str, list[Config]] = {}
    first = next(iter(chosen(table, "paper").sweep.rows))  # type: ignore[union-attr]
    for job in jobs_of("finetune", parse([f"sweep={table}", "scale=paper", f"sweep.only=[{first}]"])):
        assert job.task is not None and all(override in job.overrides for override in job.setting)
        found.setdefault(job.task, []).append(job.config)
    stated = {task: values for tasks, values in OF_RECIPE[table, recipe].items() for task in tasks}
    assert set(found) == set(stated)
    for task, configs in found.items():
        batches, rates, epochs, decay, warmup, beta2 = stated[task]
        tunes = [config.finetune for config in configs]
        assert sorted({(t.batch, t.lr) for t in tunes}) == sorted(itertools.product(batches, rates)), task
        assert len({identity.directory(config, "finetune") for config in configs}) == 5 * len(batches) * len(rates)
        assert {(t.epochs, t.weight_decay, t.warmup_ratio, t.beta2, t.dropout) for t in tunes} == {(epochs, decay, warmup, beta2, 0.1)}  # fmt: skip


FOLLOWS_BERT = {"table1_masking", "table2_input_format", "table3_batch_size", "table3_extended"}
FOLLOWS_BERT |= {
    "masking_rate",
    "static_patterns",
    "nsp_off_with_segment_pair",
    "nsp_weight",
    "schedules",
    "sentence_order",
}
FOLLOWS_BERT |= {"span_masking", "text_encoding", "lr_scaling", "large_batch_optimizers"}


@pytest.mark.parametrize("sweep", groups()["sweep"])
def test_what_follows_section_4_is_finetuned_as_bert_and_the_rest_as_roberta(sweep: str) -> None:
    for scale in ("mini", "paper"):
        recipes = {config.finetune.recipe for _, config in jobs(sweep, scale, "finetune")}
        owners = {recipe.partition("'s")[0] for recipe in recipes}
        assert owners == ({"BERT"} if sweep in FOLLOWS_BERT else {"RoBERTa"}), recipes
    assert {config.finetune.recipe for _, config in jobs(sweep, "smoke", "finetune")} <= {"this scale's own"}


@pytest.mark.parametrize("sweep", groups()["sweep"])
def test_each_file_opens_with_its_question_its_reference_and_its_cost(sweep: str) -> None:
    text = (SWEEPS / f"{sweep}.yaml").read_text()
    lines = text.splitlines()
    assert lines[0].startswith("# Question: ") and lines[0].endswith("?")
    assert re.match(r"# (Paper|Open): \w", lines[1]), "a reference, or what leaves the question open"
    costs = []
    for scale in ("smoke", "laptop", "mini", "paper"):
        plan = plan_of_runs(chosen(sweep, scale), [job for job, _ in jobs(sweep, scale, "pretrain")])
        hours = f"{costs_text(plan.distinct)} {HARDWARE[plan.hardware].unit}-hours ({plan.hardware})"
        costs.append(f"# Cost, {scale}: {counted(len(plan.distinct), 'run')}, {hours}")
    wanted = "\n".join(costs)
    assert wanted in text, f"the cost that `plan` reckons:\n{wanted}"
