"""What every head and every family must have: the general tests of `tasks/heads/` and `tasks/families/`."""

import subprocess
import sys
from pathlib import Path
from typing import ClassVar, get_origin, get_type_hints

import pytest
import torch
from hydra import compose
from omegaconf import OmegaConf
from torch import nn

from roberta_lab.axes.tokenizer import Encoding, train_bytelevel_bpe
from roberta_lab.config import TaskConfig
from roberta_lab.runs.compose import build
from roberta_lab.runs.options import CONF
from roberta_lab.tasks import families, heads, records
from roberta_lab.tasks.costs import finetune_seconds
from roberta_lab.tasks.families import FAMILIES
from roberta_lab.tasks.feature_table import packed
from roberta_lab.tasks.features import PairFormat, generate
from roberta_lab.tasks.heads import HEADS
from roberta_lab.tasks.heads.base import Head

VARIANTS = [variant for entry in HEADS.values() for variant in entry.variants]
TASKS = {path.stem: OmegaConf.load(path) for path in sorted((CONF / "task").glob("*.yaml"))}


@pytest.fixture(scope="module")
def encoding() -> Encoding:
    return Encoding(train_bytelevel_bpe(iter(["text word a b c"] * 5), 265))


def line_of(head: Head) -> str:
    """The head's own example of a line, with texts in place of the names of texts."""
    example = head.shape.partition("}")[0] + "}"
    return example.replace(", ...", "").replace("TEXT", '"a text"').replace("WORD", '"word"')


# ---------------------------------------------------------------- heads
@pytest.mark.parametrize("name", [*HEADS, *VARIANTS])
def test_every_head_has_every_member(name: str) -> None:
    head = heads.load(name)
    assert isinstance(head, Head) and head.name == name
    for member, annotation in get_type_hints(Head).items():
        assert get_origin(annotation) is ClassVar and hasattr(head, member), member
    assert head.roberta_tensors.keys() <= head.tensors.keys()
    assert name in VARIANTS or HEADS[name].metrics
    assert set(HEADS.get(name, HEADS["span"]).two_class_metrics) <= set(HEADS.get(name, HEADS["span"]).metrics)


@pytest.mark.parametrize("name", HEADS)
def test_every_head_goes_from_its_own_example_to_a_loss_and_a_prediction(name: str, encoding: Encoding) -> None:
    """An item without a label has an input, outputs, a prediction, and that prediction has words."""
    head, pairs = heads.load(name), PairFormat(32, False)
    item = records.item(name, line_of(head), 1)
    assert set(head.fields) <= vars(item).keys() and item.id == "1" and head.width(item) >= 1
    table = packed(generate(name, [item], encoding, pairs))
    rows = torch.arange(len(table)).numpy()
    batch = {key: torch.from_numpy(array) for key, array in table.batch(rows, encoding.pad_id).items()}
    layers = nn.ModuleDict(head.layers(8, 3, 0.0))
    assert all(f"{ours}.weight" in layers.state_dict() for ours in head.tensors)
    outputs = head.outputs(layers, torch.randn(*batch["input_ids"].shape, 8), batch)
    task = TaskConfig("t", "test", name, 3, HEADS[name].metrics[0])
    with torch.no_grad():
        [prediction] = head.decode(task, [item], table, iter([(rows, batch, outputs)]))
    assert prediction["id"] == item.id
    assert "prediction" in head.named(item, prediction, ("x", "y", "z")) and head.limit(pairs)


def test_the_registries_are_read_without_torch() -> None:
    code = (
        "import sys; from roberta_lab.tasks import families, heads\n"
        "assert 'roberta_lab.tasks.heads.base' not in sys.modules\n"
        "assert all(map(families.get, families.FAMILIES))\n"
        "assert not {'torch', 'lightning'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- families
def test_a_file_is_a_head_or_a_family_and_each_has_its_line() -> None:
    for package, names in ((heads, {entry.module for entry in HEADS.values()}), (families, set(FAMILIES))):
        files = {path.stem for path in Path(str(package.__file__)).parent.glob("*.py")}
        assert names <= files - {"__init__", "base"}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_facts_of_a_family_are_those_of_its_tasks(name: str) -> None:
    family, own = families.get(name), {task: s for task, s in TASKS.items() if s.family == name}
    assert own, "a YAML for each task"
    assert family.train_items.keys() <= own.keys() and family.metrics.keys() <= own.keys()
    for task, settings in own.items():
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(TaskConfig), settings))
        assert isinstance(config, TaskConfig) and config.name == task
        families.check(config)
        assert (config.hub is not None) == (family.load_from_hub is not None)
        assert set(family.metrics.get(task, ())) <= set(HEADS[config.head].metrics)
        text = (CONF / "task" / f"{task}.yaml").read_text()
        if task in family.train_items:
            assert f"{family.train_items[task]:,} " in text, "the comment says how many train items there are"
        if family.submission and family.submission.splits:
            assert family.submission.splits(config)


# ---------------------------------------------------------------- costs
@pytest.mark.usefixtures("composing")
def test_finetuning_by_hand() -> None:
    """MNLI with base: 393K inputs of 128 tokens, 10 epochs."""

    def seconds(*overrides: str) -> float | None:
        return finetune_seconds(build(compose("config", [*overrides, "paths.outputs=nowhere"])))

    layer = 2 * 128 * (4 * 768**2 + 2 * 128 * 768 + 2 * 768 * 3072)
    expected = 392_702 * 10 * 3 * 12 * layer / 10e12
    assert seconds("scale=paper", "model=base", "task=mnli") == pytest.approx(expected)
    assert seconds("task=text_classification") is None
