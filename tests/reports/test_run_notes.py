"""Notes of runs are read as they were written; what is missing or damaged is None."""

import json
from pathlib import Path

from roberta_lab.reports import run_notes


def test_notes_are_read(tmp_path: Path) -> None:
    noted = {"data": {"corpus": "c"}, "attempts": [{"start": "2026"}], "more": 1}
    (tmp_path / "provenance.json").write_text(json.dumps(noted))
    (tmp_path / "overrides.yaml").write_text("- seed=1\n- 3\n")
    (tmp_path / "config.yaml").write_text("batch_size: {steps: 9}\nseed: 1\n")
    assert run_notes.provenance(tmp_path) == {"data": {"corpus": "c"}, "attempts": [{"start": "2026"}]}
    assert run_notes.overrides(tmp_path) == ["seed=1", "3"]
    assert run_notes.setting(tmp_path, "batch_size", "steps") == 9
    assert run_notes.setting(tmp_path, "seed", "steps") is None is run_notes.setting(tmp_path, "nothing", "steps")


def test_what_cannot_be_read_is_none(tmp_path: Path) -> None:
    readers = (
        run_notes.provenance,
        run_notes.overrides,
        lambda folder: run_notes.setting(folder, "a"),
    )
    assert [read(tmp_path) for read in readers] == [None] * 3
    for name in ("provenance.json", "overrides.yaml", "config.yaml"):
        (tmp_path / name).write_text("{: [")
    assert [read(tmp_path) for read in readers] == [None] * 3
