"""One thread a process, for small models on shared cores train several times faster so; and which tests run side by side."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is there; the processes that tests start have it too

import composed_once
import own_signals
import pytest
import torch
from hydra._internal.core_plugins.basic_launcher import BasicLauncher

from roberta_lab.runs import composition
from roberta_lab.runs.process_launcher import ProcessLauncher
from roberta_lab.runs.registration import register

torch.set_num_threads(1)
own_signals.as_in_a_shell()

LONGEST = (  # about a minute each, then half a minute
    *("test_ranks.py", "test_reproduce.py", "test_end_to_end.py", "test_sweeps.py"),
    *("test_sweeper.py", "test_cli.py", "test_table_command.py", "test_outside_config.py", "test_composition.py"),
)


@pytest.fixture(scope="session", autouse=True)
def composing_once() -> Iterator[None]:
    """Each tree of a config composed once for all tests of a process."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        composed_once.patch(monkeypatch)
        yield


@pytest.fixture(scope="session", autouse=True)
def one_job_at_a_time_in_this_process() -> Iterator[None]:
    """With `trainer.jobs=1` jobs run where tests can patch what they do, and without the seconds that a process takes to start."""
    launch = ProcessLauncher.launch

    def launched(self: ProcessLauncher, jobs: Any, initial_job_idx: int) -> Any:
        if self.most > 1:
            return launch(self, jobs, initial_job_idx)
        basic = BasicLauncher()
        basic.setup(hydra_context=self.context, task_function=self.task, config=self.config)
        return basic.launch(jobs, initial_job_idx)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(ProcessLauncher, "launch", launched)
        yield


@pytest.fixture
def soon() -> Iterator[None]:
    """A test that ends within a minute: who waits for a pipe would wait for ever."""
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it hangs"))
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def a_folder_of_its_own(tmp_path: Path) -> Iterator[None]:
    """Each test starts in an empty folder, whatever tests before it left behind. Fixtures of a file may go elsewhere."""
    with pytest.MonkeyPatch.context() as own:  # a test may undo its `monkeypatch`
        own.chdir(tmp_path)
        yield


@pytest.fixture(scope="module")
def composing() -> Iterator[None]:
    """Hydra ready to compose in all tests of a file: `pytestmark = pytest.mark.usefixtures("composing")`."""
    register()
    with composition.composing():
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that at the end no core waits for one of them."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `-n`, the tests of a file stay on one core: what they share (configs, a small run) is made once."""
    if config.option.dist != "load":  # someone chose another with `--dist`
        return None
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False  # else files with many tests go first, however short
    return LoadFileScheduling(config, log)
