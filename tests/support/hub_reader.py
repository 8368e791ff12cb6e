"""A process of its own that reads from a hub on this machine, since `huggingface_hub` reads HF_ENDPOINT when it is imported."""

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest


def environment(url: str, home: Path) -> dict[str, str]:
    """What the reader finds: this hub, an empty home, no proxy, no token, nothing of the user's."""
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("HF_") and "proxy" not in key.lower()},
        **{"HF_ENDPOINT": url, "HF_HOME": str(home / "hf"), "HOME": str(home), "USE_TORCH": "1"},
        "PYTHONPATH": os.pathsep.join(sys.path),
    }


def impatient() -> None:
    """Sleeps pass at once in the reader. Runs there."""
    import datasets

    datasets.config.STREAMING_READ_MAX_RETRIES = 2
    time.sleep = lambda seconds: None


@contextmanager
def reading_process(url: str, home: Path) -> Iterator[ProcessPoolExecutor]:
    """Yield the process. It works in the folder `home` and knows no other hub than the one at `url`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        for key in set(os.environ) - set(env := environment(url, home)):
            patch.delenv(key)
        for key, value in env.items():
            patch.setenv(key, value)
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), impatient) as process:
            process.submit(os.getcwd).result(60)
            patch.undo()
            yield process
