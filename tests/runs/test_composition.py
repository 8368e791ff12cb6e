"""Every option composes; a user's mistake ends in one line that names the right thing; identity covers science and nothing else."""

from pathlib import Path

import pytest
from composed_jobs import config
from hydra import compose

from roberta_lab.axes.batch_size import micro_batch_size
from roberta_lab.config import Config, ConfigError
from roberta_lab.data import storage
from roberta_lab.runs import identity
from roberta_lab.runs.jobs import Job, pretrained_run
from roberta_lab.runs.options import default_options, groups
from roberta_lab.runs.overrides import parse, texts

pytestmark = pytest.mark.usefixtures("composing")


def run_id(*overrides: str) -> str:
    return storage.digest(identity.science(config(*overrides)))


@pytest.mark.parametrize(
    "choice", [f"{group}={o}" for group, options in groups().items() for o in options if o != "on"]
)
def test_every_option_composes(choice: str) -> None:
    assert isinstance(config(choice), Config)


@pytest.mark.parametrize(
    ("option", "sequences", "steps", "peak_lr"),
    [("bsz256", 256, 1_000_000, 1e-4), ("bsz2k", 2048, 125_000, 7e-4), ("bsz8k", 8192, 31_000, 1e-3)],
)
def test_paper_scale_is_table_3(option: str, sequences: int, steps: int, peak_lr: float) -> None:
    batch = config("scale=paper", f"batch_size={option}").batch_size
    assert (batch.sequences, batch.steps, batch.peak_lr) == (sequences, steps, peak_lr)


def test_a_scale_keeps_the_ratios_of_batches_and_steps() -> None:
    small, large = (config(f"batch_size={o}").batch_size for o in ("bsz256", "bsz2k"))
    assert (large.sequences / small.sequences, large.steps / small.steps) == (8, 0.125)


def test_rates_of_large_batches_are_cut_where_a_scale_says_so_and_nowhere_else() -> None:
    def rates(*overrides: str) -> list[float]:
        return [config(f"batch_size={o}", *overrides).batch_size.peak_lr for o in ("bsz256", "bsz2k", "bsz8k")]

    assert rates() == pytest.approx([2e-3, 5e-3, 5e-3])
    assert rates("scale.largest_lr=null") == pytest.approx([2e-3, 1.4e-2, 2e-2])
    assert rates("scale=mini") == pytest.approx([5e-4, 2e-3, 2e-3])
    assert config("batch_size=bsz8k", "batch_size.peak_lr=2e-2").batch_size.peak_lr == 2e-2


def test_an_explicit_number_is_taken_as_written() -> None:
    assert config("batch_size.sequences=48").batch_size.sequences == 48
    assert micro_batch_size(48, config().trainer) == 24
    assert config("model=base").model.layers == 12


@pytest.mark.parametrize(
    ("override", "right"),
    [("maskng=static", "'masking'"), ("masking=statc", "'static'"), ("masking.mask_prb=1", "'mask_prob'")],
)
def test_a_misspelling_is_answered_with_the_nearest_name(override: str, right: str) -> None:
    with pytest.raises(ConfigError, match=f"Did you mean {right}.*Allowed: ") as error:
        config(override)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["nsp=on", "input_format=full_sentences"], "input_format=full_sentences"),
        (["masking.mask_prob=1.5"], "masking.mask_prob=1.5"),
        (["masking.mask_share=0.8", "masking.random_share=0.3"], "random_share=0.3"),
        (["batch_size.sequences=0"], "batch_size.sequences=0"),
        (["trainer.devices=3"], "batch_size.sequences=16 does not divide into 3"),
        (["trainer.micro_batch_size=most"], "trainer.micro_batch_size=most"),
    ],
)
def test_contradictions_are_refused(overrides: list[str], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        config(*overrides)


def test_identity_is_of_values_not_of_option_names() -> None:
    assert run_id() == run_id("nsp=on") == run_id("nsp=auto", "masking.num_patterns=3") == run_id("seed=1")
    assert (
        run_id("batch_size=bsz2k", "batch_size.sequences=16", "batch_size.steps=2000", "batch_size.peak_lr=2e-3")
        == run_id()
    )


@pytest.mark.parametrize(
    "circumstance",
    [
        "trainer.micro_batch_size=4",
        "trainer.micro_batch_size=auto",
        "trainer.devices=2",
        "trainer=ddp",
        "trainer.nodes=2",
        "slurm=many_nodes",
        "paths.outputs=elsewhere",
        "logger.wandb=off",
        "slurm=one_node",
        "slurm_light.partition=cpu",
        "reproduce.launch=slurm",
        "sweep=table1_masking",
    ],
)
def test_circumstance_does_not_change_the_id(circumstance: str) -> None:
    assert run_id(circumstance) == run_id()


@pytest.mark.parametrize(
    "science",
    [
        "seed=2",
        "masking=static",
        "nsp=off",
        "precision=bf16",
        "model=mini",
        "batch_size.steps=70",
        "tokenizer.vocab_size=999",
    ],
)
def test_science_changes_the_id(science: str) -> None:
    assert run_id(science) != run_id()


def test_static_patterns_are_science() -> None:
    assert run_id("masking=static") != run_id("masking=static", "masking.num_patterns=5")


def test_the_metric_that_chooses_the_best_epoch_is_science_of_finetuning() -> None:
    f1, em, other = (config("task=pydoc_span", f"task.{o}") for o in ("metric=f1", "metric=em", "stands_for=squad1"))
    ids = [storage.digest(identity.finetune_science(c)) for c in (f1, em, other)]
    assert ids[0] != ids[1] and ids[0] == ids[2]


@pytest.mark.parametrize(
    "override",
    [
        *("model.heads=0", "finetune.batch=0", "finetune.epochs=0", "trainer.num_validations=0", "model.dropout=2"),
        *("data_mix.held_out_share=1.5", "task.metric=f1", "trainer.checkpoint_every_steps=0"),
    ],
)
def test_values_out_of_range_are_refused_before_any_work(override: str) -> None:
    with pytest.raises(ConfigError, match=override.partition("=")[0]):
        config(override)


@pytest.mark.parametrize("metric", ["exact", "best_f1", "best_exact"])
def test_squad1_has_no_metrics_of_unanswerable_questions(metric: str) -> None:
    with pytest.raises(ConfigError, match=rf"^task\.metric={metric}: unknown for span \(squad1\)\. Allowed: f1, em\.$"):
        config("task=squad1", f"task.metric={metric}")
    assert config("task=squad2", f"task.metric={metric}").task.metric == metric


def test_the_advice_names_only_formats_that_exist() -> None:
    with pytest.raises(ConfigError, match=r"input_format=segment_pair\|sentence_pair\.$"):
        config("nsp=on", "input_format=full_sentences")


def test_where_a_corpus_lies_is_circumstance_and_how_it_is_read_is_science() -> None:
    here, there = (f"data_mix.wikipedia.path={path}" for path in ("here", "there"))
    assert run_id("data_mix=books_wiki", here) == run_id("data_mix=books_wiki", there) != run_id()
    assert run_id("data_mix=books_wiki") != run_id("data_mix=books_wiki", "data_mix.wikipedia.kind=wikiextractor")
    with pytest.raises(ConfigError, match=r"data_mix\.books\.kind=jsnl: unknown\. Did you mean 'jsonl'"):
        config("data_mix=books_wiki", "data_mix.books.kind=jsnl")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data_mix.books.pth=x"], r"data_mix\.books\.pth: no such key\. Did you mean 'path'"),
        (["data_mix.boks.path=x"], r"data_mix\.boks\.kind is missing\. Allowed: pydoc, text"),
        (["data_mix.books.weight=many"], r"data_mix\.books\.weight=many: allowed is a number"),
        (["data_mix.books.weight=1"], r"data_mix\.books has a weight and data_mix\.wikipedia no weight"),
        (
            ["data_mix.books.weight=1", "data_mix.wikipedia={kind: text, weight: 1, repeats: 2}"],
            "wikipedia repeats too",
        ),
        (["data_mix.books.repeats=0"], r"data_mix\.books\.repeats=0\.0: allowed is more than 0"),
    ],
)
def test_a_mistake_in_a_source_is_one_line(overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config("data_mix=books_wiki", *overrides)


def test_sources_are_set_and_added_by_their_names() -> None:
    found = config("data_mix=own", "data_mix.own.path=a", "data_mix.more={kind: csv, path: b, repeats: 3}").data_mix
    assert (found.sources["own"].path, found.sources["own"].kind) == ("a", "text")
    assert (found.sources["more"].text_field, found.sources["more"].repeats) == ("text", 3.0)
    assert (
        found
        == config(
            "data_mix=own", "data_mix.sources.own.path=a", "data_mix.sources.more={kind: csv, path: b, repeats: 3}"
        ).data_mix
    )
    only = config("data_mix=own", "data_mix.b={kind: csv, path: b}", "data_mix.a={kind: csv, path: a}", "~data_mix.own")
    assert list(only.data_mix.sources) == ["a", "b"], "their order means nothing"
    plain = ["data_mix.train_tokens=5", "data_mix=own", "seed=1"]
    assert texts(parse(plain)) == plain


def test_a_published_tokenizer_is_known_by_its_content_and_a_dataset_by_its_name(tmp_path: Path) -> None:
    for name, pieces in (("a", "x"), ("b", "x"), ("c", "y")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vocab.txt").write_text(pieces)
    one, two, three = (run_id("tokenizer=wordpiece_30k", f"tokenizer.path={tmp_path / name}") for name in "abc")
    assert one == two != three and one != run_id("tokenizer=wordpiece_30k")
    hub = [
        run_id(f"data_mix.web={{kind: hub, hub: {{path: {name}, revision: '{'0' * 40}'}}}}")
        for name in ("me/a", "me/b")
    ]
    assert hub[0] != hub[1]


def test_the_command_that_makes_a_missing_run_leaves_out_the_finetuning_s_own_keys_however_they_are_added(
    tmp_path: Path,
) -> None:
    given = parse(["masking=static", "task=mnli", "task.files.train=train.10k.tsv", "finetune.seed=2"])
    assert "++task.files.train=train.10k.tsv" in texts(given)
    with pytest.raises(ConfigError) as found:
        pretrained_run(Job("finetune", config(f"paths.outputs={tmp_path}", *texts(given)), given))
    assert str(found.value).endswith(": roberta-lab pretrain masking=static")


def test_default_options_are_those_that_hydra_chooses() -> None:
    choices = compose("config", return_hydra_config=True).hydra.runtime.choices
    assert default_options() == {group: choices[group] for group in groups() if choices.get(group) is not None}


def test_warmup_may_last_to_the_last_step_and_no_longer() -> None:
    assert config("batch_size.steps=30", "optimizer.warmup_steps=30").optimizer.warmup_steps == 30
    with pytest.raises(ConfigError, match=r"warmup_steps=31 is more than batch_size.steps=30"):
        config("batch_size.steps=30", "optimizer.warmup_steps=31")
