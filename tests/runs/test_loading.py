"""`roberta_lab.load_run`: runs of earlier code as a notebook takes them, from any directory; what it says when it cannot."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from small_run import SMALL

import roberta_lab
from roberta_lab.cli import main
from roberta_lab.config import ConfigError, Damaged
from roberta_lab.runs import composition
from roberta_lab.runs.overrides import parse
from roberta_lab.runs.registration import register

EARLIER = Path(__file__).parents[1] / "earlier_runs"
PRETRAINED, FINETUNED, INTERRUPTED = "6d7c4380a636", "7485c5c1954f", "9139db36a937"
MASKED = "The harbour has two <mask> and one <mask>."


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the runs, with their tokenizer prepared."""
    home = Path(shutil.copytree(EARLIER, tmp_path_factory.mktemp("earlier") / "copy"))
    overrides = yaml.safe_load((home / "runs" / "pretrain" / PRETRAINED / "overrides.yaml").read_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        assert main.main(["prepare", *overrides]) == 0
    return home


@pytest.fixture
def runs(home: Path) -> Path:
    """The outputs, seen from another directory than the one in which the runs were made."""
    return home / "runs"


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A copy of the pretraining run without its data, to be spoilt."""
    return Path(shutil.copytree(EARLIER / "runs" / "pretrain" / PRETRAINED, tmp_path / "o" / "pretrain" / PRETRAINED))


def noted(run: Path) -> dict[str, Any]:
    return json.loads((run / "result.json").read_text())


# ---------------------------------------------------------------- what a run gives
def test_a_pretraining_run_is_found_by_path_id_and_prefix(runs: Path) -> None:
    path = runs / "pretrain" / PRETRAINED
    found = [
        roberta_lab.load_run(path),
        roberta_lab.load_run(PRETRAINED, runs),
        roberta_lab.load_run(PRETRAINED[:3], str(runs)),
    ]
    for run in found:
        assert (run.id, run.kind, run.path) == (PRETRAINED, "pretrain", path)
        assert run.result is not None and json.loads(json.dumps(run.result.to_json())) == noted(path)
        assert (run.config.seed, run.config.masking.whole_words, run.config.batch_size.steps) == (3, True, 12)
        assert run.config.data_mix.sources["own"].document_separator == "blank_line"


def test_metrics_are_one_row_a_step_and_a_column_a_name(runs: Path) -> None:
    run = roberta_lab.load_run(PRETRAINED, runs)
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    metrics = run.metrics
    assert list(metrics.step) == list(range(1, 13)) and metrics.columns[0] == "step"
    for line in lines:
        row = metrics[metrics.step == line["step"]].iloc[0]
        assert {name: row[name] for name in line} == line
    assert metrics["val/ppl"].notna().sum() == 2, "the steps with a validation"
    assert metrics["val/ppl"].iloc[-1] == noted(run.path)["val/ppl"]


def test_model_and_tokenizer_fill_masks_as_predict_does(runs: Path) -> None:
    run = roberta_lab.load_run(PRETRAINED, runs)
    ids = torch.tensor([run.tokenizer.encode(MASKED).ids])
    assert not run.model.training and run.model is run.model and run.tokenizer is run.tokenizer
    with torch.inference_mode():
        hidden = run.model.encoder(ids)
        shares = run.model.mlm_logits(hidden[ids == run.tokenizer.token_to_id("<mask>")]).softmax(1)
    [expected] = map(json.loads, (EARLIER / "expected" / "fill_mask.jsonl").read_text().splitlines())
    assert len(shares) == len(expected["masks"]) == 2
    for found, mask in zip(shares, expected["masks"], strict=True):
        likely = found.topk(len(mask))
        assert likely.indices.tolist() == [candidate["id"] for candidate in mask]
        assert likely.values.tolist() == pytest.approx([c["probability"] for c in mask], rel=1e-5)


def test_a_finetuned_run_has_its_own_model_and_tokenizer(runs: Path) -> None:
    run = roberta_lab.load_run(FINETUNED, runs)
    assert run.kind == "finetune" and run.result is not None
    assert run.result.finetuning.score == noted(run.path)["score"] == run.metrics["dev/accuracy"].max()
    text = run.tokenizer.encode("It rained <mask> a week")
    assert text.ids == roberta_lab.load_run(PRETRAINED, runs).tokenizer.encode("It rained <mask> a week").ids
    with torch.inference_mode():
        hidden = run.model.encoder(torch.tensor([text.ids]))
    assert hidden.shape == (1, len(text.ids), run.config.model.hidden) and not run.model.training


def test_an_interrupted_run_has_no_result_and_the_model_of_its_newest_checkpoint(runs: Path) -> None:
    run = roberta_lab.load_run(INTERRUPTED[:3], runs)
    assert run.result is None and run.metrics.step.max() == 6
    ids = torch.tensor([run.tokenizer.encode(MASKED).ids])
    assert run.model.encoder(ids).shape == (1, ids.shape[1], 16)


def test_a_run_that_logged_nothing_has_an_empty_frame(broken: Path) -> None:
    (broken / "metrics.jsonl").unlink()
    assert list(roberta_lab.load_run(broken).metrics.columns) == ["step"]


# ---------------------------------------------------------------- configs of other versions
def changed(run: Path, change: Any) -> None:
    values = yaml.safe_load((run / "config.yaml").read_text())
    change(values)
    (run / "config.yaml").write_text(yaml.safe_dump(values))


def test_a_key_or_group_that_came_later_has_its_default(broken: Path) -> None:
    def older(values: dict[str, Any]) -> None:
        del values["masking"]["random_share"], values["finetune"]["init_from"], values["precision"], values["plan"]

    changed(broken, older)
    config = roberta_lab.load_run(broken).config
    assert (config.masking.random_share, config.finetune.init_from, config.precision.dtype) == (0.1, None, "fp32")
    assert config.plan.devices == 1 and config.masking.whole_words is True


def test_a_value_that_today_is_out_of_range_is_the_runs_own(broken: Path) -> None:
    changed(broken, lambda values: values["trainer"].update(num_validations=0))
    assert roberta_lab.load_run(broken).config.trainer.num_validations == 0


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda values: values["masking"].update(colour=3), ["masking.colour"]),
        (lambda values: values.update(flavour={"name": "x"}), ["flavour"]),
        (
            lambda values: values["data_mix"]["sources"]["own"].update(colour=1),
            ["data_mix.own.colour", "Allowed: kind"],
        ),
        (lambda values: values["masking"].update(mask_prob="much"), ["masking.mask_prob", "much"]),
        (lambda values: values["masking"].pop("name"), ["masking.name"]),
    ],
)
def test_a_config_that_is_not_understood_is_one_line(change: Any, parts: list[str], broken: Path) -> None:
    changed(broken, change)
    with pytest.raises(ConfigError) as error:
        roberta_lab.load_run(broken)
    said = str(error.value)
    assert "\n" not in said and all(part in said for part in [str(broken / "config.yaml"), *parts]), said


# ---------------------------------------------------------------- mistakes
@pytest.mark.parametrize(
    ("path_or_id", "parts"),
    [
        ("6d7c4380a637", ["no such run among 4 runs in", "/runs/pretrain and ", "/runs/finetune", "'6d7c4380a636'"]),
        ("table1", ["table1: no run", "Allowed: an id", "pretrain/ID"]),
        ("", [": no run"]),
    ],
)
def test_what_names_no_run_is_one_line(path_or_id: str, parts: list[str], runs: Path) -> None:
    with pytest.raises(roberta_lab.ConfigError) as error:
        roberta_lab.load_run(path_or_id, runs)
    assert "\n" not in str(error.value) and all(part in str(error.value) for part in parts), error.value


def test_digits_that_two_runs_begin_with_are_not_enough(broken: Path) -> None:
    other = shutil.copytree(broken, broken.parent / f"{PRETRAINED[:3]}000000000")
    with pytest.raises(roberta_lab.ConfigError) as error:
        roberta_lab.load_run(PRETRAINED[:3], broken.parents[1])
    parts = ["2 runs in", "give more digits", f"pretrain {PRETRAINED}", f"pretrain {other.name}"]
    assert "\n" not in str(error.value) and all(part in str(error.value) for part in parts), error.value


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_damaged_result_says_how_to_mend_it(text: str, broken: Path) -> None:
    (broken / "result.json").write_text(text)
    with pytest.raises(Damaged, match=r"result\.json cannot be read .*; delete it"):
        roberta_lab.load_run(broken)


@pytest.mark.parametrize("text", ["a: [", "- a", "3", ""])
def test_a_damaged_config_is_one_line(text: str, broken: Path) -> None:
    (broken / "config.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        roberta_lab.load_run(broken)
    assert "\n" not in str(error.value) and "config.yaml" in str(error.value), error.value


def test_what_is_not_there_is_named_with_the_command_that_makes_it(broken: Path, runs: Path, tmp_path: Path) -> None:
    run = roberta_lab.load_run(broken)
    with pytest.raises(
        ConfigError, match=r"the tokenizer of .* is not in .*/o/cache/tokenizer; .*: roberta-lab prepare "
    ):
        _ = run.tokenizer
    assert run.model.encoder is not None, "the model needs no tokenizer"
    shutil.rmtree(broken / "checkpoints")
    with pytest.raises(ConfigError, match="no whole final checkpoint"):
        _ = roberta_lab.load_run(broken).model
    (broken / "result.json").unlink()
    with pytest.raises(ConfigError, match=r"no whole checkpoint yet; .*: roberta-lab pretrain .*seed=3"):
        _ = roberta_lab.load_run(broken).model
    tuned = Path(shutil.copytree(runs / "finetune" / FINETUNED, tmp_path / "o" / "finetune" / FINETUNED))
    (tuned / "finetuned.ckpt").unlink()
    with pytest.raises(ConfigError, match=r"has no weights, .*: roberta-lab finetune .*finetune\.save_model=true"):
        _ = roberta_lab.load_run(tuned).model


@pytest.mark.parametrize(
    ("outputs", "cache", "place"),
    [
        ("runs", "runs/cache", "/there/runs/cache"),  # moved with the outputs
        ("/data/outputs", "/data/outputs/cache", "/there/runs/cache"),
        ("runs", "prepared", "/there/prepared"),
        ("a/runs", "prepared", "/prepared"),
        ("runs", "/scratch/cache", "/scratch/cache"),
    ],
)
def test_prepared_data_are_looked_for_where_the_outputs_lie_now(outputs: str, cache: str, place: str) -> None:
    register()
    with composition.composing():
        config = composition.composed(parse([*SMALL, f"paths.outputs={outputs}", f"paths.cache={cache}"]))
    run = roberta_lab.Run("pretrain", Path("/there/runs/pretrain/aa"), config, None)
    assert str(run._cache) == place
