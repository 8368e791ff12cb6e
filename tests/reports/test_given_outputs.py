"""Outputs that others give: pipes and devices in place of files, and files that are nested too deeply, hold nothing up."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from report_runs import pretrained, write_run

from roberta_lab.config import ConfigError, Damaged
from roberta_lab.data import claims, network_files, seals, verified
from roberta_lab.reports.page.known import all_known
from roberta_lab.reports.page.landing import write_landing
from roberta_lab.runs import launching, loading, progress, results, yaml_file
from roberta_lab.runs.slurm import states

pytestmark = pytest.mark.usefixtures("soon")
DEEP = "[" * 100_000
NAMES = [
    *("hashes.json", "owner.json", "provenance.json", "result.json", "metrics.jsonl", "config.yaml", "overrides.yaml"),
    *("perf.json", "examples.json", "predictions.jsonl"),
]


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def deep(path: Path) -> None:
    path.write_text(DEEP)


@pytest.mark.parametrize("make", [pipe, device, deep, Path.mkdir])
@pytest.mark.parametrize("name", NAMES)
def test_one_run_keeps_no_other_from_being_listed(name: str, make: Callable[[Path], None], tmp_path: Path) -> None:
    for folder in ("bad", "good"):
        write_run(tmp_path, pretrained("static", 5.0), folder=folder)
    bad = tmp_path / "pretrain" / "bad"
    if name == "owner.json":  # which nobody reads of a complete run
        (bad / "result.json").unlink()
    (bad / name).unlink(missing_ok=True)
    make(bad / name)
    found = {run.run_id: run.state for run in all_known(tmp_path)}
    assert found.keys() == {"bad", "good"} and found["good"] == "complete"
    assert write_landing(tmp_path).is_file()
    progress.last_row(bad / "metrics.jsonl")
    progress.measured(tmp_path)
    launching._owner(bad)
    for read in (loading.load_run, results.read):
        try:
            read(bad)
        except (ConfigError, Damaged) as said:
            assert "\n" not in str(said) and len(str(said)) < 1000


@pytest.mark.parametrize(
    ("make", "said"), [(pipe, "is a named pipe"), (device, "is a device"), (Path.mkdir, "a folder")]
)
def test_what_is_no_file_is_damage_to_every_reader(make: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("x")
    verified.seal(tmp_path)
    file.unlink()
    make(file)
    readers: dict[str, Callable[[], object]] = {
        "check": lambda: verified.check(file),
        "check_folder": lambda: verified.check_folder(tmp_path),
        "check_sizes": lambda: verified.check_sizes(tmp_path),
        "read_sealed": lambda: verified.read_sealed(file, "go"),
        "without_seal": lambda: seals.without_seal(file, "go"),
        "load_arrays": lambda: seals.load_arrays(file, "go", "tokens"),
        "read": lambda: network_files.read(file),
    }
    for read in readers.values():
        with pytest.raises(Damaged, match=f"{said}.* in place of a file"):
            read()
    (tmp_path / verified.HASHES).unlink()
    with pytest.raises(Damaged, match=said):
        verified.check(file)
    assert network_files.tail(file, 9) == b"" and states.last_error(file) == ""


def test_sealed_json_that_is_too_deep_is_damage(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(f'{{"a": {DEEP}')
    with pytest.raises(Damaged, match=r"x\.json is damaged: maximum recursion"):
        verified.read_sealed(tmp_path / "x.json", "go")


@pytest.mark.parametrize(
    "content",
    [DEEP, '{"pid": Infinity}', '{"pid": 1e999}', '{"pid": 1, "token": "../../x"}', '{"pid": 1, "token": []}'],
)
def test_a_note_that_says_nonsense_is_that_of_nobody_known(content: str, tmp_path: Path) -> None:
    (tmp_path / claims.NOTE).write_text(content)
    found = claims.owner(tmp_path / claims.NOTE)
    assert found is not None and found.host == "an unknown machine" and claims._succession(tmp_path / "a", found)


@pytest.mark.parametrize("make", [pipe, device])
def test_a_claim_takes_the_place_of_a_note_that_is_no_file(
    make: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / claims.NOTE)
    monkeypatch.setattr(network_files, "silence", lambda *_: (claims.AGREE, 0.0))
    with claims.claim(tmp_path):
        claims.check(tmp_path)
    assert not [*tmp_path.iterdir()]


def test_yaml_of_a_run_is_refused_where_it_grows_or_is_too_deep(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    bomb = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)
    )
    for content, said in (
        (DEEP[:1000], "nested too deeply"),
        (bomb, "more than"),
        ("a: [", "line"),
        ("x" * 5_000_000, "at most"),
    ):
        file.write_text(content)
        with pytest.raises(ConfigError, match=said):
            yaml_file.plain(file)
    file.write_text(json.dumps({"a": [1]}))
    assert yaml_file.plain(file) == {"a": [1]}
