"""Imports point down only: a package imports from those above it in `ORDER`; heavy libraries wait for work."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import roberta_lab

PACKAGE = Path(roberta_lab.__file__).parent
ORDER = ("config", "axes", "data", "model", "training", "tasks", "runs", "reports", "cli")


def imported(path: Path) -> set[str]:
    """Return the packages of roberta_lab that a file imports from, also inside functions."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "roberta_lab":
            names += [f"roberta_lab.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("roberta_lab.")}


def test_each_package_imports_only_from_those_above_it() -> None:
    for number, name in enumerate(ORDER):
        for path in (PACKAGE / name).rglob("*.py"):
            lower = imported(path) - set(ORDER[: number + 1])
            assert not lower, f"{path.relative_to(PACKAGE)} imports {lower}"


def test_the_top_level_holds_the_nine_packages_alone() -> None:
    there = {path.name for path in PACKAGE.iterdir() if path.name not in ("__pycache__", "conf", "sweeps")}
    assert there == {*ORDER, "__init__.py", "__main__.py", "py.typed"}


def test_every_package_is_in_the_wheel() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())
    listed = set(project["tool"]["setuptools"]["packages"]) - {"roberta_lab.conf", "roberta_lab.sweeps"}
    there = {".".join(p.parent.relative_to(PACKAGE.parent).parts) for p in PACKAGE.rglob("__init__.py")}
    assert listed == there


def test_commands_do_not_import_each_other() -> None:
    for path in (PACKAGE / "cli").glob("*.py"):
        others = re.findall(r"roberta_lab\.cli(?:\.| import )(\w+)", path.read_text())
        assert set(others) <= {"answer", "help", "launched", "main"}, path


def test_help_and_composition_need_neither_torch_nor_lightning() -> None:
    code = (
        "import sys; from roberta_lab.cli import main\n"
        "assert main.main(['pretrain', '--help']) == 0\n"
        "import roberta_lab.runs.registration, roberta_lab.cli.pretrain, roberta_lab.cli.prepare\n"
        "import roberta_lab.cli.predict\n"
        "assert not {'torch', 'lightning', 'wandb', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_importing_the_package_and_asking_for_help_cost_nothing() -> None:
    heavy = "{'torch', 'lightning', 'wandb', 'matplotlib', 'pandas', 'pyarrow', 'hydra', 'omegaconf', 'numpy'}"
    code = (
        "import sys, roberta_lab\n"
        "assert set(roberta_lab.__all__) <= set(dir(roberta_lab)) and not hasattr(roberta_lab, 'nothing')\n"
        f"assert not {heavy} & set(sys.modules), 'import'\n"
        "from roberta_lab.cli import main\n"
        "assert main.main(['--help']) == 0\n"
        f"assert not ({heavy} - {{'omegaconf'}}) & set(sys.modules), 'help'\n"
        "assert callable(roberta_lab.results) and callable(roberta_lab.load_run) and roberta_lab.Run\n"
        "assert not {'torch', 'pandas', 'pyarrow'} & set(sys.modules), 'names'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
