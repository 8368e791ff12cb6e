"""A few faults of each kind: nothing is lost, and nothing false comes out. `make faults` injects more."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent.parent


def test_a_few_faults_of_each_kind_lose_nothing() -> None:
    path = os.pathsep.join([str(TESTS), str(TESTS / "support"), *filter(None, sys.path)])
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "PYTEST_"))}
    command = [sys.executable, "-m", "faults", "--short"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=variables | {"PYTHONPATH": path})
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 lost" in done.stderr and "| kill -9 of pretraining | 1 | 1 |" in done.stdout
