"""Runs that several tests of reports read."""

from pathlib import Path

import pytest
from diff_runs import OVERRIDES, write_runs, write_sweep

from roberta_lab.runs import composition, registration
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.outside import open_places


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Job]]:
    """Two complete rows of two seeds and two finetuning seeds; a third row of which nothing is there."""
    home = tmp_path_factory.mktemp("lab")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        write_sweep(home)
        registration.register()
        open_places(OVERRIDES)
        with composition.composing():
            found = write_runs()
        return home, [job for job in found if job.path.is_dir()]
