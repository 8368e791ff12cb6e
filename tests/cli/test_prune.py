"""`status` and `prune`: what is there and how large; only what no run needs goes, and never a result."""

import json
import os
import shutil
from pathlib import Path

import pytest
import report_runs

from roberta_lab.cli import main
from roberta_lab.config import Damaged
from roberta_lab.data.claims import claim
from roberta_lab.data.seals import with_seal
from roberta_lab.data.storage import REMOVED, write_json
from roberta_lab.runs import disk

OWN = "a" * 12, "b" * 12, "c" * 12  # complete, interrupted, complete (finetuning)


def write(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)


def save(path: Path, size: int) -> None:
    """A checkpoint, of which only the seal is read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size + with_seal(b"x" * size))


@pytest.fixture(autouse=True)
def outputs(tmp_path: Path) -> Path:
    """A complete and an interrupted run with two checkpoints each, a complete finetuning; caches that two and no runs used."""
    there = tmp_path / "outputs"
    for kind, run in zip(("pretrain", "pretrain", "finetune"), OWN, strict=True):
        folder = there / kind / run
        for step in (20, 24) if kind == "pretrain" else ():
            save(folder / "checkpoints" / f"step-{step:09d}.ckpt", 1000 * step)
        write(folder / "model.ckpt" if kind == "finetune" else folder / "metrics.jsonl", 0)
        write_json(
            folder / "provenance.json", {"data": {"corpus": f"text of {run}", "tokens": "shared"}, "attempts": []}
        )
        (folder / "overrides.yaml").write_text("[seed=1]\n")
        if run != OWN[1]:
            write(folder / "result.json", 300)
    for kind, name, content in [
        *(("corpus", "one", f"text of {OWN[0]}"), ("corpus", "two", f"text of {OWN[1]}"), ("corpus", "left", "other")),
        *(("tokens", "used", "shared"), ("tokens", "old", f"text of {OWN[0]}"), ("tokenizer", "odd", "shared")),
    ]:
        write(there / "cache" / kind / name / "text.npy", 5000)
        write_json(there / "cache" / kind / name / "manifest.json", {"content": content, "counts": {}})
    write(there / "cache" / "corpus" / ".making" / "text.npy", 5000)
    write(there / "cache" / "features" / "task.npz", 700)
    return there


def looked(outputs: Path) -> list[disk.Removable]:
    """What can go, as prune sees it before it removes any of it."""
    config = report_runs.config(report_runs.SWEEP, outputs)
    config.paths.cache = str(outputs / "cache")
    return disk.removable(config)


def files(outputs: Path) -> set[str]:
    return {
        path.relative_to(outputs).as_posix() for path in outputs.rglob("*") if path.is_file() and path.name != ".lock"
    }


GOES = {
    f"pretrain/{OWN[0]}/checkpoints/step-000000020.ckpt",
    *(f"cache/{folder}/{file}" for folder in ("corpus/left", "tokens/old", "tokenizer/odd") for file in ("text.npy", "manifest.json")),
}  # fmt: skip
FINAL = {f"pretrain/{OWN[0]}/checkpoints/step-000000024.ckpt"}


@pytest.mark.parametrize(("words", "goes"), [([], GOES), (["prune.final=true"], GOES | FINAL)])
def test_first_it_is_said_and_then_exactly_that_is_removed(
    words: list[str], goes: set[str], outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(outputs)
    assert main.main(["prune", *words]) == 0
    out = capsys.readouterr().out
    assert files(outputs) == before and "nothing was removed yet" in out
    assert out.splitlines()[-1] == " ".join(["next: roberta-lab prune", *words, "prune.yes=true"])
    assert main.main(["prune", *words, "prune.yes=true"]) == 0
    assert before - files(outputs) == goes and files(outputs) <= before
    for path in goes:
        assert any(part in out for part in (path, path.rpartition("/")[0]))
    capsys.readouterr()
    assert main.main(["prune", *words]) == 0
    assert capsys.readouterr().out == "nothing to remove\n"


def test_an_earlier_checkpoint_stays_where_the_last_one_is_damaged(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is all that is left of the weights; who asks for none of them (`prune.final`) gets what was asked for."""
    folder = outputs / "pretrain" / OWN[0] / "checkpoints"
    earlier, last = sorted(folder.iterdir())
    last.write_bytes(last.read_bytes()[:-60])
    before = files(outputs)
    for words in ([], ["prune.yes=true"]):
        assert main.main(["prune", *words, "--json"]) == 0
        out, said = capsys.readouterr()
        assert f"kept outputs/{earlier.relative_to(outputs)}: outputs/{last.relative_to(outputs)} is damaged: " in said
        assert f"delete it and outputs/pretrain/{OWN[0]}/result.json, and the same command goes on" in said
        assert not any(one["path"].endswith(".ckpt") for one in json.loads(out)["removable"])
    assert before - files(outputs) == {path for path in GOES if path.startswith("cache")}
    assert main.main(["prune", "prune.yes=true", "prune.final=true"]) == 0 and not [*folder.iterdir()]


def test_a_last_checkpoint_that_is_damaged_after_the_look_keeps_the_earlier_one(outputs: Path) -> None:
    found = looked(outputs)
    folder = outputs / "pretrain" / OWN[0] / "checkpoints"
    earlier, last = sorted(folder.iterdir())
    last.write_bytes(b"")
    [one] = [one for one in found if one.path == earlier]
    with pytest.raises(Damaged, match=rf"{last.name} is damaged"):
        disk.remove(one)
    assert earlier.exists()


def test_checkpoints_that_a_run_refused_go_when_it_is_complete(outputs: Path) -> None:
    refused = [outputs / "pretrain" / run / "checkpoints" / "step-000000022.ckpt.refused" for run in OWN[:2]]
    for path in refused:
        write(path, 5)
    assert main.main(["prune", "prune.yes=true"]) == 0
    assert [path.exists() for path in refused] == [False, True]


def test_inputs_of_tasks_go_when_every_run_is_complete(outputs: Path) -> None:
    write(outputs / "pretrain" / OWN[1] / "result.json", 300)
    before = files(outputs)
    assert main.main(["prune", "prune.yes=true"]) == 0
    more = {f"pretrain/{OWN[1]}/checkpoints/step-000000020.ckpt", "cache/features/task.npz"}
    assert before - files(outputs) == GOES | more


def test_a_cache_outside_the_outputs_and_a_run_in_use_are_kept(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (outputs / "cache").rename(outputs.parent / "cache")
    before, kept = files(outputs), files(outputs.parent / "cache")
    with claim(outputs / "pretrain" / OWN[0]):
        assert main.main(["prune", "prune.yes=true", "paths.cache=cache"]) == 0
        out = capsys.readouterr().out
        assert f"{OWN[0]} is in use by process" in out and "removed 0 of 1, 0 bytes" in out
    assert "kept: cache, which lies outside outputs" in out
    assert (files(outputs), files(outputs.parent / "cache")) == (before, kept)


def test_status_counts_what_is_there_and_says_what_is_damaged(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["status", "--json"]) == 0
    out, said = capsys.readouterr()
    found = json.loads(out)
    states = {run["run_id"]: (run["kind"], run["state"]) for run in found["runs"]}
    assert states == {
        OWN[0]: ("pretrain", "damaged"),
        OWN[1]: ("pretrain", "interrupted"),
        OWN[2]: ("finetune", "damaged"),
    }
    for run in found["runs"]:
        folder = outputs / run["kind"] / run["run_id"]
        assert run["bytes"] == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    manifests = sum(path.stat().st_size for path in outputs.glob("cache/corpus/[!.]*/manifest.json"))
    assert found["caches"]["corpus"] == 15_000 + manifests and found["caches"]["features"] == 700
    assert found["prunable"] == sum((outputs / path).stat().st_size for path in GOES)
    assert "pretrain  2 runs: 1 interrupted, 1 damaged; " in said and ": roberta-lab pretrain seed=1" in said


def test_what_is_shown_of_outputs_elsewhere_is_about_them(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs.rename(outputs.with_name("elsewhere"))
    assert main.main(["status", "paths.outputs=elsewhere"]) == 0
    out = capsys.readouterr().out
    assert ": roberta-lab pretrain seed=1 paths.outputs=elsewhere\n" in out
    assert out.splitlines()[-1].startswith("next: roberta-lab table paths.outputs=elsewhere lists the tables; ")
    assert "; roberta-lab prune paths.outputs=elsewhere frees " in out
    assert main.main(["table", "paths.outputs=elsewhere"]) == 0
    assert "next: roberta-lab table sweep=NAME paths.outputs=elsewhere, or " in capsys.readouterr().out


@pytest.mark.parametrize("note", ["{", "[]", "{}"])
def test_where_a_note_of_data_is_damaged_no_prepared_text_goes(note: str, outputs: Path) -> None:
    (outputs / "pretrain" / OWN[0] / "provenance.json").write_text(note)
    before = files(outputs)
    assert main.main(["status"]) == 0 and main.main(["prune", "prune.yes=true"]) == 0
    assert before - files(outputs) == {path for path in GOES if path.startswith("pretrain")}


def test_what_is_no_prepared_folder_stays(outputs: Path) -> None:
    write(outputs / "cache" / "tokens" / "notes.txt", 5)
    write(outputs / "cache" / "corpus" / "mine" / "text.txt", 5)
    before = files(outputs)
    assert main.main(["prune", "prune.yes=true"]) == 0
    assert before - files(outputs) == GOES


def test_a_prune_that_is_killed_leaves_no_part_that_would_be_taken_for_the_whole(
    outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: Path) -> None:
        next(file for file in path.rglob("*") if file.is_file()).unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        assert main.main(["prune", "prune.yes=true"]) == 130
    whole = {"text.npy", "manifest.json"}
    folders = [folder for folder in outputs.glob("cache/*/[!.]*/")]
    assert len(folders) == 5 and all({file.name for file in folder.iterdir()} == whole for folder in folders)
    assert main.main(["prune", "prune.yes=true"]) == 0
    assert not [*outputs.glob(f"cache/*/.*{REMOVED}")]


def test_what_an_interrupted_prune_has_left_stops_no_later_one(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither where the same is there again, nor where a folder cannot be removed."""
    for name in (".left.removed", ".left.0a1b2c3d.removed"):  # of older code and of this
        write(outputs / "cache" / "corpus" / name / "text.npy", 50)
    write(outputs / "cache" / ".scans-0.0a1b2c3d.removed" / "1.json", 50)
    real = os.replace

    def replace(path: Path, to: Path) -> None:
        if Path(path).name == "old":
            raise PermissionError(13, "Permission denied", str(path))
        real(path, to)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        assert main.main(["prune", "prune.yes=true"]) == 0
    assert "kept outputs/cache/tokens/old: [Errno 13] Permission denied" in capsys.readouterr().out
    assert not [*outputs.rglob(f".*{REMOVED}")] and not (outputs / "cache" / "corpus" / "left").exists()
    assert (outputs / "cache" / "tokens" / "old" / "text.npy").is_file()


def test_files_that_go_while_sizes_are_added_up_count_nothing(outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run at work writes each file beside its place and renames it."""
    size, real = disk.size_of(outputs), Path.lstat

    def gone(path: Path) -> os.stat_result:
        if path.name == "result.json":
            raise FileNotFoundError(path)
        return real(path)

    monkeypatch.setattr(Path, "lstat", gone)
    assert disk.size_of(outputs) == size - 600


def test_an_empty_folder_has_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert main.main(["status"]) == 0 and main.main(["prune"]) == 0 and main.main(["table"]) == 0
    out = capsys.readouterr().out
    assert "no runs in outputs" in out and "nothing to remove" in out and "no tables in outputs" in out
    assert not [*Path().iterdir()]


def test_a_run_that_is_made_again_after_the_look_keeps_its_checkpoints(outputs: Path) -> None:
    found = looked(outputs)
    (outputs / "pretrain" / OWN[0] / "result.json").unlink()
    for one in found:
        disk.remove(one)
    assert {path for path in GOES if path.startswith("pretrain")} <= files(outputs)
