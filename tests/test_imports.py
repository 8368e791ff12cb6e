"""Imports point down only: a module imports from its own floor or from lower ones; heavy packages wait for work."""

import ast
import subprocess
import sys
from pathlib import Path

import roberta_lab

PACKAGE = Path(roberta_lab.__file__).parent
FLOORS = (
    "circumstance config rng command_line",
    "examples input_format masking batching shares statistics batch_statistics",
    "attention model objective flops hardware optimizer",
    "tokenizer tokenizer_files word_encoder token_store data_mix composition overrides costs corpus",
    "run attempts checkpoint huggingface huggingface_names ranks loop wandb_mirror tracking tasks heads fingerprints",
    "starting_points",
    "datamodule micro_batch step_end pretraining evaluation finetuning huggingface_tasks predicting prediction_files task_predicting",
    "sweeper plans reports sweep_runs estimates overview wandb_tables",
    "registration launching",
    "commands cli __main__ __init__",
)


def room(path: Path) -> str:
    """The module or folder of a file: `corpus/pydoc.py` -> corpus."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The rooms that a file imports from, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "roberta_lab":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("roberta_lab."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("roberta_lab.")}
    return found


def test_every_room_has_a_floor_and_imports_point_down() -> None:
    floor_of = {name: number for number, floor in enumerate(FLOORS) for name in floor.split()}
    for path in PACKAGE.rglob("*.py"):
        for other in imported(path):
            assert floor_of[other] <= floor_of[room(path)], f"{path.name} imports {other} from a higher floor"


def test_commands_do_not_import_each_other() -> None:
    for path in (PACKAGE / "commands").glob("*.py"):
        assert "commands" not in imported(path), path


def test_help_and_composition_need_neither_torch_nor_lightning() -> None:
    code = (
        "import sys; from roberta_lab import cli\n"
        "assert cli.main(['pretrain', '--help']) == 0\n"
        "import roberta_lab.registration, roberta_lab.commands.pretrain, roberta_lab.commands.prepare\n"
        "import roberta_lab.commands.predict\n"
        "assert not {'torch', 'lightning', 'wandb', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
