"""A key that comes later orphans no run: it has a neutral value, at which no id counts it."""

import dataclasses
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from composed_jobs import config

from roberta_lab.axes.mask_positions import POSITIONS
from roberta_lab.config import Config, MaskingConfig, schema
from roberta_lab.config.later_keys import later, settings
from roberta_lab.data.storage import digest
from roberta_lab.runs import identity

FIRST = yaml.safe_load(Path(__file__).with_name("first_keys.yaml").read_text(encoding="utf-8"))
SCIENCE = [
    part
    for name, part in vars(schema).items()
    if dataclasses.is_dataclass(part) and part.__module__ == schema.__name__ and part is not Config
]


def undeclared(part: Any, first: list[str]) -> list[str]:
    """The keys of a part of the schema that are neither old nor have a neutral value."""
    return [f.name for f in dataclasses.fields(part) if f.name not in first and "neutral" not in f.metadata]


@pytest.mark.parametrize("part", SCIENCE, ids=lambda part: part.__name__)
def test_every_new_key_of_science_has_a_neutral_value(part: Any) -> None:
    assert undeclared(part, FIRST.get(part.__name__, [])) == []
    names = {f.name for f in dataclasses.fields(part)}
    assert set(FIRST.get(part.__name__, [])) <= names, "a key is gone, so runs that set it are not found"


def test_a_new_key_without_a_neutral_value_is_noticed() -> None:
    careless = dataclasses.make_dataclass("Careless", [("rate", float, 0.5)], bases=(MaskingConfig,))
    careful = dataclasses.make_dataclass("Careful", [("rate", float, later(0.5))], bases=(MaskingConfig,))
    assert (
        undeclared(careless, FIRST["MaskingConfig"]) == ["rate"] and undeclared(careful, FIRST["MaskingConfig"]) == []
    )


def test_every_group_of_science_is_in_ids() -> None:
    """Else two runs with other values of it would share a folder."""
    found = {f.name for f in dataclasses.fields(Config) if "circumstance" not in str(f.type)}
    known = {*identity.SCIENCE, *identity.LATER_GROUPS, "seed", "nsp", "pretrained", "task", "finetune"}
    assert found - {"scale", "trainer", "logger", "sweep", *circumstances()} == known


def circumstances() -> set[str]:
    return {f.name for f in dataclasses.fields(Config) if getattr(f.type, "__module__", "").endswith("circumstance")}


def test_neutral_is_as_before_and_need_not_be_the_default() -> None:
    wider = dataclasses.make_dataclass("Wider", [("rate", float, later(0.5, default=0.7))], bases=(MaskingConfig,))
    before = settings(MaskingConfig("dynamic"))
    assert settings(wider("dynamic", rate=0.5)) == before
    assert settings(wider("dynamic")) == {**before, "rate": 0.7}


@pytest.mark.usefixtures("composing")
@pytest.mark.parametrize(
    ("changed", "counts"),
    {
        "schedule=cosine": True,
        "optimizer.name=lamb": True,
        "masking.positions=span": True,
        "masking.span_p=0.5": False,  # read by spans only
        "masking.max_span=3": False,
        "nsp=sop": True,
        "nsp.weight=0.5": True,
        "schedule.name=linear": False,
        "trainer.noise_scale_every=5": False,
    }.items(),
)
def test_what_changes_the_result_changes_the_id(changed: str, counts: bool) -> None:
    assert (digest(identity.science(config(changed))) != digest(identity.science(config()))) is counts


@pytest.mark.usefixtures("composing")
def test_settings_that_mean_the_same_are_the_same_run() -> None:
    def run_id(*overrides: str) -> str:
        return digest(identity.science(config(*overrides)))

    assert run_id("masking.whole_words=true") == run_id("masking.positions=whole_words") != run_id()
    assert run_id("masking=span") == run_id("masking.positions=span", "masking.span_p=0.2")
    assert run_id("masking=span", "masking.span_p=0.3") != run_id("masking=span")
    unpaired = ["input_format=full_sentences"]
    assert run_id(*unpaired, "nsp=sop", "nsp.weight=0.5") == run_id(*unpaired)  # no pairs, no loss of them
    assert run_id("nsp=off", "nsp.weight=0.5") == run_id("nsp=off") != run_id("nsp=off", "nsp.pairs=swapped")


def test_a_new_rule_of_places_has_ids_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the keys that it reads, and no others."""

    def found(**values: Any) -> dict[str, Any]:
        return identity.mask_settings(MaskingConfig("dynamic", **values))

    for name, reads in (("ends", ()), ("long_spans", ("max_span",))):
        monkeypatch.setitem(POSITIONS, name, replace(POSITIONS["uniform"], reads=reads))
        assert found(positions=name) != found() and found(positions=name)["positions"] == name
        assert found(positions=name, span_p=0.5) == found(positions=name)
        assert (found(positions=name, max_span=3) == found(positions=name)) is not bool(reads)
