"""Two runs one after the other, whose W&B process is killed, or stopped, in the middle: `kill_wandb.py OUTPUTS SIGNAL...`.

A process of its own, for W&B's threads in it die of that.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from roberta_lab.config import Config, LoggerConfig, PathsConfig, ScaleConfig
from roberta_lab.runs.tracking import Tracker
from roberta_lab.runs.wandb import mirror, service
from roberta_lab.training.rows import Row

ROWS = [Row(step, {"tokens_seen": step, "train/mlm_loss": 1.0}) for step in range(1, 3001)]


def children(name: str) -> list[int]:
    """The processes of this name that this one started, and that run."""
    command = ["ps", "-ww", "--ppid", str(os.getpid()), "-o", "pid=,stat=,args="]  # without -ww, lines end at COLUMNS
    asked = subprocess.run(command, capture_output=True, text=True)
    lines = [line.split(None, 2) for line in asked.stdout.splitlines() if name in line]
    return [int(pid) for pid, stat, _ in lines if stat[0] not in "ZT"]


def main(outputs: Path, signals: list[signal.Signals]) -> None:
    mirror.CALL_SECONDS, service.GRACE_SECONDS = 0.5, 0.2
    for number in signals:
        directory = outputs / "pretrain" / number.name
        directory.mkdir(parents=True)
        config = Config(logger=LoggerConfig("offline"), paths=PathsConfig(str(outputs)), scale=ScaleConfig("smoke"))
        log = Tracker(config, directory, "pretrain", "a run", {})
        mirror.run_settings = lambda *_: {}  # of a config that has no axes
        mirror.tags = lambda *_, **__: []
        log.resume(0)
        [process] = children("wandb-core")
        os.kill(process, number)
        start = time.monotonic()
        for row in ROWS:
            log.write(row)
        written = time.monotonic() - start
        try:
            log.close()
        finally:
            if number == signal.SIGSTOP:
                os.kill(process, signal.SIGKILL)
        print(number.name, written, time.monotonic() - start)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [signal.Signals[name] for name in sys.argv[2:]])
