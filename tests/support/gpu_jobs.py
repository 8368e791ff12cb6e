"""Jobs that take the place of runs in processes of the launcher: what they saw of GPUs, and when they ran."""

import os
import time
from pathlib import Path
from typing import Any

from hydra.core.utils import JobStatus


class OutOfMemoryError(RuntimeError):
    """As torch's, by its name."""


def job(context: object, config: Any, task: object, words: list[str], number: int) -> tuple[JobStatus, Any, None]:
    """Return the devices that are seen, the process, begin and end; with `full` in the words fail of memory the first time."""
    begin, mark = time.monotonic(), Path(config) / f"{number}.full"
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if "full" in words and not mark.exists():
        mark.write_text("")
        return JobStatus.FAILED, OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB."), None
    if "killed" in words and not mark.exists():
        mark.write_text("")
        os.kill(os.getpid(), 9)
    time.sleep(0.15)
    return JobStatus.COMPLETED, (seen, os.getpid(), begin, time.monotonic()), None
