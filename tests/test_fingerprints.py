"""What a finetuning run is made of is its identity; where that lies is not."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from test_composition import config

from roberta_lab import fingerprints, run
from roberta_lab.composition import CONF
from roberta_lab.config import ConfigError, TaskConfig
from roberta_lab.registration import register


@pytest.fixture(scope="module", autouse=True)
def hydra() -> Iterator[None]:
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def identity(*overrides: str) -> str:
    return run.identity(run.finetune_science(config("logger.wandb=off", *overrides)))


@pytest.fixture
def glue(tmp_path: Path) -> Path:
    for name, text in (
        ("SST-2/train.tsv", "sentence\tlabel\nfine\t1\n"),
        ("SST-2/dev.tsv", "x"),
        ("RTE/train.tsv", "y"),
    ):
        (tmp_path / "glue" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "glue" / name).write_text(text)
    return tmp_path / "glue"


def sst2(path: Path) -> str:
    return fingerprints.of_task(TaskConfig("sst2", "glue", "classification", path=str(path)))


def test_a_task_is_its_files_wherever_they_lie(glue: Path, tmp_path: Path) -> None:
    before = sst2(glue)
    shutil.copytree(glue / "SST-2", tmp_path / "elsewhere")
    assert sst2(tmp_path / "elsewhere") == before, "of GLUE's folder, the task's own"
    (glue / "RTE" / "train.tsv").write_text("other")
    (glue / "SST-2" / ".hidden").write_text("other")
    assert sst2(glue) == before
    (glue / "SST-2" / "dev.tsv").write_text("z")
    os.utime(glue / "SST-2" / "dev.tsv", ns=(1, 1))
    assert sst2(glue) != before
    assert fingerprints.of_task(TaskConfig("pydoc_pair", "pydoc", "classification")) == ""
    with pytest.raises(ConfigError, match=r"task\.path=.*there is no such folder"):
        sst2(tmp_path / "nowhere")


def test_what_changes_the_result_is_in_the_id_and_nothing_else(glue: Path, tmp_path: Path) -> None:
    shutil.copytree(glue, tmp_path / "copy")
    first = identity(f"task.path={glue}")
    assert (
        first == identity(f"task.path={tmp_path / 'copy'}") == identity(f"task.path={glue}", "finetune.save_model=true")
    )
    others = ("finetune.seed=2", "finetune.patience=1", "finetune.init_from=pydoc_pair", "task.max_length=48", "pretrained=none", "masking=static")  # fmt: skip
    assert len({first, *(identity(f"task.path={glue}", other) for other in others)}) == 1 + len(others)


def test_of_random_weights_the_pretraining_does_not_count_and_of_a_folder_its_content(tmp_path: Path) -> None:
    random = [identity("pretrained=none", *o) for o in ([], ["masking=static", "seed=3", "batch_size.steps=7"])]
    assert random[0] == random[1] != identity("pretrained=none", "model.layers=1")
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
        for name in ("config.json", "model.safetensors", "vocab.json", "merges.txt"):
            (folder / name).write_text(name)
    ids = [identity(f"pretrained.path={folder}") for folder in folders]
    assert ids[0] == ids[1] == identity(f"pretrained.path={folders[0]}", "model.layers=1", "masking=static")
    for name in ("model.safetensors", "merges.txt", "config.json"):
        (folders[0] / name).write_text("other")
        os.utime(folders[0] / name, ns=(2, 2))
        ids.append(identity(f"pretrained.path={folders[0]}"))
    assert len(set(ids[1:])) == 4
    (folders[1] / "merges.txt").unlink()
    with pytest.raises(ConfigError, match=r"^pretrained\.path=.*holds no published vocabulary"):
        identity(f"pretrained.path={folders[1]}")
    with pytest.raises(ConfigError, match=r"pretrained\.path=nowhere: allowed is a folder with config"):
        identity("pretrained.path=nowhere")
