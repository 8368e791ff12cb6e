"""The one command that proves a GPU runs on a CPU too, and a section that fails or hangs does not stop the rest."""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SECTIONS = """
import time
from gpu import Line, Section
def good(quick): yield Line("first", "1", True)
def fails(quick): yield Line("second", "2", None); raise ValueError("no such kernel")
def hangs(quick): yield Line("third", "3", None); time.sleep(60)
def dies(quick): import os; yield Line("fourth", "4", None); os._exit(3)
SECTIONS = [Section("good", good, 20), Section("fails", fails, 20), Section("hangs", hangs, 1), Section("dies", dies, 20)]
"""
SPEED = """
from gpu import Line, Section
def last(quick): yield Line("last", "5", True)
SECTIONS = [Section("last", last, 20)]
def device_name(): return "a device"
"""


def run(folder: Path, *arguments: str) -> tuple[str, int]:
    command = [sys.executable, str(folder / "gpu.py"), "--quick", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    return done.stdout, done.returncode


def test_a_section_that_fails_hangs_or_dies_does_not_stop_the_rest(tmp_path: Path) -> None:
    for name, text in (("gpu_checks", SECTIONS), ("gpu_speed", SPEED)):
        (tmp_path / f"{name}.py").write_text(text)
    for name in ("gpu", "side_by_side"):
        (tmp_path / f"{name}.py").write_text((BENCHMARKS / f"{name}.py").read_text())
    out, code = run(tmp_path, "--write", str(tmp_path / "found.md"))
    assert code == 1
    for row in (
        "| first | 1 | yes |",
        "| second | 2 |  |",
        "| fails: not whole | ValueError: no such kernel | **no** |",
        "| third | 3 |  |",
        "| hangs: not whole | not done after 1 s | **no** |",
        "| dies: not whole | died | **no** |",
        "| last | 5 | yes |",
    ):
        assert row in out.splitlines() and row in (tmp_path / "found.md").read_text().splitlines()


def test_its_checks_hold_on_a_cpu() -> None:
    names = ["kernels", "output layer", "fixed shapes", "keyed dropout", "bits"]
    out, code = run(BENCHMARKS, "--only", *names)
    assert code == 0, out
    for name in names:
        assert f"*{name}*" in out
    assert out.count("| yes |") >= 14 and "**no**" not in out
