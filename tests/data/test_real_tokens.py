"""Real tokens of a step and a pass, before a run: those that its batches hold, or shares that are said to be assumed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_corpus import BPE, mix, write_articles

from roberta_lab.axes.batch_size import batch_plan
from roberta_lab.axes.data_mix import training_documents
from roberta_lab.axes.epochs import epochs_of
from roberta_lab.axes.input_format import FORMATS
from roberta_lab.config import BatchSizeConfig, Config, InputFormatConfig, NspConfig, PathsConfig
from roberta_lab.data import real_tokens, token_store
from roberta_lab.data.corpus.preparation import Prepared, prepare

DRAW = np.random.default_rng(3)
TEXTS = [" ".join(f"A sentence of {'some ' * DRAW.integers(1, 9)}words." for _ in range(7)) for _ in range(120)]
TEXTS = [f"Number {i}. {text}" for i, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Prepared]:
    folder = tmp_path_factory.mktemp("real")
    write_articles(folder / "a.jsonl", TEXTS)
    config = Config(
        tokenizer=BPE,
        data_mix=mix(folder / "a.jsonl"),
        input_format=InputFormatConfig("segment_pair", 64),
        nsp=NspConfig("auto"),
        batch_size=BatchSizeConfig(8, 40, 1e-3),
        paths=PathsConfig(cache=str(folder / "cache")),
    )
    return config, prepare(config.data_mix, BPE, folder / "cache", progress=False)


def config_of(config: Config, name: str, matched_to: str = "real_tokens") -> Config:
    return replace(config, input_format=InputFormatConfig(name, 64, matched_to))


def walked(config: Config, found: Prepared) -> tuple[float, float]:
    """Tokens of a step and of an epoch, by all batches of the run."""
    store = training_documents(token_store.open_store(found.store / "train"), config.data_mix)
    plans = epochs_of(store, config)
    batches, tokens, epochs = batch_plan(plans, store, config), 0, 0.0
    for step in range(config.batch_size.steps):
        plan, places = plans.view(*batches.batch(step))
        tokens += int(plan.lengths[places].sum())
        epochs = batches.epochs(step + 1)
    return tokens / config.batch_size.steps, tokens / epochs


@pytest.mark.parametrize("matched_to", ["real_tokens", "max_length"])
@pytest.mark.parametrize("name", FORMATS)
def test_counted_tokens_are_those_that_training_sees(
    prepared: tuple[Config, Prepared], name: str, matched_to: str
) -> None:
    config = config_of(prepared[0], name, matched_to)
    found = real_tokens.real_tokens(config)
    per_step, per_pass = walked(config, prepared[1])
    assert found.per_step == pytest.approx(per_step, rel=0.02) and found.per_pass == pytest.approx(per_pass, rel=0.02)
    assert found.step_basis == found.pass_basis == "counted on the prepared store"


def test_a_store_of_other_files_is_not_counted(prepared: tuple[Config, Prepared], tmp_path: Path) -> None:
    """Every corpus of one's own has the same name: its files are told by name and size, as far as they are there."""
    config, _ = prepared
    assert real_tokens.prepared_store(config) is not None
    [name] = config.data_mix.sources
    for text, is_known in (("more text\n", False), ("", False)):
        (other := tmp_path / "other.jsonl").write_text(text)
        moved = replace(config.data_mix.sources[name], path=str(other))
        mix = replace(config.data_mix, sources={name: moved})
        assert (real_tokens.prepared_store(replace(config, data_mix=mix)) is not None) == is_known
    gone = replace(config.data_mix, sources={name: replace(moved, path=str(tmp_path / "gone.jsonl"))})
    assert real_tokens.prepared_store(replace(config, data_mix=gone)) is not None


def test_a_sample_stands_for_the_whole(prepared: tuple[Config, Prepared], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = real_tokens.real_tokens(prepared[0])
    monkeypatch.setattr(real_tokens, "SAMPLE_TOKENS", 2500)
    sample = real_tokens.real_tokens(prepared[0])
    assert sample.step_basis == "counted on a sample of the prepared store" != whole.step_basis
    assert whole.per_pass is not None
    assert sample.per_pass == pytest.approx(whole.per_pass, rel=0.05) and sample.per_pass != whole.per_pass


def test_without_the_store_shares_are_assumed_and_said(prepared: tuple[Config, Prepared], tmp_path: Path) -> None:
    config = replace(prepared[0], paths=PathsConfig(cache=str(tmp_path)))
    found = {name: real_tokens.real_tokens(config_of(config, name)) for name in FORMATS}
    assert all(each.step_basis.startswith("assumed: a step is ") and each.per_pass is None for each in found.values())
    assert found["sentence_pair"].per_step == found["segment_pair"].per_step < 8 * 64
    assert found["doc_sentences"].per_step == found["full_sentences"].per_step < found["segment_pair"].per_step
    assert real_tokens.real_tokens(config_of(config, "doc_sentences", "max_length")).per_step == 8 * 64
    another = replace(prepared[0], tokenizer=replace(BPE, vocab_size=281))
    assert "assumed" in real_tokens.real_tokens(another).step_basis, "a store of another encoding is not this one"
    limited = replace(config, data_mix=replace(config.data_mix, train_tokens=1000))
    assert real_tokens.real_tokens(limited).pass_basis == "data_mix.train_tokens"
    assert real_tokens.real_tokens(limited).per_pass == pytest.approx(1000 * 1.09)
