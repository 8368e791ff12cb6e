"""A directory belongs to one live process; a dead one's is free; results appear whole or not at all."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from roberta_lab import run
from roberta_lab.config import ConfigError

HOLD = "import sys; from pathlib import Path; from roberta_lab import run\nwith run.claim(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"


def test_a_live_owner_is_respected_and_a_killed_one_is_not(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None and owner.stdout.readline() == "held\n"
        with pytest.raises(run.RunInUse, match=f"process {owner.pid} on"), run.claim(tmp_path):
            pass
        os.kill(owner.pid, signal.SIGKILL)
        owner.wait()
    with run.claim(tmp_path):
        assert json.loads((tmp_path / "owner.json").read_text())["pid"] == os.getpid()
    assert not (tmp_path / "owner.json").exists()


def test_a_failed_write_leaves_the_earlier_file(tmp_path: Path) -> None:
    run.write_json(tmp_path / "result.json", {"score": 1})
    with pytest.raises(TypeError):
        run.write_json(tmp_path / "result.json", {"score": object()})
    assert json.loads((tmp_path / "result.json").read_text()) == {"score": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_provenance_names_code_packages_and_data() -> None:
    found = run.provenance({"store": "abc"})
    assert found["data"] == {"store": "abc"}
    assert found["packages"]["torch"] and set(found["git"]) == {"commit", "dirty"}


def test_a_run_does_not_go_on_with_other_data(tmp_path: Path) -> None:
    run.write_json(tmp_path / "provenance.json", run.provenance({"store": "abc"}))
    run.check_data(tmp_path, {"store": "abc"})
    with pytest.raises(ConfigError, match="other data"):
        run.check_data(tmp_path, {"store": "xyz"})
