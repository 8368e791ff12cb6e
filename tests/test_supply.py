"""What is installed: every pin has hashes, fits pyproject.toml, and is no release that is known to be malicious."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
COMPROMISED = {"lightning": ("2.6.2", "2.6.3"), "pytorch-lightning": ("2.6.2", "2.6.3"), "torchtriton": ("2.0.0",)}
PINS = re.compile(r"^([\w.-]+)==(\S+)((?: \\\n +--hash=sha256:[0-9a-f]{64})*)$", re.MULTILINE)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(name: str) -> dict[str, tuple[str, int]]:
    """Package -> its version and its number of hashes, of all lines that are no comments."""
    text = (ROOT / name).read_text()
    found = {canonicalize_name(pin[1]): (pin[2], pin[3].count("sha256:")) for pin in PINS.finditer(text)}
    assert len(found) == len([line for line in text.splitlines() if line and line[0] not in "# "])
    return found


NOT_LOCKED = ("remote",)  # extras that no test needs: clients of object stores, with some 40 packages behind them


def asked() -> list[Requirement]:
    extras = (extra for name, extra in PROJECT["optional-dependencies"].items() if name not in NOT_LOCKED)
    texts = [*PROJECT["dependencies"], *(one for extra in extras for one in extra)]
    return [found for text in texts if (found := Requirement(text)).name != PROJECT["name"]]


def test_every_pin_but_torch_has_hashes_of_its_files() -> None:
    locked = pins("requirements.lock")
    assert len(locked) > 100 and all(hashes for _, hashes in locked.values()), locked
    assert pins("torch.lock").keys() == {"torch"} and "torch" not in locked


def test_pins_fit_the_ranges_of_the_project() -> None:
    locked = pins("requirements.lock") | pins("torch.lock")
    for requirement in asked():
        version = locked[canonicalize_name(requirement.name)][0]
        assert requirement.specifier.contains(version, prereleases=True), (str(requirement), version)


@pytest.mark.parametrize("package", COMPROMISED)
def test_no_malicious_release_is_locked_or_allowed(package: str) -> None:
    locked = pins("requirements.lock") | pins("torch.lock")
    assert locked.get(package, ("",))[0] not in COMPROMISED[package]
    for requirement in asked():
        if canonicalize_name(requirement.name) == package:
            assert not [bad for bad in COMPROMISED[package] if requirement.specifier.contains(bad)], str(requirement)


def test_the_workflow_may_only_read_and_its_actions_are_pinned() -> None:
    for file in (ROOT / ".github/workflows").glob("*.yml"):
        flow = yaml.safe_load(file.read_text())
        assert flow["permissions"] == {"contents": "read"}, file
        actions = [step["uses"] for job in flow["jobs"].values() for step in job["steps"] if "uses" in step]
        assert actions and all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action) for action in actions), actions
