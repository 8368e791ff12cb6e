"""Statistics of an epoch: by hand, against a count of lists, and with faults planted in what is counted."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_store import FIRST, Corpus, FakeStore, epochs_of_lengths, store_of
from report_runs import Page

from roberta_lab.axes import blocks, input_format, masking
from roberta_lab.axes.batch_size import BatchPlan
from roberta_lab.axes.epochs import Epochs
from roberta_lab.axes.examples import Plan, Vocabulary, gather
from roberta_lab.cli import main
from roberta_lab.config import InputFormatConfig, MaskingConfig
from roberta_lab.data.corpus.sources import pydoc
from roberta_lab.data.corpus.sources.pydoc import Docstring
from roberta_lab.data.inspection import decoded, statistics
from roberta_lab.data.inspection.shares import Share, binned, binomial
from roberta_lab.data.inspection.statistics import (
    EpochStatistics,
    batch_statistics,
    plan_statistics,
    row_statistics,
)
from roberta_lab.data.token_store import open_store
from roberta_lab.reports.page import inspection as report

SPECIAL = (0, 1, 2, 3, 4)
TINY: Corpus = [[2, 1], [1, 3], [8], [1]]


def random_corpus(documents: int = 40) -> Corpus:
    draw = np.random.default_rng(5)
    return [draw.integers(0, 14, draw.integers(1, 9)).tolist() for _ in range(documents)]


def vocabulary_of(store: FakeStore) -> Vocabulary:
    return Vocabulary(size=FIRST + len(store.tokens), mask_id=4, special_ids=SPECIAL)


def counted(corpus: Corpus, name: str, max_length: int, config: MaskingConfig, epoch: int = 0) -> EpochStatistics:
    store = store_of(corpus)
    plan = input_format.plan(store, InputFormatConfig(name, max_length), 1)
    number = plan.num_examples
    return EpochStatistics(
        epoch,
        plan_statistics(store, plan, number, max_length),
        row_statistics(store, plan, number, epoch, config, 1, vocabulary_of(store)),
        batch_statistics(BatchPlan(Epochs(lambda copy, block: plan), 2, seed=1), 10, micro_batch_size=2),
    )


# ---------------------------------------------------------------- by hand
def test_a_full_sentences_plan_by_hand() -> None:
    """<s> 3 </s> 1 </s> | <s> 3 </s> | <s> 6 </s> | <s> 2 </s> 1 </s>: see test_input_format.py."""
    plan = counted(TINY, "full_sentences", 8, MaskingConfig("dynamic")).plan
    assert (plan.num_examples, plan.num_planned, plan.tokens, plan.text_tokens) == (4, 4, 26, 16)
    assert (plan.shortest, plan.median, plan.longest, plan.full, plan.too_long) == (5, 6.5, 8, Share(1, 4), 0)
    assert [(b.first, b.last, b.share.count) for b in plan.histogram] == [
        (n, n, count) for n, count in zip(range(1, 9), (0, 0, 0, 0, 1, 1, 1, 1), strict=True)
    ]
    assert (plan.documents, plan.crossings, plan.covered) == ({1: 2, 2: 2}, 2, Share(16, 16))
    assert plan.random_pairs is None and plan.counts["sentences_split"] == 1


def test_a_doc_sentences_plan_by_hand() -> None:
    """Texts of 3, 4, 6, 2 and 1 tokens; and the first two alone."""
    plan = counted(TINY, "doc_sentences", 8, MaskingConfig("dynamic")).plan
    assert (plan.num_examples, plan.tokens, plan.text_tokens, plan.full) == (5, 26, 16, Share(1, 5))
    assert (plan.documents, plan.crossings, plan.median) == ({1: 5}, 0, 5.0)
    store = store_of(TINY)
    part = plan_statistics(store, input_format.plan(store, InputFormatConfig("doc_sentences", 8), 1), 2, 8)
    assert (part.num_examples, part.num_planned, part.tokens, part.covered) == (2, 5, 11, Share(7, 16))


def pairs(spans: list[tuple[int, int]], labels: list[int]) -> Plan:
    """Examples of two spans (start, stop) each."""
    starts, stops = np.array(spans, np.int64).T
    lengths = stops - starts
    number = len(labels)
    return Plan(
        num_examples=number,
        spans_start=starts,
        spans_length=lengths.astype(np.int32),
        spans_kind=np.tile(np.array([0, 1], np.uint8), number),
        example_ends=2 * np.arange(1, number + 1),
        lengths=(3 + lengths.reshape(-1, 2).sum(axis=1)).astype(np.int32),
        next_sentence_label=np.array(labels, np.int8),
        counts={},
    )


@pytest.mark.parametrize(
    ("labels", "wrong"), [([0, 1, 1, 0], 0), ([1, 1, 1, 0], 1), ([0, 0, 1, 0], 1), ([1, 0, 0, 1], 4)]
)
def test_pairs_by_hand_and_labels_that_the_documents_contradict(labels: list[int], wrong: int) -> None:
    store = store_of([[2, 3], [5], [0], [2, 2]])  # tokens 0-4, 5-9, none, 10-13
    plan = pairs([(0, 2), (2, 5), (2, 5), (5, 8), (6, 10), (0, 1), (10, 12), (12, 14)], labels)
    found = plan_statistics(store, plan, 4, 12)
    assert (found.random_pairs, found.mislabelled) == (Share(sum(labels), 4), wrong)
    assert (found.documents, found.crossings) == ({1: 2, 2: 2}, 2)
    assert found.covered == Share(14, 14)
    assert (found.tokens, found.text_tokens, found.shortest, found.longest) == (32, 20, 7, 9)


def test_a_next_sentence_that_stands_before_the_first_is_wrong() -> None:
    plan = pairs([(2, 5), (0, 2)], [0])
    assert plan_statistics(store_of([[2, 3], [5]]), plan, 1, 12).mislabelled == 1


def test_a_span_over_the_end_of_its_document_counts_as_crossing_and_an_input_too_long_is_seen() -> None:
    plan = pairs([(0, 7), (10, 12)], [1])
    found = plan_statistics(store_of([[5], [5], [5]]), plan, 1, 10)
    assert (found.crossings, found.documents, found.too_long) == (2, {3: 1}, 1)
    assert (found.histogram[-1].last, found.histogram[-1].share.count) == (12, 1)


# ---------------------------------------------------------------- against lists
def slow(corpus: Corpus, plan: Plan, epoch: int, config: MaskingConfig, max_length: int) -> dict[str, Any]:
    """One token at a time, from the rows alone: an id tells its place in the corpus."""
    store = store_of(corpus)
    vocabulary = vocabulary_of(store)
    document = [d for d, lengths in enumerate(corpus) for n in lengths for _ in range(n)]
    examples = np.arange(plan.num_examples)
    rows = gather(store, plan, examples, vocabulary)
    seen, labels = masking.masked_rows(rows, examples, np.full_like(examples, epoch), config, 1, vocabulary)
    kinds, documents, lengths, places = Counter(), Counter(), Counter(), set()
    at: Counter[int] = Counter()
    for ids, new, wanted in zip(rows.input_ids.tolist(), seen.tolist(), labels.tolist(), strict=True):
        texts = [i - FIRST for i in ids if i >= FIRST]
        order = [document[t] for t in texts]
        documents[1 + sum(a != b for a, b in pairwise(order))] += 1
        lengths[len(ids) - ids.count(1)] += 1
        places |= set(texts)
        for column, (i, n, w) in enumerate(zip(ids, new, wanted, strict=True)):
            kinds["text"] += i >= FIRST
            if w != -100:
                kinds["masked" if n == 4 else "kept" if n == i else "random"] += 1
                at[column * 16 // max_length] += 1
    return {
        "kinds": kinds,
        "documents": dict(sorted(documents.items())),
        "lengths": lengths,
        "places": places,
        "at": at,
    }


@pytest.mark.parametrize("epoch", [0, 13])
@pytest.mark.parametrize("name", ["static", "dynamic"])
@pytest.mark.parametrize("format_name", input_format.FORMATS)
def test_as_many_as_a_count_of_lists(format_name: str, name: str, epoch: int) -> None:
    corpus, config = random_corpus(), MaskingConfig(name, mask_prob=0.3, mask_share=0.5, random_share=0.3)
    plan = input_format.plan(store_of(corpus), InputFormatConfig(format_name, 16), 1)
    found, wanted = counted(corpus, format_name, 16, config, epoch), slow(corpus, plan, epoch, config, 16)
    kinds = wanted["kinds"]
    assert {k: share.count for k, share in found.rows.kinds.items()} == {
        k: kinds[k] for k in ("masked", "random", "kept")
    }
    assert found.rows.selected.count == kinds["masked"] + kinds["random"] + kinds["kept"] > 50
    assert found.rows.selected.whole == found.plan.text_tokens == kinds["text"]
    assert {b.first: b.share.count for b in found.rows.by_position if b.share.count} == {
        column + 1: count for column, count in wanted["at"].items()
    }
    assert found.plan.documents == wanted["documents"]
    assert {b.first: b.share.count for b in found.plan.histogram if b.share.count} == wanted["lengths"]
    assert found.plan.covered == Share(len(wanted["places"]), sum(map(sum, corpus)))
    assert found.rows.pieces.count == len(wanted["places"])
    assert found.plan.mislabelled == found.rows.unknown == 0 and not any(found.rows.faults.values())


def test_static_patterns_come_back_and_dynamic_ones_do_not() -> None:
    def selected(name: str, epoch: int) -> tuple[int, ...]:
        rows = counted(random_corpus(), "full_sentences", 16, MaskingConfig(name, num_patterns=3), epoch).rows
        return tuple(b.share.count for b in rows.by_position)

    assert selected("static", 1) == selected("static", 4) != selected("static", 2)
    assert selected("dynamic", 1) != selected("dynamic", 4)


def test_the_size_of_a_block_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = counted(random_corpus(), "segment_pair", 16, MaskingConfig("dynamic"))
    monkeypatch.setattr(statistics, "BLOCK_TOKENS", 50)
    assert counted(random_corpus(), "segment_pair", 16, MaskingConfig("dynamic")) == whole


def test_repeated_inputs_and_unknown_tokens_are_counted() -> None:
    store = store_of([[3], [3], [3]])
    store = dataclasses.replace(store, tokens=np.array([10, 11, 3, 10, 11, 12, 10, 11, 3], np.uint32))
    plan = input_format.plan(store, InputFormatConfig("doc_sentences", 8), 1)
    rows = row_statistics(store, plan, 3, 0, MaskingConfig("dynamic"), 1, Vocabulary(13, 4, SPECIAL))
    assert (rows.duplicates, rows.unknown, rows.pieces) == (1, 2, Share(4, 13))
    assert rows.most_frequent == ((10, 3), (11, 3), (3, 2), (12, 1))


# ---------------------------------------------------------------- shares and faults
MANY: Corpus = [[int(n) for n in np.random.default_rng(i).integers(3, 30, 12)] for i in range(600)]


@pytest.mark.parametrize("selection", ["exact", "bernoulli", "fairseq"])
def test_right_masking_fits(selection: str) -> None:
    rows = counted(MANY, "full_sentences", 40, MaskingConfig("dynamic", selection=selection)).rows
    assert rows.selected.whole > 100_000
    assert {share.verdict for share in (rows.selected, *rows.kinds.values())} <= {"fits", "outside"}
    assert abs(rows.selected.share - 0.15) < 0.004 and abs(rows.kinds["masked"].share - 0.8) < 0.015
    assert not any(rows.faults.values())
    if selection == "fairseq":
        assert abs(rows.specials_selected.share - 0.15) < 0.03 and "specials selected" not in rows.faults
    else:
        assert rows.specials_selected.count == 0 and "specials selected" in rows.faults


def test_the_intervals_hold_95_of_100_epochs() -> None:
    verdicts: Counter[str] = Counter()
    for epoch in range(150):
        rows = counted(MANY[:40], "doc_sentences", 40, MaskingConfig("dynamic"), epoch).rows
        verdicts.update(share.verdict for share in (rows.selected, *rows.kinds.values()))
    assert 0.9 < verdicts["fits"] / verdicts.total() < 0.99 and verdicts["does not fit"] == 0


def test_whole_words_have_no_share_to_compare_with() -> None:
    store = store_of(MANY[:20])
    vocabulary = dataclasses.replace(vocabulary_of(store), continues_word=np.arange(FIRST + len(store.tokens)) % 3 > 0)
    plan = input_format.plan(store, InputFormatConfig("full_sentences", 40), 1)
    config = MaskingConfig("dynamic", whole_words=True)
    rows = row_statistics(store, plan, plan.num_examples, 0, config, 1, vocabulary)
    assert rows.selected.expected is None and 0.1 < rows.selected.share <= 0.15


def planted(monkeypatch: pytest.MonkeyPatch, fault: str) -> EpochStatistics:
    """Statistics of masking with a fault that its config knows nothing of."""
    right = masking.masked_rows

    def wrong(rows: Any, examples: Any, epochs: Any, config: MaskingConfig, seed: int, vocabulary: Any) -> Any:
        shares = {
            "mask_share": {"mask_share": 0.7},
            "mask_prob": {"mask_prob": 0.16},
            "no random": {"random_share": 0.0},
        }
        config = dataclasses.replace(config, **shares.get(fault, {}))
        seen, labels = right(rows, examples, epochs, config, seed, vocabulary)
        if fault == "specials selected":
            labels[:, 0] = rows.input_ids[:, 0]
        elif fault == "padding selected":
            labels[rows.input_ids == 1] = 1
        elif fault == "tokens changed but not selected":
            seen[:, 1] = np.where(labels[:, 1] == -100, 4, seen[:, 1])
        elif fault == "labels other than the token":
            labels[labels >= FIRST] += 1
        elif fault == "special tokens drawn at random":
            seen[(seen != 4) & (seen != rows.input_ids)] = 3
        return seen, labels

    monkeypatch.setattr(statistics, "masked_rows", wrong)
    return counted(MANY[:200], "doc_sentences", 40, MaskingConfig("dynamic"))


@pytest.mark.parametrize("fault", statistics.FAULTS)
def test_a_planted_fault_is_counted_and_called_wrong(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = planted(monkeypatch, fault)
    assert [name for name, count in found.rows.faults.items() if count] == [fault]
    assert re.search(rf"^  {fault} +[\d,]+  WRONG: must be 0$", report.text(found), re.MULTILINE)


@pytest.mark.parametrize(
    ("fault", "wrong"),
    [("mask_share", {"masked", "kept"}), ("mask_prob", {"selected"}), ("no random", {"random", "kept"})],
)
def test_a_planted_share_does_not_fit(fault: str, wrong: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = planted(monkeypatch, fault)
    shares = {"selected": found.rows.selected, **found.rows.kinds}
    assert {name for name, share in shares.items() if share.verdict == "does not fit"} == wrong
    assert report.text(found).count("WRONG") == len(wrong)


def test_without_a_fault_nothing_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "WRONG" not in report.text(planted(monkeypatch, "none"))


def test_intervals_and_bins_by_hand() -> None:
    share = binomial(58, 100, 0.5)  # 5 is one standard deviation of the count
    assert share.interval == pytest.approx((0.397, 0.603)) and share.verdict == "fits"
    assert [binomial(n, 100, 0.5).verdict for n in (60, 61, 70, 71)] == ["fits", "outside", "outside", "does not fit"]
    assert [binomial(n, 100, 0.0).verdict for n in (0, 1)] == ["fits", "does not fit"]
    bins = binned(np.arange(1, 36), 100)
    assert [(b.first, b.last) for b in bins] == [(n, min(n + 2, 35)) for n in range(1, 36, 3)]
    assert [b.share for b in bins[:2] + bins[-1:]] == [Share(6, 100), Share(15, 100), Share(69, 100)]


# ---------------------------------------------------------------- batches
def test_batches_of_examples_by_hand() -> None:
    found = batch_statistics(BatchPlan(epochs_of_lengths([3] * 6), 4, seed=1), run_steps=3, micro_batch_size=2)
    assert (found.num_steps, found.steps_per_epoch, found.run) == (2, 1.5, (3, 2.0))
    assert (found.inputs, found.tokens, found.padding) == ((4, 4, 4), (12, 12, 12), Share(0, 24))
    one_long = batch_statistics(BatchPlan(epochs_of_lengths([2, 6]), 2, seed=1), run_steps=1, micro_batch_size=2)
    assert one_long.padding == Share(4, 12)


def test_padding_of_token_matched_batches_is_that_of_the_passes() -> None:
    lengths = np.random.default_rng(1).integers(3, 17, 200).astype(np.int32)
    batches = BatchPlan(epochs_of_lengths(lengths), 8, seed=3, tokens=8 * 16, longest=16)
    found = batch_statistics(batches, run_steps=5, micro_batch_size=2, world_size=2)
    steps, cells, sizes = int(np.ceil(lengths.sum() / 128)), 0, []
    for step in range(steps):
        passes = [batches.micro_batch(step, i, 2, rank, 2)[0].tolist() for i in range(2) for rank in range(2)]
        cells += sum(len(p) * max(lengths[e] for e in p) for p in passes)
        sizes.append(sum(map(len, passes)))
    assert found.num_steps == steps and found.inputs == (min(sizes), sum(sizes) / steps, max(sizes))
    assert found.padding.whole == cells and 0 < found.padding.share < 0.2


# ---------------------------------------------------------------- text
SURE = MaskingConfig("dynamic", mask_prob=1.0, mask_share=1.0, random_share=0.0)  # nothing is left to chance


def test_the_text_of_a_tiny_epoch() -> None:
    statistics_ = counted(TINY, "full_sentences", 8, SURE)
    assert report.text(statistics_) == (
        """statistics of epoch 0

inputs
  inputs                       4
  tokens                      26  6.5 an input
  text tokens                 16  4.0 an input
  lengths                 5 to 8  median 6.5
  of full length             25%  1 of 4
  longer than max_length       0  must be 0
  repeated inputs              0  token for token like an earlier one
  of the corpus's tokens    100%  16 of 16; in an input at least once
  of the vocabulary       61.54%  16 of 26; occur in the text
  unknown tokens               0  in the text

lengths of inputs, in tokens
  1  0
  2  0
  3  0
  4  0
  5  1  ████████████████████████████████
  6  1  ████████████████████████████████
  7  1  ████████████████████████████████
  8  1  ████████████████████████████████

documents in an input
  1 document         50%  2 of 4
  2 documents        50%  2 of 4
  documents crossed    2  borders of documents inside inputs

masking (kept: the token itself, also where it was drawn at random; 95 of 100 right epochs fall in the interval)
  selected                              100.00%  16 of 16; asked for 100%, 95% interval 96.88% to 100.00%: fits
  by position                      100% to 100%  in 6 parts of the input
  of these masked                       100.00%  16 of 16; asked for 100%, 95% interval 96.88% to 100.00%: fits
  of these random                         0.00%  0 of 16; asked for 0%, 95% interval 0.00% to 3.12%: fits
  of these kept                           0.00%  0 of 16; asked for 0%, 95% interval 0.00% to 3.12%: fits
  specials selected                           0  must be 0
  padding selected                            0  must be 0
  tokens changed but not selected             0  must be 0
  labels other than the token                 0  must be 0
  special tokens drawn at random              0  must be 0

batches
  steps an epoch          2.0
  epochs of the run       5.0  10 steps
  inputs a step             2
  tokens a step      12 to 14  mean 13.0
  padding saved        13.33%  4 of 30; which training does not compute; cut as it cuts the first epoch

the plan of the whole corpus
  sentences           6
  sentences empty     0
  sentences split     1
  documents           4
  documents dropped   0
  documents crossed   2
  text tokens        16"""
    )


def test_a_part_of_the_epoch_says_so() -> None:
    store = store_of(TINY)
    plan = input_format.plan(store, InputFormatConfig("doc_sentences", 8), 1)
    whole = counted(TINY, "doc_sentences", 8, SURE)
    part = dataclasses.replace(whole, plan=plan_statistics(store, plan, 2, 8))
    assert "the first of 5 (inspect.max_examples)" in report.text(part)
    assert "inspect.max_examples" not in report.text(whole)


def test_the_counts_of_a_manifest_keep_their_names() -> None:
    lines = report.manifest_lines({"content": "0f", "counts": {"documents": 12345, "held out": 3}})
    assert lines == (report.Line("documents", "12,345"), report.Line("held out", "3"))


# ---------------------------------------------------------------- the page
HOSTILE = "<script>alert('&')</script><img src=//x.example/y onerror=z>"


def page_of(statistics_: EpochStatistics, text: str = HOSTILE) -> str:
    tokens = (decoded.Token("text", text), decoded.Token("masked", text, text), decoded.Token("segment B", text))
    return report.html(
        report.Page(
            title=text,
            run_id="abc",
            settings={text: text},
            manifests={text: (report.Line(text, text, text),), "tokens": ()},
            statistics=statistics_,
            frequent=((text, 3),),
            examples=[decoded.Decoded(text, tokens)],
        )
    )


@pytest.mark.parametrize("format_name", input_format.FORMATS)
def test_the_page_needs_nothing_and_escapes_everything(format_name: str) -> None:
    read = Page(page := page_of(counted(random_corpus(), format_name, 16, MaskingConfig("dynamic"))))
    assert not {"script", "img", "link", "iframe", "object"} & set(read.tags)
    assert not {"src", "href", "onerror"} & {name for name, _ in read.attributes}
    assert "url(" not in page and "@import" not in page and "default-src 'none'" in page
    assert read.text.count(HOSTILE) == 2 + 2 + 4 + 1 + 1 + 4 + 1, (
        "title twice, setting, manifest, token, example, its tokens, the caption of the manifest"
    )
    assert "prefers-color-scheme: dark" in page and 'lang="en"' in page


def test_the_page_has_every_line_of_the_text() -> None:
    statistics_ = counted(TINY, "full_sentences", 8, SURE)
    read = Page(page_of(statistics_)).text
    for section in report.sections(statistics_):
        for line in section.lines:
            assert line.name in read and line.value in read and line.note in read
    assert "cannot be right" not in read


def test_the_page_names_what_is_wrong_at_the_top(monkeypatch: pytest.MonkeyPatch) -> None:
    page = page_of(planted(monkeypatch, "tokens changed but not selected"))
    assert "Something cannot be right:</strong> tokens changed but not selected." in page
    assert page.count('<tr class="wrong">') == 1


def test_a_mix_that_repeats_documents_is_no_fault() -> None:
    once = store_of(random_corpus())
    sizes = np.tile(np.diff(once.document_ends, prepend=0), 3)
    again = FakeStore(
        once.tokens, np.tile(once.sentence_starts, 3), np.tile(once.sentence_lengths, 3), np.cumsum(sizes)
    )
    plan = input_format.plan(again, InputFormatConfig("segment_pair", 32), 1)
    found = plan_statistics(again, plan, plan.num_examples, 32)
    assert found.mislabelled == 0
    unpaired = input_format.plan(again, InputFormatConfig("full_sentences", 32), 1)
    every = plan_statistics(again, unpaired, unpaired.num_examples, 32)
    assert every.covered == Share(len(once.tokens), len(once.tokens))
    assert every.crossings == unpaired.counts["documents_crossed"] > 60


# ---------------------------------------------------------------- the command
SMALL = [
    *("tokenizer.vocab_size=300", "data_mix.train_tokens=3000", "data_mix.held_out_share=0.3", "trainer.progress=false", "prepare.workers=1"),
    *("input_format.max_length=32", "batch_size.sequences=4", "batch_size.steps=24", "model=tiny"),
]  # fmt: skip


@pytest.fixture
def small_source(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        Docstring(f"m{i}", pydoc.PACKAGES[i % 3], "f", "function", f"Return the value {i}. It is number {i} of all.")
        for i in range(80)
    ]
    monkeypatch.setattr(pydoc, "docstrings", lambda part, parts: iter(found if part == 0 else []))


@pytest.mark.usefixtures("small_source")
def test_inspect_shows_examples_manifests_statistics_and_writes_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["inspect", "inspect.examples=2", *SMALL]) == 0
    out, err = capsys.readouterr()
    assert out.count("\nexample ") == 2 and err == ""
    assert re.search(r"documents kept +80\n", out) and re.search(r"pieces +300\n", out) and "WRONG" not in out
    [page] = (tmp_path / "outputs" / "inspect").rglob("*.*")
    assert out.endswith(f"\n{page.relative_to(tmp_path)}\n") and page.name == "index.html"
    assert page.read_text(encoding="utf-8").count('<p class="example">') == 2
    before = page.read_bytes()
    assert main.main(["inspect", "inspect.examples=0", "inspect.max_examples=3", *SMALL]) == 0
    out = capsys.readouterr().out
    assert "example " not in out and "(inspect.max_examples)" in out and page.read_bytes() != before
    page.unlink()
    assert main.main(["inspect", "inspect.statistics=false", *SMALL]) == 0
    out = capsys.readouterr().out
    assert out.count("\nexample ") == 3 and "statistics" not in out and not page.exists()


@pytest.mark.parametrize("mistake", ["examples=-1", "epoch=-1", "max_examples=0"])
def test_a_number_that_cannot_be_meant_is_one_line(mistake: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["inspect", f"inspect.{mistake}"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and f"inspect.{mistake}: allowed is " in err


def test_inspect_imports_nothing_heavy() -> None:
    code = (
        "import sys, roberta_lab.cli.inspect\n"
        "assert not {'torch', 'lightning', 'wandb', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0, done.stderr


def test_colour_is_for_terminals_and_whoever_forces_it(monkeypatch: pytest.MonkeyPatch) -> None:
    example = decoded.Decoded("example 0", (decoded.Token("masked", "<mask>", "a"), decoded.Token("kept", "b")))
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    assert decoded.painted(example) == "example 0\n<mask>[a]⟨kept:b⟩"
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert decoded.painted(example) == "example 0\n\x1b[1;31m<mask>[a]\x1b[0m\x1b[1;32mb\x1b[0m"
    monkeypatch.delenv("FORCE_COLOR")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert "\x1b[" in decoded.painted(example)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in decoded.painted(example)


def test_swapped_pairs_are_counted_by_their_own_labels() -> None:
    """Every label is right by the documents; each one flipped is counted."""
    store = store_of(MANY[:40])
    plan = input_format.plan(store, InputFormatConfig("segment_pair", 40), 1, pairs="swapped")
    found = plan_statistics(store, plan, plan.num_examples, 40, "swapped")
    assert found.mislabelled == 0 and found.random_pairs is not None
    assert 0.4 < found.random_pairs.share < 0.6
    flipped = dataclasses.replace(plan, next_sentence_label=1 - plan.next_sentence_label)
    assert plan_statistics(store, flipped, plan.num_examples, 40, "swapped").mislabelled == plan.num_examples
    assert plan_statistics(store, plan, plan.num_examples, 40, "random").mislabelled > 0


@pytest.mark.usefixtures("small_source")
def test_of_a_large_corpus_inspect_shows_the_first_block(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its examples are those of the run, and none looks wrong; the whole is counted."""
    for name, value in (("WHOLE", 10), ("BLOCK", 12), ("WINDOW", 3)):
        monkeypatch.setattr(blocks, name, value)
    assert main.main(["inspect", "inspect.examples=2", *SMALL]) == 0
    out = capsys.readouterr().out
    assert out.count("\nexample ") == 2 and "WRONG" not in out
    planned, whole = (int(n) for n in re.search(r"inputs +(\d+) +the first of (\d+) ", out).groups())
    assert 0 < 3 * planned < whole
    counted = int(re.search(r"the plan of the whole corpus\n +sentences +(\d+)", out).group(1))
    [folder] = Path("outputs/cache/tokens").glob("[!.]*")
    assert counted == len(open_store(folder / "train").sentence_lengths) > 30, "all is read: 3,000 tokens are more"
