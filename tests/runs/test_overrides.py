"""Words become overrides at the door, once, by Hydra's own parser; from there on they are objects."""

import pytest

from roberta_lab.config import ConfigError
from roberta_lab.runs.overrides import assign, parse, same_value, texts, without


@pytest.mark.parametrize(
    ("word", "known"),
    [
        ("masking=static", "masking=static"),
        ("data_mix.mine.path=a", "++data_mix.sources.mine.path=a"),
        ("+data_mix.mine.path=a", "++data_mix.sources.mine.path=a"),
        ("data_mix.sources.mine.path=a", "++data_mix.sources.mine.path=a"),
        ("data_mix.mine={kind: csv}", "++data_mix.sources.mine={kind: csv}"),
        ("data_mix.train_tokens=5", "data_mix.train_tokens=5"),
        ("~data_mix.mine", "~data_mix.sources.mine"),
        ("task.files.dev=x.tsv", "++task.files.dev=x.tsv"),
        ("predict.text=It's <mask>, {yes}.", "predict.text='It\\'s <mask>, {yes}.'"),
        ("predict.text=[a,b]", "predict.text=[a,b]"),
    ],
)
def test_short_forms_are_spelled_out(word: str, known: str) -> None:
    assert texts(parse([word])) == [known]


def test_a_word_that_is_no_override_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^masking=\[static: no override"):
        parse(["masking=[static"])


@pytest.mark.parametrize(
    "value", ["plain", "with blank", "seg+nsp", "null", "true", "1e5", "", "it's", "a,b", 3, 0.5, True]
)
def test_what_is_assigned_comes_back(value: object) -> None:
    assert assign("sweep.row", value).value() == value
    assert assign("sweep.only", [value, "x"]).value() == [value, "x"]


def test_numbers_are_the_same_however_they_are_spelled() -> None:
    one, other, more, text = parse(["finetune.lr=1e-5", "++finetune.lr=0.00001", "finetune.lr=2e-5", "seed=1e-5"])
    assert same_value(one, other) and not same_value(one, more) and not same_value(one, text)


def test_a_key_stands_for_all_that_is_below_it() -> None:
    given = parse(
        ["task=mnli", "++task.files.dev=x", "tasks=1", "finetune.seed=2", "finetune.lr=1", "hydra/launcher=basic"]
    )
    assert texts(without(given, "task", "finetune.seed", "hydra")) == ["tasks=1", "finetune.lr=1"]
