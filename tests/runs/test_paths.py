"""Paths are taken as they stand: every character, over every key that holds one."""

import dataclasses
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from composed_jobs import config

from roberta_lab.config import Config, ConfigError
from roberta_lab.config.paths import user_path
from roberta_lab.runs import composition, options, outside
from roberta_lab.runs.command_line import typed
from roberta_lab.runs.overrides import PATHS, assign, fields_of, parse, texts, value_text

pytestmark = pytest.mark.usefixtures("composing")
KEYS = [key.replace("sources.*", "sources.own").replace("mix.*", "mix.own").replace("files.*", "files.train") for key in PATHS]  # fmt: skip
NAMES = ["a b", "a=b", "a(b", "a)b", "#a", "a#b", "~a", "a~b", "'a", "a'b", "a'", "'a'b'", "[a]", "a[1", "a]", "a,b", "苹果", "{a}", "a:b", 'a"b', "a\\b", "a\\", "a\\'b", "a$b", "a;b", "7", "1e3", "007", "true", "nan", "a  b ", "-a", "+a", "@a", "a%b", "*", "choice", "a b'c, d[1]=(#~){x}: 苹果"]  # fmt: skip


def value_of(found: Config, key: str) -> str:
    node: object = found
    for part in key.replace("data_mix.own", "data_mix.sources.own").split("."):
        node = node[part] if isinstance(node, dict) else getattr(node, part)
    return str(node)


@pytest.mark.parametrize("name", NAMES)
def test_every_key_takes_every_character(name: str) -> None:
    """The words are read twice, as commands read them that name runs of other commands."""
    for value in (name, f"x/{name}/y"):
        found = parse([f"{key}={value}" for key in KEYS])
        assert texts(parse(texts(found))) == texts(found), "what is quoted is not quoted again"
        assert shlex.split(typed("pretrain", found))[2:] == texts(found)
        assert [override.value() for override in parse(texts(found))] == [value] * len(KEYS)
        assert not any(override.is_sweep_override() for override in found)
        given = parse([f"+{key}={value}" for key in KEYS])
        assert [override.value() for override in given] == [value] * len(KEYS)


@pytest.mark.parametrize("name", ["a b'c, d[1]=(#~){x}: 苹果", "~a", "1e3", "a\\", "a$b", "'a'b'"])
def test_what_is_composed_is_what_was_typed(name: str) -> None:
    endings = {"predict.output": ".jsonl", "predict.figure": ".svg"}
    words = [f"{key}={name}{endings.get(key, '')}" for key in KEYS if "sources" not in key]
    composed = config("data_mix=own", "predict.what=embed", *words)
    for word in words:
        key, _, value = word.partition("=")
        assert value_of(composed, key) == value


def test_texts_of_a_list_are_taken_as_they_stand() -> None:
    assert parse(texts([assign("sweep.only", NAMES)]))[0].value() == NAMES


def test_what_else_a_value_may_be() -> None:
    [null, quoted, several, plain] = parse(
        ["task.path=null", "task.path='a, b'", "pretrained.path=choice(a,b)", "paths.outputs=a/b-c_1.txt"]
    )
    assert null.value() is None and quoted.value() == "a, b" and several.is_sweep_override()
    assert plain.input_line == "paths.outputs=a/b-c_1.txt"  # words of earlier commands stay what they were
    assert [value_text(o) for o in parse(["task.path=", "finetune.lr=1,2"])] == ["", "1,2"]  # other keys are Hydra's


def test_the_table_has_every_key_that_holds_a_path() -> None:
    """A key that is named as paths are belongs into the table, or here, with the reason."""
    no_paths = {"data_mix.sources.*.hub.path", "task.hub.path"}  # OWNER/NAME on the hub
    named = re.compile(r"path|file|files|output|outputs|cache|local|figure|folder|directory")

    def keys(schema: type, before: str = "") -> Iterator[str]:
        for name, kind in fields_of(schema).items():
            if name == "sources":
                yield from keys(options_source(), f"{before}sources.*.")
            elif dataclasses.is_dataclass(kind):
                yield from keys(kind, f"{before}{name}.")
            elif named.fullmatch(name):
                yield f"{before}{name}{'.*' * (name == 'files')}"

    found = set(keys(Config)) - no_paths
    assert found == set(PATHS) - {"data_mix.*.path"}


def options_source() -> type:
    from roberta_lab.config import SourceConfig

    return SourceConfig


@pytest.mark.parametrize("name", ["a b", "a=b", "a(b)", "#a", "~a", "it's", "'a'", "[a]", "a,b", "苹果", 'a"b', "a b'c, d[1]=(#~)"])  # fmt: skip
def test_config_and_sweeps_outside_the_package(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    (folder / "masking").mkdir(parents=True)
    (folder / "masking" / "mine.yaml").write_text("name: dynamic\nmask_prob: 0.25\n")
    (folder / "own.yaml").write_text("rows: {a: [masking=dynamic]}\n")
    (tmp_path / "other").mkdir()
    searched = texts([assign("hydra.searchpath", [f"file://{folder}", f"file://{tmp_path / 'other'}"])])
    forms = [["--config-dir", name], [f"--config-dir={name}"], ["-cd", str(folder)], [f"hydra.searchpath={folder}"], searched]  # fmt: skip
    for form in forms:
        assert outside.open_places([*form, "seed=1"]) == ["seed=1"]
        assert options.outside().folders[0] == folder
    with composition.composing():
        assert config("masking=mine").masking.mask_prob == 0.25
    [noted] = outside.words()
    assert outside.open_places([noted]) == [] and options.outside().folders == (folder, tmp_path / "other")
    for form in (f"{name}/own.yaml", str(folder / "own"), value_text(assign("sweep", str(folder / "own.yaml")))):
        assert outside.open_places([f"sweep={form}"]) == ["sweep=own"], form
        assert options.outside().sweeps == (folder / "own.yaml",)
        shown = shlex.split(typed("pretrain", ["sweep=own"]))[2:]
        assert outside.open_places(shown) == ["sweep=own"] and options.outside().sweeps == (folder / "own.yaml",)
    both = f"sweep=['{tmp_path / 'x'}.yaml',table1_masking]"
    with pytest.raises(ConfigError, match="no such file"):
        outside.open_places([both])
    outside.open_places([])


def test_home_is_all_that_a_tilde_stands_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    found = ["~/x", "~", "~x", "~root/x", "a/~/b", "a~"]
    assert [str(user_path(path)) for path in found] == ["/home/me/x", "/home/me", "~x", "~root/x", "a/~/b", "a~"]
    composed = config("paths.outputs=~/runs")
    assert (composed.paths.outputs, composed.paths.cache) == ("/home/me/runs", os.path.join("/home/me/runs", "cache"))
