"""`plan`: a row for each run, what is there, the sum of the rest; cheap, and from any folder without data."""

import json
import re
from pathlib import Path

import pytest

from roberta_lab.cli import main as cli
from roberta_lab.config.formatting import short
from roberta_lab.runs import options, results
from roberta_lab.runs.overrides import texts


def planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert cli.main(["plan", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def row(lines: list[str], name: str) -> list[str]:
    [found] = [line.split() for line in lines if line.startswith(name + " ")]
    return found


def test_a_sweep_is_a_table_and_leaves_nothing_behind(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    lines = planned(capsys, "sweep=table4_data", "scale=paper", "plan.devices=1024")
    assert lines[0] == "Table 4: more data, longer training (table4_data) at scale=paper"
    assert (
        " ".join(row(lines, "all_500k")[2:]) == "missing 355M 8,192 x 500,000 2T 60.1 1 x 8 4.0e+21 12 GB 4.5 days 111K"
    )
    assert "pretraining: 4 runs, 0 complete, 4 to train: 3.99T tokens, 8.0e+21 FLOPs, 223K device-hours" in lines
    assert any(line.startswith("finetuning: 280 runs, 0 complete, 280 to train: ") for line in lines)
    assert not list(tmp_path.iterdir())


def test_runs_that_exist_are_complete_and_not_counted_again(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    before = planned(capsys, "sweep=table1_masking", "sweep.seeds=[1]")
    name = row(before, "static")[1]
    (folder := tmp_path / "outputs" / "pretrain" / name).mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps({}))
    assert results.is_complete(folder)
    after = planned(capsys, "sweep=table1_masking", "sweep.seeds=[1]")
    assert row(after, "static")[2] == "complete" and row(after, "dynamic")[2] == "missing"
    assert any(line.startswith("pretraining: 2 runs, 1 complete, 1 to train: 1.99M tokens") for line in after)


def test_rows_with_the_same_stand_in_are_one_run(capsys: pytest.CaptureFixture[str]) -> None:
    Path("twice.yaml").write_text(
        "name: twice\ntitle: Twice\nquestion: Is a row that says the default another run?\nrows:\n"
        "  first: [nsp=auto]\n  second: [nsp=on]\ntasks: [sst2]\nfinetune_seeds: [1, 2, 3]\n"
    )
    lines = planned(capsys, "sweep=twice.yaml")
    assert " ".join(row(lines, "second")[2:6]) == "same run as first"
    assert any(line.startswith("pretraining: 1 run, 0 complete, 1 to train") for line in lines)
    assert any(line.startswith("finetuning: 3 runs") for line in lines)


def test_rows_that_do_not_start_from_a_run_are_not_charged_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random weights cost no pretraining, in a table whose other row has one, and in one where no row has."""
    few = [
        "sweep.tasks=[sst2]",
        "sweep.seeds=[1]",
        "sweep.finetune_seeds=[1]",
        "plan.output=plan.md",
        "plan.price_per_hour=1",
    ]
    lines = planned(capsys, "sweep=table1_masking", *few, "pretrained=none")
    assert lines[2] == "no row starts from a pretraining run of its own" and not any("parameters" in o for o in lines)
    assert any(line.startswith("pretraining: 0 runs, 0 complete, 0 to train: 0 tokens, ") for line in lines)
    assert any(line.startswith("finetuning: 1 run, ") for line in lines), "what was pretrained how does not count"
    assert "- pretraining: 0 runs, " in (tmp_path / "plan.md").read_text()
    several = planned(capsys, "sweep=table1_masking,static_patterns", *few, "pretrained=none")
    assert sum(line.startswith("pretraining: 0 runs, ") for line in several) == 3
    (folder := tmp_path / "sweeps").mkdir()
    text = (options.SWEEPS / "table1_masking.yaml").read_text()
    (folder / "random.yaml").write_text(
        text.replace("name: table1_masking", "name: random").replace("rows:", "rows:\n  none: [pretrained=none]")
    )
    monkeypatch.setattr(options, "SWEEPS", folder)
    lines = planned(capsys, "sweep=random", *few)
    assert [line.split()[0] for line in lines[3:5]] == ["static", "dynamic"] and not lines[5]
    assert any(line.startswith("finetuning: 3 runs, ") for line in lines)


def test_of_several_tables_each_run_is_counted_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Table 1's two rows are among the rows of the question about static patterns: at smoke all have 2,000 steps."""
    few = ["sweep.tasks=[sst2]", "sweep.seeds=[1]", "sweep.finetune_seeds=[1]", "plan.price_per_hour=100"]
    alone = {name: planned(capsys, f"sweep={name}", *few) for name in ("table1_masking", "static_patterns")}
    tables = {name: lines[2 : lines.index("", 2)][1:] for name, lines in alone.items()}
    ids = {name: {line.split()[1] for line in rows} for name, rows in tables.items()}
    every, shared = set.union(*ids.values()), set.intersection(*ids.values())
    assert 0 < len(shared) < len(every)
    lines = planned(capsys, "sweep=table1_masking,static_patterns", *few, "plan.output=both.md")
    text = "\n".join(lines)
    assert all("\n".join(own) in text for own in alone.values()), "the plan of each table as it is alone"
    total = lines.index(f"all 2 tables at scale=smoke; {2 * len(shared)} runs shared between them, counted once")
    tokens, flops, hours = 0.971 * 2000 * 16 * 64, 5.58e12, 0.03102
    pretraining, finetuning, _, cost = lines[total + 2 : -1]
    assert pretraining.startswith(f"pretraining: {len(every)} runs, 0 complete, {len(every)} to train: ")
    assert f": {short(round(len(every) * tokens))} tokens, {len(every) * flops:.1e} FLOPs" in pretraining
    assert f"{short(len(every) * hours)} device-hours" in pretraining
    assert finetuning.startswith(f"finetuning: {len(every)} runs, 0 complete")
    assert float(cost.split()[3].rstrip(",")) == pytest.approx(len(every) * hours * 100, abs=0.1)
    page = (tmp_path / "both.md").read_text()
    assert page.count("\n# ") == 2 and page.endswith(f"- {cost}\n")


def test_plan_takes_all_tables_as_reproduce_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(cli, "run_hydra", lambda name, flags, overrides, as_json: asked.append(texts(overrides)))
    for command in ("plan", "reproduce"):
        assert cli.main([command, "sweep=all", "scale=smoke"]) == 0
    assert asked[0] == asked[1] and asked[0][-1].startswith("reproduce.sweeps=[table1_masking,table2_input_format,")
    assert cli.main(["plan", "scale=smoke"]) == 0 and asked[2] == ["scale=smoke"]
    assert cli.main(["plan", "sweep=all,table1_masking"]) == 2
    assert "sweep=all: no such option" in capsys.readouterr().err


def test_a_single_run_with_its_price_in_markdown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    options = ["plan.tokens_per_second=17600", "plan.price_per_hour=0.5", "plan.output=plans/one.md"]
    lines = planned(capsys, *options)
    assert "segment_pair dynamic seed 1 at scale=smoke" in lines[0]
    assert any("measured: plan.tokens_per_second=17600 a core" in line for line in lines)
    assert "cost of pretraining: 0.02, at 0.5 a device-hour" in lines
    page = (tmp_path / "plans" / "one.md").read_text()
    header = next(line for line in page.splitlines() if line.startswith("| row"))
    assert header.endswith("| cost |") and page.count("\n| ") == 3


def test_what_does_not_fit_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    lines = planned(capsys, "sweep=table3_batch_size", "scale=paper", "plan.devices=512")
    assert [line for line in lines if line.startswith("WARNING")] == [
        "WARNING 256: 512 devices for 256 sequences: 256 have no work"
    ]


def test_a_difference_is_one_between_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "masking=static", "plan.difference=0.5"]) == 2
    assert capsys.readouterr().err == (
        "roberta-lab: plan.difference: it is one between rows of a table, so it needs sweep=NAME.\n"
    )


def test_a_cluster_is_told_what_it_exchanges_and_what_does_not_divide(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sweep=table3_batch_size", "scale=paper", "plan.hardware=h100", "plan.devices=1024"]
    assert cli.main(["plan", *words, "plan.bandwidth=25"]) == 0
    out = capsys.readouterr().out
    assert re.search(
        r"exchange of gradients: 0\.99 to 1 GB sent by a device at each step, 0\.04 s, so \d+ to \d+% ", out
    )
    assert "WARNING 256: 1024 devices for 256 sequences: 768 have no work" in out
    assert cli.main(["plan", *words]) == 0
    assert "not reckoned in; plan.bandwidth=GB_PER_SECOND" in capsys.readouterr().out
