"""Runs that an earlier version of the code has made go on, or are found complete, and predict what they predicted then.

`tests/earlier_runs/runs` has runs of commit ac42e42 (see `make_earlier_runs.py`); `expected` has what that code made of
them. A run keeps its id, its data, its checkpoints and its rows, whatever is moved or renamed in the code.
"""

import hashlib
import io
import json
import re
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

import roberta_lab
from roberta_lab.model.checkpoint import ROWS
from roberta_lab.runs import composition, jobs
from roberta_lab.runs.overrides import parse

HOME = Path(__file__).parent / "earlier_runs"
COMPLETE = sorted(path.parent.relative_to(HOME) for path in HOME.glob("runs/*/*/result.json"))
INTERRUPTED = sorted({path.relative_to(HOME) for path in HOME.glob("runs/*/*")} - set(COMPLETE))
STOPPED_AT, STEPS = 6, 12
SEAL = re.compile(rb"roberta_lab sha256 (.{32})", re.DOTALL)  # the last 51 bytes of a checkpoint
MASKED = "The harbour has two <mask> and one <mask>."
NEW_TEXTS = ("It rained for a week", "No cloud in the sky")


def command(name: str, *overrides: str) -> None:
    """Does what `roberta-lab NAME OVERRIDES` does. This is the only place that knows where the program begins."""
    from roberta_lab.cli.main import main

    assert main([name, *overrides]) == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of everything. The tests share it, so that the text is prepared once."""
    return Path(shutil.copytree(HOME, tmp_path_factory.mktemp("earlier") / "copy"))


@pytest.fixture(autouse=True)
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def overrides_of(run: Path) -> list[str]:
    """What the run was made by. Own text was cut at smoke then; since it is read whole, the cut is said."""
    return [*yaml.safe_load((run / "overrides.yaml").read_text()), "data_mix.train_tokens=41320"]


def jobs_of_overrides(run: Path) -> str:
    """The id that the overrides of a pretraining run address today."""
    with composition.composing():
        [job] = jobs.jobs_of("pretrain", parse(overrides_of(run)))
    return job.path.name


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def files(run: Path) -> dict[Path, tuple[bytes, int]]:
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.rglob("*") if path.is_file()}


def checkpoint(run: Path, step: int) -> dict[str, Any]:
    """What a checkpoint holds, read without the project's code, so that the form of the file is fixed too."""
    data = (run / "checkpoints" / f"step-{step:09d}.ckpt").read_bytes()
    body, seal = data[:-51], SEAL.fullmatch(data[-51:])
    assert seal is not None and seal[1] == hashlib.sha256(body).digest()
    return torch.load(io.BytesIO(body), weights_only=True)


def test_there_are_runs_of_each_kind() -> None:
    assert sorted(path.parent.name for path in COMPLETE) == ["finetune", "pretrain"]
    precisions = {yaml.safe_load((path / "config.yaml").read_text())["precision"]["dtype"] for path in INTERRUPTED}
    assert precisions == {"fp32", "fp16"}


@pytest.mark.parametrize("run", INTERRUPTED, ids=lambda run: run.name)
def test_an_interrupted_run_goes_on_from_its_checkpoint(run: Path, folder: Path) -> None:
    metrics, first = run / "metrics.jsonl", run / "checkpoints" / f"step-{STOPPED_AT:09d}.ckpt"
    # The same rows with other white space: a run that began anew would write them in its own way.
    kept = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows(metrics))
    metrics.write_text(kept)
    before, saved = (first.read_bytes(), first.stat().st_mtime_ns), checkpoint(run, STOPPED_AT)
    data = json.loads((run / "provenance.json").read_text())["data"]
    neighbours = {path.name for path in run.parent.iterdir()}

    command("pretrain", *overrides_of(run))

    assert {path.name for path in run.parent.iterdir()} == neighbours, "the run has another id now"
    assert metrics.read_text().startswith(kept), f"the rows up to step {STOPPED_AT} are written again"
    assert (first.read_bytes(), first.stat().st_mtime_ns) == before, "the checkpoint is written again"
    provenance = json.loads((run / "provenance.json").read_text())
    assert provenance["data"] == data and len(provenance["attempts"]) == 2

    found, expected = rows(metrics), rows(Path("expected") / f"{run.name}.jsonl")
    earlier = [row for row in expected if row["step"] <= STOPPED_AT]
    assert found[: len(earlier)] == earlier and len(found) == len(expected)
    # Another kind of CPU than the one of the first half rounds in another way, and is noted as another cut.
    precise = 1e-4 if "precision=fp16" in overrides_of(run) else 1e-5
    for row, other in zip(found, expected, strict=True):
        assert list(row) == list(other)
        assert row == pytest.approx(other, rel=precise)
    assert json.loads((run / "result.json").read_text())["val/ppl"] == pytest.approx(expected[-1]["val/ppl"], rel=1e-5)

    cuts = json.loads((run / "result.json").read_text())["cuts"]
    assert {(cut["micro_batch_size"], cut["devices"]) for cut in cuts} == {(8, 1)}
    last = checkpoint(run, STEPS)
    assert set(last) - {ROWS} == set(saved), "what a checkpoint holds has other names now"
    assert list(last["state_dict"]) == list(saved["state_dict"])
    assert last["loops"].keys() == saved["loops"].keys()
    for name in (name for name in saved if name == "RetryingHalfPrecision"):  # the state of fp16's scaled loss
        assert saved[name]["_growth_tracker"] == STOPPED_AT
        assert last[name] == saved[name] | {"_growth_tracker": STEPS}, "the state of the loss scale is lost"
    assert ("RetryingHalfPrecision" in saved) == ("precision=fp16" in overrides_of(run))


@pytest.mark.parametrize("run", COMPLETE, ids=lambda run: run.parent.name)
def test_a_complete_run_is_found_and_nothing_is_written(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, neighbours = files(run), sorted(run.parent.iterdir())
    command(run.parent.name, *overrides_of(run))
    assert f": complete, {run}" in capsys.readouterr().out
    assert files(run) == before and sorted(run.parent.iterdir()) == neighbours


def test_the_prepared_text_is_found_under_the_same_names() -> None:
    """A change of these names makes every user's corpus be prepared again. They hold the versions of two packages."""
    [run] = (path for path in COMPLETE if path.parent.name == "pretrain")
    command("prepare", *overrides_of(run))
    made_by = json.loads((run / "provenance.json").read_text())["attempts"][0]["packages"]
    if any(metadata.version(name) != made_by[name] for name in ("tokenizers", "sentencex")):
        pytest.skip("another version of tokenizers or sentencex is installed, which is part of the names")
    cache = Path("runs", "cache")
    found = {kind: sorted(path.name for path in (cache / kind).glob("[!.]*")) for kind in ("corpus", "tokenizer", "tokens")}  # fmt: skip
    assert found == json.loads(Path("expected", "prepared.json").read_text())


def predictions(what: str, *overrides: str) -> list[dict[str, Any]]:
    output = Path(f"{what}.jsonl")
    command("predict", *overrides, f"predict.what={what}", f"predict.output={output}")
    return rows(output)


def plain(value: Any) -> Any:
    """The same value with numbers that are compared to five digits."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return pytest.approx(value, rel=1e-5, abs=1e-7) if isinstance(value, float) else value


@pytest.mark.parametrize("run", COMPLETE, ids=lambda run: run.parent.name)
def test_a_complete_run_predicts_what_it_predicted(run: Path) -> None:
    """A pretraining run fills masks from its checkpoint; a finetuning run takes the weights that it has kept."""
    what = {"pretrain": "fill_mask", "finetune": "task"}[run.parent.name]
    texts = f"predict.text={MASKED}" if what == "fill_mask" else f"predict.text=[{','.join(NEW_TEXTS)}]"
    before = files(run)
    found = predictions(what, *overrides_of(run), texts)
    assert found == plain(rows(Path("expected") / f"{what}.jsonl"))
    assert files(run).items() >= before.items()


def test_a_complete_run_is_exported_with_the_same_weights() -> None:
    [run] = (path for path in COMPLETE if path.parent.name == "pretrain")
    command("export", *overrides_of(run), "export.path=exported")
    tensors = {
        name: [list(tensor.shape), hashlib.sha256(tensor.numpy().tobytes()).hexdigest()[:16]]
        for name, tensor in load_file(Path("exported", "model.safetensors")).items()
    }
    assert tensors == json.loads(Path("expected", "exported.json").read_text())


def test_a_run_of_an_older_science_is_read_though_no_command_addresses_it() -> None:
    """SCIENCE_VERSION has risen since: the same overrides mean another run now, and its figures and weights stay readable."""
    [path] = Path("version_1", "pretrain").iterdir()
    run = roberta_lab.load_run(path)
    assert run.result is not None and run.result.pretraining is not None
    last = rows(path / "metrics.jsonl")[-1]
    assert run.result.pretraining.perplexity == last["val/ppl"] and run.result.pretraining.common_bits_per_byte is None
    assert run.metrics.set_index("step").loc[last["step"], "val/ppl"] == last["val/ppl"]
    weights = checkpoint(path, STEPS)["state_dict"]
    assert all(torch.equal(tensor, weights[f"model.{name}"]) for name, tensor in run.model.state_dict().items())
    assert jobs_of_overrides(path) != run.id


def test_the_kept_runs_name_no_machine() -> None:
    for path in HOME.rglob("*"):
        if path.suffix in (".yaml", ".json", ".jsonl"):
            assert not re.search(r'["\' =](/\w+/|[A-Z]:\\|~/)', path.read_text()), path
    for path in HOME.glob("runs/*/*/provenance.json"):
        for attempt in json.loads(path.read_text())["attempts"]:
            assert attempt["hardware"]["host"] == attempt["hardware"]["platform"] == "example"
    assert sum(path.stat().st_size for path in HOME.rglob("*") if path.is_file()) < 700_000
