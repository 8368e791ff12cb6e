"""Tests on a SLURM of their own: run by `pytest -m slurm`, where Debian's packages are installed."""

from collections.abc import Iterator

import pytest
from real_slurm import PACKAGES, RealSlurm, missing


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip them, with the reason, unless they are asked for."""
    asked = "slurm" in config.option.markexpr
    skip = pytest.mark.skip(reason=f"takes minutes and brings up a SLURM: pytest -m slurm (Debian's {PACKAGES})")
    for item in items:
        if item.get_closest_marker("slurm") is not None and not asked:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealSlurm]:
    """A SLURM of one node, for all tests."""
    if lacking := missing():
        pytest.skip(f"no {', '.join(lacking)}: Debian's {PACKAGES}")
    mine = RealSlurm(tmp_path_factory.mktemp("slurm"))
    try:
        try:
            mine.up()
        except RuntimeError as error:
            pytest.skip(f"SLURM cannot be started here: {error}")
        yield mine
    finally:
        mine.down()
