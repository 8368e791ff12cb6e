"""The page over all tables and runs: states, progress, and commands that address the runs they stand beside."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from report_runs import HOSTILE, SWEEP, Page, config, pretrained, write_run

from roberta_lab.data import claims
from roberta_lab.reports.page.known import all_known, known, state_of
from roberta_lab.reports.page.landing import write_landing
from roberta_lab.reports.table.files import write_table
from roberta_lab.runs.command_line import typed
from roberta_lab.runs.options import groups


def own(folder: Path, **owner: object) -> None:
    (folder / "owner.json").write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), **owner}))


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    record = write_run(tmp_path, pretrained("dynamic", None), {"batch_size": {"steps": 2000}})
    return tmp_path / "pretrain" / record.run_id


def test_the_state_of_a_run(unfinished: Path) -> None:
    assert state_of(unfinished) == ("interrupted", "step 10 of 2,000")
    own(unfinished)
    state, detail = state_of(unfinished)
    assert state == "in progress" and detail.startswith("step 10 of 2,000; process ")
    own(unfinished, host="elsewhere")
    assert state_of(unfinished)[0] == "in progress", "of another machine's processes nothing is known here"
    note = unfinished / "owner.json"
    os.utime(note, (0, note.stat().st_mtime - 2 * claims.STALE))
    assert state_of(unfinished)[0] == "interrupted", "but one that is silent for so long holds nothing"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    own(unfinished, pid=gone.pid)
    assert state_of(unfinished)[0] == "interrupted", "its owner is dead"
    own(unfinished, pid="no number")
    assert state_of(unfinished)[0] == "interrupted"
    (unfinished / "result.json").write_text("{}")
    assert state_of(unfinished) == ("complete", "")


def test_the_papers_tables_come_first(tmp_path: Path) -> None:
    for name in ("masking_rate", "table2_input_format", "table1_masking"):
        folder = tmp_path / "tables" / name / "smoke"
        folder.mkdir(parents=True)
        write_table(config(replace(SWEEP, name=name, title=f"[{name}]", tasks=[]), tmp_path), [], folder)
    text = Page(write_landing(tmp_path).read_text()).text
    places = [text.index(f"[{name}]") for name in ("table1_masking", "table2_input_format", "masking_rate")]
    assert places == sorted(places) and groups()["sweep"][0] == "table1_masking"


def test_looking_at_a_run_does_not_touch_its_lock(unfinished: Path) -> None:
    before = sorted(path.name for path in unfinished.iterdir())
    write_landing(unfinished.parents[1])
    assert sorted(path.name for path in unfinished.iterdir()) == sorted([*before, "index.html"]), "its page alone"


def test_the_command_beside_a_run_addresses_it_without_its_sweep(unfinished: Path) -> None:
    overrides = ["masking=dynamic", "seed=1", "sweep=t", "sweep.row=dynamic", "hydra.job.name=x", "task.path=a b"]
    (unfinished / "overrides.yaml").write_text(json.dumps(overrides))
    text = Page(write_landing(unfinished.parents[1]).read_text()).text
    command = next(line for line in text.splitlines() if "roberta-lab pretrain masking" in line)
    start = command.index("roberta-lab")
    assert shlex.split(command[start:])[:5] == ["roberta-lab", "pretrain", "masking=dynamic", "seed=1", "task.path=a b"]
    assert "sweep" not in command and command.endswith(f" paths.outputs={unfinished.parents[1]}")


def test_a_run_is_gone_on_with_where_it_lies_now(unfinished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (unfinished / "overrides.yaml").write_text('["paths.outputs=before", "seed=2"]')
    home = unfinished.parents[1]
    assert known(unfinished).resume == f"roberta-lab pretrain seed=2 paths.outputs={home}"
    home.rename(home.with_name("outputs"))
    monkeypatch.chdir(home.parent)
    assert known(Path("outputs", "pretrain", unfinished.name)).resume == "roberta-lab pretrain seed=2"


def test_what_cannot_be_read_is_still_listed(tmp_path: Path) -> None:
    folder = tmp_path / "finetune" / "abc"
    folder.mkdir(parents=True)
    for name in ("config.yaml", "overrides.yaml", "owner.json"):
        (folder / name).write_text("{: [")
    bad = tmp_path / "tables" / "t" / "smoke"
    bad.mkdir(parents=True)
    (bad / "table.json").write_text("{}")
    (tmp_path / "pretrain").mkdir()
    (tmp_path / "pretrain" / "a file").write_text("")
    text = Page(write_landing(tmp_path).read_text()).text
    assert "0 tables; 1 runs: 0 complete, 0 in progress, 1 interrupted" in text and "no step logged" in text


def test_no_two_runs_are_called_the_same(tmp_path: Path) -> None:
    """By what was typed where that differs, else by their ids: one of two may be of older code."""
    for folder in ("a", "b"):
        write_run(tmp_path, pretrained("static", 5.0), folder=folder)
    write_run(tmp_path, pretrained("static", 5.0), folder="c")
    (tmp_path / "pretrain" / "c" / "overrides.yaml").write_text("[masking=static, batch_size.steps=30]")
    names = {run.run_id: run.name for run in all_known(tmp_path)}
    label = "static seed 1"
    assert names == {"a": f"{label}, a", "b": f"{label}, b", "c": f"{label}, steps=30"}


def test_nothing_yet(tmp_path: Path) -> None:
    assert "roberta-lab reproduce sweep=table1_masking" in Page(write_landing(tmp_path).read_text()).text


def test_tables_and_their_runs(tmp_path: Path) -> None:
    found = [write_run(tmp_path, pretrained(row, ppl)) for row, ppl in (("static", 5.0), ("dynamic", None))]
    for scale in ("smoke", "mini"):
        folder = tmp_path / "tables" / "t" / scale
        folder.mkdir(parents=True)
        sweep = replace(SWEEP, tasks=[], title=HOSTILE)
        write_table(
            config(sweep, tmp_path, scale),
            found,
            folder,
            typed("reproduce", ["sweep=table1_masking", f"scale={scale}"]),
        )
    shown = Page(write_landing(tmp_path).read_text())
    assert "2 tables; 2 runs: 1 complete, 0 in progress, 1 interrupted" in shown.text
    assert shown.text.count("1 of 2 runs missing") == 2 and HOSTILE in shown.text and shown.tags.count("script") == 1
    assert "roberta-lab reproduce sweep=table1_masking scale=mini" in shown.text
    assert shown.tags.count("figure") == 2 and "table1_masking mini" in shown.text
    links = [value for key, value in shown.attributes if key == "href" and value and not value.startswith("#")]
    assert "tables/t/mini/index.html" in links and not [link for link in links if not (tmp_path / link).exists()]


def test_runs_come_first_as_small_multiples_on_the_axes_of_their_table(tmp_path: Path) -> None:
    found = [
        write_run(tmp_path, pretrained(row, ppl)) for row, ppl in (("static", 5.0), ("dynamic", 6.0), ("other", 7.0))
    ]
    rows = [{"step": k, "tokens_seen": 500 * k, "val/ppl": 9000.0 / k} for k in (2, 10)]  # longer curve, lower ones
    (tmp_path / "pretrain" / found[1].run_id / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    folder = tmp_path / "tables" / "t" / "smoke"
    folder.mkdir(parents=True)
    write_table(config(replace(SWEEP, tasks=[]), tmp_path), found[:2], folder)
    html = write_landing(tmp_path).read_text()
    shown = Page(html)
    assert shown.text.index("Runs") < shown.text.index("In no table") < shown.text.index("Table 1, smoke scale") < shown.text.index("Which?")  # fmt: skip
    assert "held-out perplexity, from 90 to 4,500, over 10K tokens; the same axes for all" in shown.text
    assert "held-out perplexity, from 90 to 450, over 10K tokens" in shown.text, "runs in no table have their own"
    paths = re.findall(r'class="spark".*?<path d="M([-\d.]+) ([-\d.]+)[^"]*L([-\d.]+) ([-\d.]+)"', html)
    other, dynamic, static = [[float(number) for number in path] for path in paths]
    assert dynamic[1] < static[1] and other[1] < static[1], "the highest value of its group is at the top"
    assert dynamic[2] < static[2] and static[3] > dynamic[3], "fewer tokens end earlier, lower values lower"
    assert {f"pretrain/{record.run_id}/index.html" for record in found} <= {value for _, value in shown.attributes}
