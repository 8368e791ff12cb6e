"""A few faults of each kind of hostile input; `make faults` injects many."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from faults import inputs, outcomes

from roberta_lab.data.corpus.sources import compressed


@pytest.mark.parametrize("kind", [kind for kind in inputs.KINDS if kind not in (inputs.bombs, inputs.values)])
def test_hostile_inputs_are_refused_in_one_line(
    kind: Callable[[int, Path, int], list[outcomes.Outcome]], tmp_path: Path
) -> None:
    rows = kind(16, tmp_path, 0)
    assert len(rows) == 16 and all(row.survived for row in rows), [row for row in rows if not row.survived]


def test_a_value_that_no_setting_has_ends_a_command_with_2_and_one_line(tmp_path: Path) -> None:
    rows = inputs.values(2, tmp_path, 0)
    assert all(row.survived and row.code == 2 for row in rows), rows


@pytest.mark.parametrize("pack", [".gz", ".bz2", ".xz", ".zst"])
def test_a_bomb_is_refused_and_plain_text_of_the_same_size_is_read(
    pack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if pack == ".zst":
        pytest.importorskip("zstandard")
    monkeypatch.setattr(compressed, "SMALL", 1 << 20)
    for name, text in {"bomb": b"a" * (1 << 22), "text": random.Random(0).randbytes(1 << 19).hex().encode()}.items():
        path = tmp_path / f"{name}.txt{pack}"
        path.write_bytes(outcomes.PACKERS[pack](text))
        row = outcomes.outcome(name, outcomes.corpus_reader(path), refused=name == "bomb")
        assert row.survived and ("200 times" in row.message) == (name == "bomb"), row
