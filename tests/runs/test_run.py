"""A directory belongs to one live process; a dead one's is free; results appear whole or not at all."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from example_results import pretrained

from roberta_lab.config import BatchSizeConfig, Config, ConfigError, RunInUse
from roberta_lab.data import claims, storage
from roberta_lab.runs import provenance, results, run_folder

HOLD = "import sys; from pathlib import Path; from roberta_lab.data import claims\nwith claims.claim(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"


CONFIG = Config(batch_size=BatchSizeConfig(steps=2))


def finish(run: Path) -> None:
    """End a run of two steps, whose rows are there."""
    (run / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2, "val/ppl": 9.0}\n')
    run_folder.finish(run, CONFIG, pretrained())


def test_a_live_owner_is_respected_and_a_killed_one_is_not(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None and owner.stdout.readline() == "held\n"
        with pytest.raises(RunInUse, match=f"process {owner.pid} on"), claims.claim(tmp_path):
            pass
        os.kill(owner.pid, signal.SIGKILL)
        owner.wait()
    with claims.claim(tmp_path):
        assert json.loads((tmp_path / "owner.json").read_text())["pid"] == os.getpid()
    assert not (tmp_path / "owner.json").exists()


def test_a_failed_write_leaves_the_earlier_file(tmp_path: Path) -> None:
    storage.write_json(tmp_path / "result.json", {"score": 1})
    with pytest.raises(TypeError):
        storage.write_json(tmp_path / "result.json", {"score": object()})
    assert json.loads((tmp_path / "result.json").read_text()) == {"score": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_a_complete_run_names_its_code_packages_and_data(tmp_path: Path) -> None:
    path = tmp_path / "pretrain" / "a1"
    with run_folder.opened(path, CONFIG, ["masking=static"], {"tokens": "abc"}):
        assert not results.is_complete(path)
        finish(path)
    found = json.loads((path / "provenance.json").read_text())
    [attempt] = found["attempts"]
    assert attempt["command"] == ["roberta-lab", "pretrain", "masking=static"]
    assert found["data"] == {"tokens": "abc"} and attempt["packages"]["torch"] and attempt["end"] >= attempt["start"]
    assert set(attempt["git"]) == {"commit", "dirty"}
    assert (path / "overrides.yaml").read_text() == "- masking=static\n"
    assert results.is_complete(path)


def test_a_complete_run_says_when_the_code_has_changed_since(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def code(commit: str | None, dirty: bool | None) -> None:
        monkeypatch.setattr(provenance, "_git", lambda: {"commit": commit, "dirty": dirty})
        monkeypatch.setattr(provenance, "_differs", lambda made: made != commit)

    code("a" * 40, False)
    with run_folder.opened(tmp_path, CONFIG, [], {}):
        finish(tmp_path)
    same = f"static: complete, {tmp_path}"
    assert run_folder.complete_line("static", tmp_path) == same
    code(None, None)  # installed without a repository: nothing is known
    assert run_folder.complete_line("static", tmp_path) == same
    redo = "changed since; delete the folder to make it again"
    for commit, dirty in (("b" * 40, False), ("a" * 40, True)):
        code(commit, dirty)
        assert run_folder.complete_line("static", tmp_path) == f"{same} (by the code of aaaaaaa, {redo})"
    for broken in ("", "{}", '{"attempts": []}', "[]"):
        (tmp_path / "provenance.json").write_text(broken)
        assert run_folder.complete_line("static", tmp_path) == same


def test_only_what_can_change_a_result_counts_as_changed_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        return subprocess.check_output(["git", "-C", str(tmp_path), *who, *arguments], text=True).strip()

    def seen(text: str, file: str, commit: bool = True) -> str | None:
        (tmp_path / file).write_text(text)
        if commit:
            git("add", "-A")
            git("commit", "-qm", "x")
        provenance._git.cache_clear()
        provenance._differs.cache_clear()
        return provenance.code_since(made)

    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    git("init", "-q")
    made = tmp_path / "conf"  # any folder
    made.mkdir()
    assert seen("1", "conf/a.yaml") is None
    first = git("rev-parse", "HEAD")
    storage.write_json(tmp_path / "provenance.json", {"attempts": [{"git": {"commit": first, "dirty": False}}]})
    made = tmp_path
    assert seen("docs", "README.md") is None and seen("mine", "GLUE.tsv", commit=False) is None
    assert (
        seen("2", "conf/a.yaml", commit=False) == seen("2", "conf/a.yaml") == f"the code of {first[:7]}, changed since"
    )
    assert seen("1", "conf/a.yaml") is None, "as it was"
    storage.write_json(tmp_path / "provenance.json", {"attempts": [{"git": {"commit": "f" * 40, "dirty": False}}]})
    assert seen("1", "conf/a.yaml", commit=False) is None, "a commit that is not there"
    storage.write_json(tmp_path / "provenance.json", {"attempts": [{"git": {"commit": first, "dirty": True}}]})
    assert seen("1", "conf/a.yaml", commit=False) == f"uncommitted code on {first[:7]}"
    provenance._git.cache_clear()
    provenance._differs.cache_clear()


def test_every_attempt_is_noted_and_other_data_are_refused(tmp_path: Path) -> None:
    for _ in range(2):
        with run_folder.opened(tmp_path, CONFIG, [], {"tokens": "abc"}):
            pass
    assert len(json.loads((tmp_path / "provenance.json").read_text())["attempts"]) == 2
    with pytest.raises(ConfigError, match="other data"), run_folder.opened(tmp_path, CONFIG, [], {"tokens": "xyz"}):
        pass


def test_a_run_that_another_process_completed_meanwhile_is_left_alone(tmp_path: Path) -> None:
    """It was incomplete when it was looked at, and complete when the claim was had."""
    with run_folder.opened(tmp_path, CONFIG, [], {"tokens": "abc"}) as is_mine:
        assert is_mine
        finish(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with run_folder.opened(tmp_path, CONFIG, [], {"tokens": "abc"}) as is_mine:
        assert not is_mine
    assert before == {p.name: p.read_bytes() for p in tmp_path.iterdir()}


def test_a_complete_run_that_is_made_again_is_not_complete_before_anything_of_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a process that is killed there would leave a result whose files nothing checks."""
    with run_folder.opened(tmp_path, CONFIG, [], {}):
        finish(tmp_path)
    gone: list[str] = []
    whole = Path.unlink

    def unlink(path: Path, missing_ok: bool = False) -> None:
        gone.append(path.name)
        whole(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    with run_folder.opened(tmp_path, CONFIG, [], {}, has_all=lambda: False) as is_mine:
        assert is_mine and not results.is_complete(tmp_path)
    assert [name for name in gone if name in ("result.json", "hashes.json")] == ["result.json", "hashes.json"]
