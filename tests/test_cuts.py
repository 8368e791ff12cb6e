"""The cut of a step into micro-batches and devices: with dropout on it changes a run, so it is shared, noted and marked."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from report_runs import META, SWEEP, Page, composed, config, pretrained
from small_run import SHORT, small_source  # noqa: F401 (a fixture)
from test_pretraining import make, train

from roberta_lab.axes.batch_size import micro_batch_share, micro_batch_size
from roberta_lab.cli import main
from roberta_lab.config import Config, TrainerConfig
from roberta_lab.reports import tidy
from roberta_lab.reports.page import table_page
from roberta_lab.reports.table import latex, markdown
from roberta_lab.reports.table.alike import CUT, DEVICE, TOKENS, UNKNOWN_CUT
from roberta_lab.reports.table.assembly import assemble
from roberta_lab.reports.table.files import csv_text
from roberta_lab.reports.table.notes import notes
from roberta_lab.reports.table.rows import Record, Table
from roberta_lab.runs import composition, identity, jobs, provenance
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.overrides import parse
from roberta_lab.runs.registration import register
from roberta_lab.runs.results import RunResult
from roberta_lab.runs.tracking import Tracker
from roberta_lab.training import micro_batch, pretraining
from roberta_lab.training.rows import Cut

ROWS = replace(SWEEP, tasks=[], published=None)  # static, dynamic
H100 = "NVIDIA H100"


def cut(size: int = 16, start: int = 0, devices: int = 1, device: str = H100) -> Cut:
    return Cut(start, size, devices, 2, device)


def table(static: Any, dynamic: Any, own: Config | None = None, **more: Any) -> Table:
    """Two rows with these cuts; `own` is the config of the second, `more` are fields of its result."""
    found = [pretrained("static", 9.0, cuts=static), pretrained("dynamic", 8.0, cuts=dynamic, **more)]
    configs = composed({}), own or composed({})
    return assemble(ROWS, "smoke", [replace(run, config=c) for run, c in zip(found, configs, strict=True)])


def marks(made: Table) -> dict[str, tuple[str, ...]]:
    return {row.name: row.marks for row in made.rows}


def without_dropout() -> Config:
    own = composed({})
    own.model = replace(own.model, dropout=0.0, attention_dropout=0.0)
    return own


# ---------------------------------------------------------------- it changes a run
def test_with_dropout_another_cut_is_another_run_and_the_table_marks_it(tmp_path: Path) -> None:
    """Perplexities of the same samples in micro-batches of 8 and 2, which test_pretraining.py shows to agree without dropout."""
    found = []
    for size in (8, 2):
        own = make(size)
        rows, _ = train(own, tmp_path / str(size))
        found.append((rows[-1]["val/ppl"], pretraining.cut_of(own, 0)))
    (one, whole), (two, parts) = found
    assert abs(one - two) > 1e-3 * one
    assert (whole.accumulation, parts.accumulation) == (1, 4)
    made = table((whole,), (parts,))
    assert marks(made) == {"static": (), "dynamic": ("cut into micro-batches of 2, not micro-batches of 8",)}


def test_compiled_code_and_kernels_that_do_not_repeat_their_bits_are_marked() -> None:
    """Compiled code drops other units; runs of older code noted neither."""
    plain = cut()
    compiled, varying = replace(plain, compiled=True, deterministic=True), replace(plain, deterministic=False)
    assert marks(table((plain,), (replace(plain, deterministic=True),))) == {"static": (), "dynamic": ()}
    assert marks(table((plain,), (compiled,)))["dynamic"] == (
        "cut into micro-batches of 16, compiled, not micro-batches of 16",
    )
    assert marks(table((plain,), (varying,)))["dynamic"] == (
        "cut into micro-batches of 16, by kernels that do not repeat their bits, not micro-batches of 16",
    )


# ---------------------------------------------------------------- rows of a table share it
def cuts_of(kind: str, *words: str) -> dict[str, tuple[int, int, int]]:
    """Row -> its batch, micro-batch, and accumulation."""
    register()
    with composition.composing():
        found = jobs.jobs_of(kind, parse(words))
    return {job.row: (job.config.batch_size.sequences, *size_of(job)) for job in found}


def size_of(job: Job) -> tuple[int, int]:
    own = pretraining.cut_of(job.config, 0)
    return own.micro_batch_size, own.accumulation


def test_rows_of_16_128_and_512_sequences_take_one_micro_batch() -> None:
    batches = {"256": (16, 16, 1), "2k": (128, 16, 8), "8k": (512, 16, 32)}
    sweep = "sweep=table3_batch_size"
    assert cuts_of("pretrain", sweep) == batches
    alone = cuts_of("pretrain", sweep, "sweep.only=[8k]", "trainer.micro_batch_size=auto")
    assert alone == {"8k": batches["8k"]}, "also when it is made alone, and with `auto`"
    said = cuts_of("pretrain", sweep, "sweep.only=[8k]", "trainer.micro_batch_size=8")
    assert said == {"8k": (512, 8, 64)}, "what is typed counts"


def test_the_cut_is_no_part_of_an_id_and_every_job_says_it_in_its_words() -> None:
    register()
    with composition.composing():
        job = jobs.jobs_of("pretrain", parse(["sweep=table3_batch_size"]))[-1]
        [same] = jobs.jobs_of("pretrain", [o for o in job.overrides if not o.key_or_group.startswith("sweep")])
    assert job.words[-1] == "trainer.common_batch=16" and (same.path, size_of(same)) == (job.path, size_of(job))
    alone = replace(job.config, trainer=replace(job.config.trainer, common_batch=None))
    assert identity.directory(alone, "pretrain") == job.path
    assert pretraining.cut_of(alone, 0).micro_batch_size == 32


@pytest.mark.parametrize(
    ("sequences", "devices", "common", "share"),
    [(512, 1, None, 512), (512, 1, 16, 16), (512, 2, 16, 8), (48, 3, 16, 1), (16, 1, 512, 16), (8, 16, 8, 1)],
)
def test_a_micro_batch_divides_a_ranks_share_of_its_own_batch_and_of_the_common_one(
    sequences: int, devices: int, common: int | None, share: int
) -> None:
    trainer = TrainerConfig("cpu", devices=devices, common_batch=common)
    assert micro_batch_share(sequences, trainer) == share
    assert micro_batch_size(sequences, trainer) == min(share, 32)


def test_auto_chooses_among_the_divisors_of_the_common_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU that has room for 100 inputs, three rows of a table take 16; alone the largest would take 64."""
    monkeypatch.setattr(micro_batch, "on_cuda", lambda accelerator: True)
    monkeypatch.setattr(micro_batch, "device_facts", dict)
    monkeypatch.setattr(micro_batch, "fits", lambda *a: a[-1] <= 100)
    monkeypatch.setattr(micro_batch, "gpu_is_free", lambda: False)

    def found(sequences: int, common: int | None) -> int:
        own = make()
        own.paths.cache, own.batch_size.sequences = str(tmp_path), sequences
        own.trainer = TrainerConfig("gpu", micro_batch_size="auto", common_batch=common)
        size = micro_batch.resolve_auto(own, 60, lambda: pytest.fail("no model is made")).trainer.micro_batch_size
        assert type(size) is int
        return size

    assert [found(sequences, 16) for sequences in (16, 128, 512)] == [16, 16, 16]
    assert found(512, None) == 64


# ---------------------------------------------------------------- a run notes it
def attempts(*cuts: Cut | None) -> list[provenance.Attempt]:
    return [{"cut": vars(cut)} if cut is not None else {} for cut in cuts]


def test_a_resume_with_another_cut_is_a_cut_more_and_one_that_left_no_step_is_none() -> None:
    a, b = cut(16), cut(4, start=500)
    assert provenance.cuts(attempts(a, b)) == (a, b)
    assert provenance.cuts(attempts(a, replace(a, start=500), replace(a, start=900))) == (a,)
    assert provenance.cuts(attempts(a, replace(b, start=0))) == (replace(b, start=0),), "killed before its checkpoint"
    assert provenance.cuts(attempts(a, b, replace(a, start=500))) == (a,)
    assert provenance.cuts(attempts(None, b)) == (b,) and provenance.cuts(attempts(None)) == ()
    other = replace(a, start=500, device="NVIDIA A100")
    assert provenance.cuts(attempts(a, other)) == (a, other)


@pytest.mark.usefixtures("small_source")
def test_a_run_says_how_it_was_really_cut_after_a_resume_with_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four sequences, at first whole (`auto` on a CPU), then in pairs; the second cut begins after the saved step."""
    write = Tracker.write

    def killed_at_step_2(tracker: Tracker, row: Any) -> None:
        if row.step == 2:
            raise KeyboardInterrupt
        write(tracker, row)

    words = ["pretrain", *SHORT, "trainer.checkpoint_every_steps=1"]
    with monkeypatch.context() as stopping:
        stopping.setattr(Tracker, "write", killed_at_step_2)
        main.main([*words, "trainer.micro_batch_size=auto"])
    assert main.main([*words, "trainer.micro_batch_size=2"]) == 0
    [path] = (tmp_path / "outputs" / "pretrain").iterdir()
    noted = json.loads((path / "provenance.json").read_text())
    expected = [(0, 4, 1, 1), (1, 2, 1, 2)]
    fields = ("start", "micro_batch_size", "devices", "accumulation")
    assert [tuple(one["cut"][name] for name in fields) for one in noted["attempts"]] == expected
    result = json.loads((path / "result.json").read_text())
    assert [tuple(one[name] for name in fields) for one in result["cuts"]] == expected
    assert all(one["device"] for one in result["cuts"])
    assert json.loads(json.dumps(RunResult.from_json(result).to_json())) == result
    text = (
        r"trains on 2,\d+ of [\d,]+ tokens \(data_mix\.train_tokens\), and is scored on 5\d\d of [\d,]+ held-out tokens"
    )
    assert len(re.findall(text, capsys.readouterr().out)) == 2, "the cut of the text is said at each start"


def test_a_result_of_older_code_has_no_cut_and_no_common_figures() -> None:
    run = pretrained("static", 9.0).result
    assert run is not None
    values = run.to_json()
    for name in ("cuts", "common_bits_per_byte", "common_perplexity", "common_text"):
        del values[name]
    found = RunResult.from_json(values).pretraining
    assert (found.cuts, found.common_bits_per_byte, found.common_perplexity, found.common_text) == ((), None, None, "")


# ---------------------------------------------------------------- tables mark it
def test_rows_that_differ_in_cut_or_device_are_marked() -> None:
    whole, same = (cut(),), (replace(cut(), accumulation=8),)
    assert marks(table(whole, same))["dynamic"] == (), "a larger batch in the same micro-batches"
    assert marks(table(whole, (cut(devices=2),)))["dynamic"] == (
        "cut into micro-batches of 16 on 2 devices, not micro-batches of 16",
    )
    mixed = table(whole, (cut(), cut(4, start=500)))
    assert marks(mixed)["dynamic"] == ("cut in part into micro-batches of 4, not micro-batches of 16",)
    assert CUT in notes(mixed) and DEVICE not in notes(mixed)
    other = table(whole, (cut(device="NVIDIA A100"),), without_dropout())
    assert marks(other)["dynamic"] == ("on NVIDIA A100, not NVIDIA H100",) and DEVICE in notes(other)
    old = table(whole, ())
    assert marks(old)["dynamic"] == () and f"Runs of dynamic {UNKNOWN_CUT}" in notes(old)
    assert not any(UNKNOWN_CUT in note for note in notes(table((), ())))
    assert marks(table((), whole)) == {"static": (), "dynamic": ()}, "the only cut that is known"


def test_without_dropout_the_cut_needs_no_mark() -> None:
    found = [pretrained(row, 9.0, cuts=(cut(size),)) for row, size in (("static", 16), ("dynamic", 4))]
    made = assemble(ROWS, "smoke", [replace(run, config=without_dropout()) for run in found])
    assert marks(made) == {"static": (), "dynamic": ()} and CUT not in notes(made)
    assert marks(assemble(ROWS, "smoke", [replace(found[0], config=composed({})), found[1]]))["dynamic"] != ()


def test_the_reference_row_may_be_mixed_too() -> None:
    runs = [pretrained("static", 9.0, seed, cuts=(cut(size),)) for seed, size in ((1, 16), (2, 4))]
    made = assemble(ROWS, "smoke", [*runs, pretrained("dynamic", 9.0, cuts=(cut(),))])
    assert marks(made) == {"static": ("cut in part into micro-batches of 4, not micro-batches of 16",), "dynamic": ()}


def test_every_form_says_the_cut_and_its_mark(tmp_path: Path) -> None:
    made = table((cut(),), (cut(4), cut(8, start=500)))
    said = "micro-batches of 4 (NVIDIA H100), from step 501 micro-batches of 8 (NVIDIA H100)"
    mark = "cut into micro-batches of 4, micro-batches of 8, not micro-batches of 16"
    page = Page(table_page.html(made, [], META)).text
    for text in (markdown.document(made, META), page, csv_text(made)):
        assert said in text and mark in text
    plain = latex.document(made, META).replace(r"\allowbreak{}", "").replace("{-}", "-")
    assert said in plain and CUT in plain and mark in latex.tabular(made).replace("{-}", "-")
    runs: list[Record] = [record for row in made.rows for record in row.perplexity.records]
    frame = tidy.frame(config(ROWS, tmp_path), runs)
    assert dict(zip(frame.row, frame.cut, strict=True)) == {
        "static": "micro-batches of 16 (NVIDIA H100)",
        "dynamic": said,
    }


# ---------------------------------------------------------------- real tokens
def test_rows_that_were_to_read_as_much_and_did_not_say_both_numbers() -> None:
    """By more than 1%; `pretrained` saw 2,000,000."""
    made = table((), (), tokens_seen=1_630_000)
    assert marks(made)["dynamic"] == ("1,630,000 real tokens, not 2,000,000",) and TOKENS in notes(made)
    assert "1,630,000 real tokens, not 2,000,000" in markdown.document(made, META)
    for seen in (1_981_000, 2_019_000):
        assert marks(table((), (), tokens_seen=seen))["dynamic"] == ()
    assert marks(table((), (), tokens_seen=2_021_000))["dynamic"] != ()


def test_rows_that_are_to_read_more_are_not_marked_for_it() -> None:
    """As in Table 4: three times the steps. The same tokens in another batch are as much (Table 3), up to the rounded steps."""
    longer = composed({"batch_size": {"steps": 6000}})
    assert marks(table((), (), longer, tokens_seen=6_000_000))["dynamic"] == ()
    larger = composed({"batch_size": {"sequences": 8192, "steps": 62}})  # 0.8% less than 256 x 2,000
    assert marks(table((), (), larger, tokens_seen=1_985_000))["dynamic"] == ()
    assert marks(table((), (), larger, tokens_seen=1_500_000))["dynamic"] != ()
