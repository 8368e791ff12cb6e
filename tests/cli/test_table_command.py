"""`table`: nothing is written over, what is there is listed, and any runs are compared."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from report_runs import SWEEP, config, pretrained
from small_run import SHORT, patch_source

from roberta_lab.cli import launched, main, table
from roberta_lab.reports.figures import drawing
from roberta_lab.reports.table import assembly
from roberta_lab.runs import results
from roberta_lab.runs.overrides import parse
from roberta_lab.runs.tables import Sweep

RATES = ("0.001", "0.003")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a grid of two rates with two seeds was trained."""
    folder = tmp_path_factory.mktemp("lab")
    with pytest.MonkeyPatch.context() as patch:
        patch_source(patch)
        patch.chdir(folder)
        patch.setattr(drawing, "files", lambda figure: {})
        assert (
            main.main(
                ["pretrain", "-m", *SHORT, "hydra/launcher=basic", f"batch_size.peak_lr={','.join(RATES)}", "seed=1,2"]
            )
            == 0
        )
    return folder


@pytest.fixture(autouse=True)
def there(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lab)
    monkeypatch.setattr(drawing, "files", lambda figure: {})


def test_the_runs_of_a_grid_are_called_by_what_varies() -> None:
    labels = sorted(found.label for path in Path("outputs/pretrain").iterdir() if (found := results.read(path)))
    assert labels == [f"peak_lr={rate} seed {seed}" for rate in RATES for seed in (1, 2)]


def test_a_grid_ends_with_its_table_and_again_when_its_runs_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    [file] = Path("outputs/tables").glob("runs-*/smoke/table.json")
    before = json.loads(file.read_text())
    assert [row["name"] for row in before["rows"]] == [f"peak_lr={rate}" for rate in RATES]
    assert all(len(row["cells"][0]["values"]) == 2 for row in before["rows"]), "seeds are folded"
    assert [row["settings"] for row in before["rows"]] == [{"peak_lr": rate} for rate in RATES], "a column of its own"
    text = file.with_name("table.md").read_text()
    assert "| row | peak_lr | common bits per byte |" in text and "| peak_lr=0.003 | 0.003 | " in text
    assert before["runs"] == 4 and before["missing"] == 0
    by_hand = {}
    for path in Path("outputs/pretrain").iterdir():
        found = json.loads((path / "result.json").read_text())
        by_hand.setdefault(found["label"].partition(" seed ")[0], []).append(found["common_bits_per_byte"])
    medians = {row["name"]: row["cells"][0]["median"] for row in before["rows"]}
    assert medians == pytest.approx({name: sum(values) / 2 for name, values in by_hand.items()})
    ids = sorted(path.name for path in Path("outputs/pretrain").iterdir())
    assert main.main(["table", f"table.runs=[{','.join(reversed(ids))}]"]) == 0
    assert len([*Path("outputs/tables").glob("runs-*")]) == 1, "the same runs are the same table"
    assert (
        capsys.readouterr().out.splitlines()[-1].endswith(f"roberta-lab table 'table.runs=[{','.join(reversed(ids))}]'")
    )
    frame = (file.parent / "results.csv").read_text().splitlines()[0]
    assert frame.endswith(",batch_size.peak_lr")


def test_runs_that_are_none_or_named_with_a_sweep_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["table", "table.runs=[ffffffffffff]"]) == 2
    assert "ffffffffffff: no such run" in capsys.readouterr().err
    assert main.main(["table", "sweep=table1_masking", "table.runs=[ffffffffffff]"]) == 2
    assert "table.runs and sweep are both set" in capsys.readouterr().err


def test_other_settings_are_another_table(capsys: pytest.CaptureFixture[str]) -> None:
    """A finished table stays as it is when the same sweep is asked for with other steps."""
    own = ["table", "sweep=table1_masking", "sweep.tasks=[]"]
    assert main.main([*own, "sweep.seeds=[1]"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[-3:]] == ["found:", "where:", "next:"]
    tables = Path("outputs/tables/table1_masking")
    first = {path: path.read_bytes() for path in tables.rglob("table.*")}
    assert main.main([*own, "batch_size.steps=30", "sweep.seeds=[1]"]) == 0
    assert {path.name for path in tables.iterdir()} == {
        "smoke--sweep.tasks=",
        "smoke--batch_size.steps=30--sweep.tasks=",
    }
    assert all(path.read_bytes() == content for path, content in first.items())
    title = json.loads((tables / "smoke--batch_size.steps=30--sweep.tasks=" / "table.json").read_text())["title"]
    assert title.endswith(", with batch_size.steps=30, sweep.tasks=")
    capsys.readouterr()
    assert main.main(["table"]) == 0
    out = capsys.readouterr().out
    for name in ("table1_masking/smoke--batch_size.steps=30--sweep.tasks=", "runs-"):
        assert f"outputs/tables/{name}" in out
    assert "2 of 2 runs missing" in out and "2 settings: peak_lr=0.001 to peak_lr=0.003; complete" in out


def test_a_table_with_fewer_runs_goes_beside_the_larger_one(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = lab / "own.yaml"
    rows = ", ".join(f"'{rate}': [batch_size.peak_lr={rate}]" for rate in RATES)
    base = [word for word in SHORT if word.partition(".")[0] not in ("trainer", "logger", "prepare")]
    lines = ("# @package sweep", "name: own", "title: Rates", "question: Which?", f"base: [{', '.join(base)}]")
    sweep.write_text("\n".join([*lines, f"rows: {{{rows}}}", "seeds: [1, 2]", ""]))
    own, table = ["table", "sweep=own.yaml"], Path("outputs/tables/own")
    assert main.main(own) == 0
    whole = (table / "smoke" / "table.json").read_bytes()
    assert json.loads(whole)["missing"] == 0
    capsys.readouterr()
    assert main.main([*own, "sweep.seeds=[1]"]) == 0
    said = capsys.readouterr().out.splitlines()[0]
    assert said.startswith(
        f"{table}/smoke has a table of 4 complete runs, this one has 2, so it goes to {table}/smoke--2-runs"
    )
    assert (table / "smoke" / "table.json").read_bytes() == whole
    assert json.loads((table / "smoke--2-runs" / "table.json").read_text())["runs"] == 2
    assert main.main([*own, "sweep.seeds=[1]", "table.replace=true"]) == 0
    assert json.loads((table / "smoke" / "table.json").read_text())["runs"] == 2


def test_a_run_that_fails_costs_the_others_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    """A rate at which training diverges, between others."""
    rates = "0.001,9e30,0.003"
    assert main.main(["pretrain", "-m", *SHORT, "hydra/launcher=basic", f"batch_size.peak_lr={rates}"]) == 1
    out, err = capsys.readouterr()
    assert "step 2 was not taken: the loss of some of its examples is NaN or infinite" in err
    assert "\n# 2 settings: peak_lr=0.001 to peak_lr=0.003\n" in out and out.splitlines()[-1].startswith("next: ")


def test_runs_of_several_scales_have_no_table_and_the_command_is_done(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    runs = sorted(Path("outputs/pretrain").iterdir())[:2]
    other = shutil.copytree(runs[1], tmp_path / "outputs" / "pretrain" / ("0" * 12))
    noted = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(noted.replace("name: smoke", "name: mini"))
    shutil.copytree(runs[0], other.with_name("1" * 12))
    words = parse([f"paths.outputs={tmp_path / 'outputs'}"])
    launched._compare([str(other), str(other.with_name("1" * 12))], words)
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("no table of these runs: table.runs: they are of the scales mini, smoke.")


@pytest.mark.parametrize(
    ("there", "is_kept"),
    [
        ("{", False),
        ("[]", False),
        ('{"runs": null, "missing": 0}', False),
        ('{"runs": 2, "missing": 2}', False),
        ('{"runs": 2, "missing": 1}', True),
    ],
)
def test_only_a_whole_note_of_more_complete_runs_keeps_its_place(there: str, is_kept: bool, tmp_path: Path) -> None:
    folder = tmp_path / "smoke"
    folder.mkdir()
    (folder / "table.json").write_text(there)
    found = table._beside_a_larger(folder, [pretrained("static", None)])
    assert found == (tmp_path / "smoke--0-runs" if is_kept else folder)
    if is_kept:
        assert table._beside_a_larger(folder, [pretrained("static", 3.0), pretrained("dynamic", None)]) == folder


def test_what_is_typed_next_has_a_seed_more(tmp_path: Path) -> None:
    """`seed=2` would win over `sweep.seeds`."""
    record = replace(pretrained("static", 3.0), seed=2)
    sweep = Sweep(config(SWEEP, tmp_path), parse(["sweep=table1_masking", "seed=2"]), [])
    made = assembly.assemble(SWEEP, "smoke", [record])
    assert table._end(sweep, made, [Path("index.html")], Path("index.html"))[-1].endswith(
        "or roberta-lab reproduce sweep=table1_masking 'sweep.seeds=[2,3]'"
    )


def test_runs_that_several_tables_lack_are_missing_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Static masking, ten patterns of it, is a row of both: two and six rows are seven runs."""
    own = "sweep=table1_masking,static_patterns"
    assert main.main(["table", "-m", own, "sweep.tasks=[]", "sweep.seeds=[1]", "paths.outputs=empty"]) == 0
    lines = capsys.readouterr().out.splitlines()
    each = [int(line.split(" of ")[1].split()[0]) for line in lines if "runs are missing" in line]
    assert each == [2, 7] and "; 7 runs missing" in lines[-3]
    assert main.main(["table", "-m", "sweep=table1_masking", "seed=1,2"]) == 2
    assert "seed=1,2: several values make several tables" in capsys.readouterr().err
