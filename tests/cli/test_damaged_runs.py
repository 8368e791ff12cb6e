"""A damaged file costs its run's cell, or one line with the way out; nothing is trained over without a word."""

import json
import resource
import shutil
import signal
from pathlib import Path

import pytest
from small_run import SHORT, patch_source

from roberta_lab.cli import main
from roberta_lab.training import step_end

WORDS = ["sweep=table1_masking", "sweep.only=[static]", "sweep.seeds=[1]", "sweep.tasks=[]", "trainer.jobs=1", *SHORT]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of one complete run of three steps."""
    with pytest.MonkeyPatch.context() as patched:
        folder = tmp_path_factory.mktemp("made")
        patched.chdir(folder)
        patch_source(patched)
        assert main.main(["pretrain", *WORDS]) == 0
    return folder / "outputs"


@pytest.fixture
def run(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the run in a copy of the outputs."""
    patch_source(monkeypatch)
    shutil.copytree(made, "outputs")
    return next(Path("outputs/pretrain").iterdir())


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    return f"{out}\n{err}"


def test_a_command_says_which_file_and_the_way_out_works(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = (run / "metrics.jsonl").read_bytes()
    flip(run / "metrics.jsonl")
    assert main.main(["pretrain", *WORDS]) == 1
    text = said(capsys)
    assert (
        f"{run}/metrics.jsonl is damaged" in text and f"delete it and {run}/result.json, and the same command" in text
    )
    for name in ("metrics.jsonl", "result.json"):
        (run / name).unlink()
    assert main.main(["pretrain", *WORDS]) == 0
    assert (run / "metrics.jsonl").read_bytes() == whole and "goes on from step 3" in said(capsys)


def test_a_table_and_reproduce_mark_the_cell_and_leave_the_run_alone(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(run / "config.yaml")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "index.html"}
    assert main.main(["table", *WORDS]) == 0
    text = said(capsys)
    assert "1 of 1 runs damaged" in text and f"{run.name}/config.yaml is damaged" in text
    assert main.main(["reproduce", *WORDS]) == 1
    assert f"1 of 1 runs are damaged:\n  {run}/config.yaml is damaged" in said(capsys)
    assert main.main(["status", "--json"]) == 0
    assert [one["state"] for one in json.loads(capsys.readouterr().out)["runs"]] == ["damaged"]
    assert {path: path.read_bytes() for path in before} == before


def test_a_damaged_result_is_not_published(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["export", "masking=static", "seed=1", *SHORT, "export.path=published"]
    whole = (run / "result.json").read_text()
    for harmed in (whole.replace("1", "7", 1), whole[: len(whole) // 2], "[" * 100_000):
        (run / "result.json").write_text(harmed)
        assert main.main(command) == 1
        assert f"{run}/result.json is damaged" in said(capsys) and not Path("published").exists()
    (run / "result.json").write_text(whole)
    assert main.main(command) == 0


def test_an_export_follows_the_link_that_was_typed_and_no_other(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["export", "masking=static", "seed=1", *SHORT]
    place, own = Path("elsewhere").absolute(), Path("outputs/export") / run.name
    for folder in (place, own.parent):
        folder.mkdir()
    Path("typed").symlink_to(place)
    own.symlink_to(place)
    assert main.main(command) == 1 and f"{own} is a link to {place}" in said(capsys) and not [*place.iterdir()]
    assert main.main([*command, "export.path=typed"]) == 0
    assert Path("typed").is_symlink() and (place / "model.safetensors").is_file()


def test_prepared_text_that_is_damaged_is_said_with_its_folder(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(run)
    [store] = [path for path in Path("outputs/cache/tokens").iterdir() if not path.name.startswith(".")]
    flip(store / "train" / "tokens-00000.npy")
    assert main.main(["pretrain", *WORDS]) == 1
    assert f"tokens-00000.npy is damaged: its SHA-256 is not the one in {store}/hashes.json; delete the folder {store}" in said(capsys)  # fmt: skip
    shutil.rmtree(store)
    assert main.main(["pretrain", *WORDS]) == 0


def test_a_folder_that_is_removed_while_it_is_trained_stays_away(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save = step_end.StepEnd._save

    def removing(self: step_end.StepEnd, trainer: object, module: object, step: int) -> None:
        shutil.rmtree(run)
        save(self, trainer, module, step)  # type: ignore[arg-type]

    monkeypatch.setattr(step_end.StepEnd, "_save", removing)
    shutil.rmtree(run)
    assert main.main(["pretrain", *WORDS]) == 1
    assert f"{run} was removed while this process worked on it; the same command makes it again" in said(capsys)
    assert not run.exists()


def test_a_limit_on_the_size_of_files_is_one_line_and_loses_nothing(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(run)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
        assert main.main(["pretrain", *WORDS]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    last = said(capsys).strip().splitlines()[-1]
    assert (
        last.startswith("roberta-lab: File too large (") and f"{run}/checkpoints/step-000000003.ckpt; a limit" in last
    )
    assert not [path for path in run.rglob(".*")]
    assert main.main(["pretrain", *WORDS]) == 0
