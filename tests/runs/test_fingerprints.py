"""What a finetuning run is made of is its identity; where that lies is not."""

import os
import shutil
from pathlib import Path

import pytest
from composed_jobs import config

from roberta_lab.config import ConfigError, TaskConfig
from roberta_lab.data import storage
from roberta_lab.runs import fingerprints, identity
from roberta_lab.runs.compose import encoder_config

pytestmark = pytest.mark.usefixtures("composing")


def finetune_id(*overrides: str) -> str:
    return storage.digest(identity.finetune_science(config("logger.wandb=off", *overrides)))


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
    return fingerprints.hash_task_files(TaskConfig("sst2", "glue", "classification", path=str(path)))


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
    assert fingerprints.hash_task_files(TaskConfig("pydoc_pair", "pydoc", "classification")) == ""
    with pytest.raises(ConfigError, match=r"task\.path=.*there is no such folder"):
        sst2(tmp_path / "nowhere")


def of(name: str, family: str, path: Path, **files: str) -> str:
    return fingerprints.hash_task_files(TaskConfig(name, family, "classification", path=str(path), files=files))


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_files_outside_the_folder_count_by_their_content_and_not_by_their_names(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", put(tmp_path / "far" / "a.csv", "text,label\nfine,1\n")
    put(mine / "dev.csv", "d")
    ids = [of("text_classification", "text_classification", mine, train=name) for name in (str(other), "../far/a.csv")]
    put(mine / "train.csv", other.read_text())
    put(mine / "notes.txt", "read by nobody")
    put(mine / "text_classification" / "train.csv", "read by nobody")
    ids.append(of("text_classification", "text_classification", mine))
    assert len(set(ids)) == 1
    renamed = [f"task.path={mine}", "task=text_classification", f"task.files.train={other}"]
    assert finetune_id(*renamed) == finetune_id(*renamed[:2])
    put(other, "text,label\nbad,1,1\n")
    assert of("text_classification", "text_classification", mine, train=str(other)) != ids[0]
    put(mine / "train.csv", "text,label\nbad,1,1\n").rename(mine / "train.tsv")
    other_ending = of("text_classification", "text_classification", mine)
    assert other_ending != of("text_classification", "text_classification", mine, train=str(other)), "read otherwise"


def test_the_folder_is_the_readers_own(tmp_path: Path) -> None:
    for name in ("wnut17train.conll", "emerging.dev.conll"):
        put(tmp_path / "wnut17" / name, "a O\n")
    before = of("wnut17", "ner", tmp_path)
    put(tmp_path / "ner" / "wnut17train.conll", "x")
    assert of("wnut17", "ner", tmp_path) == before == of("wnut17", "ner", tmp_path / "wnut17") != "incomplete"
    put(tmp_path / "wnut17" / "wnut17train.conll", "b O b\n")
    assert of("wnut17", "ner", tmp_path) != before
    for name in ("train.tsv", "dev.tsv"):
        put(tmp_path / "SST" / name, name)
    before = of("sst2", "glue", tmp_path / "SST")
    put(tmp_path / "SST" / "glue" / "train.tsv", "x")
    assert of("sst2", "glue", tmp_path / "SST") == before
    put(tmp_path / "SST" / "train.tsv", "other")
    assert of("sst2", "glue", tmp_path / "SST") != before


def test_race_is_its_passages_also_behind_links(tmp_path: Path) -> None:
    for split in ("train", "dev"):
        put(tmp_path / "far" / split / "high" / "1.txt", split)
    (tmp_path / "RACE").mkdir()
    for split in ("train", "dev"):
        (tmp_path / "RACE" / split).symlink_to(tmp_path / "far" / split)
    before = of("race", "race", tmp_path)
    assert before == of("race", "race", tmp_path / "far")
    put(tmp_path / "far" / "train" / "high" / "notes.md", "read by nobody")
    assert of("race", "race", tmp_path) == before
    put(tmp_path / "far" / "train" / "high" / "2.txt", "x")
    more = of("race", "race", tmp_path)
    (tmp_path / "far" / "train" / "high" / "2.txt").rename(tmp_path / "far" / "train" / "high" / "3.txt")
    assert len({before, more, of("race", "race", tmp_path)}) == 3


def test_mrpcs_list_of_dev_ids_counts(tmp_path: Path) -> None:
    for name in ("msr_paraphrase_train.txt", "dev_ids.tsv"):
        put(tmp_path / name, name)
    before = of("mrpc", "glue", tmp_path)
    put(tmp_path / "dev_ids.tsv", "1\t2")
    assert "incomplete" != before != of("mrpc", "glue", tmp_path) != "incomplete"


def test_a_task_without_its_files_has_an_id_so_that_other_tasks_of_a_sweep_go_on(tmp_path: Path) -> None:
    assert of("sst2", "glue", tmp_path) == "incomplete"
    assert of("pydoc_pair", "pydoc", tmp_path) == ""


def test_the_run_of_init_from_is_in_the_id_with_its_files(tmp_path: Path) -> None:
    for name in ("RTE/train.tsv", "RTE/dev.tsv", "MNLI/train.tsv", "MNLI/dev_matched.tsv"):
        put(tmp_path / name, name)
    rte = ["task=rte", "finetune.init_from=mnli"]
    folders = [f"task.path={tmp_path / name}" for name in ("", "RTE")]
    plain, before = finetune_id("task=rte", folders[0]), finetune_id(*rte, folders[0])
    assert plain != before == finetune_id(*rte, folders[1]), "MNLI lies beside the task's own folder"
    put(tmp_path / "MNLI" / "train.tsv", "other text")
    assert finetune_id("task=rte", folders[0]) == plain and finetune_id(*rte, folders[0]) != before
    made = encoder_config(config(*rte, "task.hub.revision=abc", "task.max_length=9", "finetune.epochs=7"))
    asked = config("task=mnli", "task.hub.revision=abc", "finetune.epochs=7", "finetune.save_model=true")
    assert made == asked
    with pytest.raises(ConfigError, match=r"^finetune\.init_from=mnil: no such task\. Allowed: cola, "):
        finetune_id("finetune.init_from=mnil")


def test_what_changes_the_result_is_in_the_id_and_nothing_else(glue: Path, tmp_path: Path) -> None:
    shutil.copytree(glue, tmp_path / "copy")
    first = finetune_id(f"task.path={glue}")
    assert (
        first
        == finetune_id(f"task.path={tmp_path / 'copy'}")
        == finetune_id(f"task.path={glue}", "finetune.save_model=true")
    )
    others = ("finetune.seed=2", "finetune.patience=1", "finetune.init_from=pydoc_pair", "task.max_length=48", "pretrained=none", "masking=static")  # fmt: skip
    assert len({first, *(finetune_id(f"task.path={glue}", other) for other in others)}) == 1 + len(others)


def test_a_stride_counts_where_it_moves_windows() -> None:
    """At smoke inputs have 64 tokens, so the usual stride is 16; how long those of a folder's model are is not known."""
    span = finetune_id("task=pydoc_span")
    assert span == finetune_id("task=pydoc_span", "task.stride=16") != finetune_id("task=pydoc_span", "task.stride=8")
    assert finetune_id("task=pydoc_topic") == finetune_id("task=pydoc_topic", "task.stride=8")
    with pytest.raises(ConfigError, match=r"^task\.stride=0: allowed is 1 or more"):
        finetune_id("task=pydoc_span", "task.stride=0")


def test_of_random_weights_the_pretraining_does_not_count_and_of_a_folder_its_content(tmp_path: Path) -> None:
    random = [finetune_id("pretrained=none", *o) for o in ([], ["masking=static", "seed=3", "batch_size.steps=70"])]
    assert random[0] == random[1] != finetune_id("pretrained=none", "model.layers=1")
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
        for name in ("config.json", "model.safetensors", "vocab.json", "merges.txt"):
            (folder / name).write_text(name)
    ids = [finetune_id(f"pretrained.path={folder}") for folder in folders]
    assert ids[0] == ids[1] == finetune_id(f"pretrained.path={folders[0]}", "model.layers=1", "masking=static")
    for name in ("model.safetensors", "merges.txt", "config.json"):
        (folders[0] / name).write_text("other")
        os.utime(folders[0] / name, ns=(2, 2))
        ids.append(finetune_id(f"pretrained.path={folders[0]}"))
    assert len(set(ids[1:])) == 4
    (folders[1] / "merges.txt").unlink()
    with pytest.raises(ConfigError, match=r"^pretrained\.path=.*holds no published vocabulary"):
        finetune_id(f"pretrained.path={folders[1]}")
    with pytest.raises(ConfigError, match=r"pretrained\.path=nowhere: allowed is a folder with config"):
        finetune_id("pretrained.path=nowhere")
