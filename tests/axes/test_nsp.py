"""Whether a run trains next-sentence prediction (RoBERTa, Section 4.2)."""

from types import SimpleNamespace
from typing import Any

import pytest

from roberta_lab.axes.input_format import FORMATS
from roberta_lab.axes.nsp import nsp_is_on
from roberta_lab.config import ConfigError


def config(input_format: str, mode: str) -> Any:
    return SimpleNamespace(input_format=SimpleNamespace(name=input_format), nsp=SimpleNamespace(mode=mode))


@pytest.mark.parametrize(
    "name, trained",
    {"segment_pair": True, "sentence_pair": True, "full_sentences": False, "doc_sentences": False}.items(),
)
def test_auto_is_on_with_pairs_alone(name: str, trained: bool) -> None:
    assert nsp_is_on(config(name, "auto")) is trained
    assert nsp_is_on(config(name, "on")) and not nsp_is_on(config(name, "off"))


def test_every_format_decides() -> None:
    assert {name for name in FORMATS if nsp_is_on(config(name, "auto"))} == {"segment_pair", "sentence_pair"}


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ConfigError, match="allowed: segment_pair"):
        nsp_is_on(config("paragraphs", "auto"))
