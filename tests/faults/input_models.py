"""Hostile models, tokenizers and tasks, and what must not be shown: injections as those of `inputs`."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

from faults.outcomes import Outcome, chosen, model_reader, outcome, task_reader, tokenizer_reader

from roberta_lab.config.formatting import csv_cell, visible
from roberta_lab.config.secrets import masked


# ---------------------------------------------------------------- tokenizers and weights
def tokenizers(tries: int, folder: Path, seed: int) -> list[Outcome]:
    """Give vocabularies with ids for gigabytes, doubled ids, too many tokens and expressions that never end."""
    base = {"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}}
    base["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    split = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    files: dict[str, dict[str, object]] = {
        "id of 2**28": {
            "tokenizer.json": base | {"model": {"type": "BPE", "vocab": {"a": 0, "b": 2**28}, "merges": []}}
        },
        "negative id": {"vocab.json": {"a": -1}, "merges.txt": "#version\n"},
        "doubled id": {"vocab.json": {"a": 1, "b": 1}, "merges.txt": "#version\n"},
        "id of 10**30": {"vocab.json": {"a": 10**30}, "merges.txt": "#version\n"},
        "id is text": {"vocab.json": {"a": "x"}, "merges.txt": "#version\n"},
        "100,000 added": {
            "tokenizer.json": base | {"added_tokens": [{"id": i, "content": f"t{i}"} for i in range(100_000)]}
        },
        "added 2**28": {"vocab.txt": "[UNK]\na\n", "added_tokens.json": {"x": 2**28}},
        "slow regex": {
            "tokenizer.json": base
            | {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, base["pre_tokenizer"]]}}
        },
        "deep": {"tokenizer.json": "[" * 100_000},
        "no object": {"tokenizer.json": [1]},
        "no vocabulary": {"tokenizer.json": {"model": {"type": "BPE"}}},
    }

    def inject(name: str) -> Callable[[], Outcome]:
        def write() -> Outcome:
            own = folder / name.replace(" ", "_").replace("*", "x")
            own.mkdir(exist_ok=True)
            for file, content in files[name].items():
                (own / file).write_text(content if isinstance(content, str) else json.dumps(content))
            return outcome(name, tokenizer_reader(own))

        return write

    return chosen({name: inject(name) for name in files}, tries, seed)


def weights(tries: int, folder: Path, seed: int) -> list[Outcome]:
    """Give model folders with pickles, code, and headers that lie."""
    sizes = {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8}
    config = {"model_type": "roberta", **sizes, "auto_map": {"AutoModel": "evil.Model"}}
    name = "roberta.embeddings.word_embeddings.weight"

    def header(content: object, length: int | None = None, data: bytes = b"") -> bytes:
        text = json.dumps(content).encode() if not isinstance(content, bytes) else content
        return struct.pack("<Q", len(text) if length is None else length) + text + data

    tensor = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    tensors = {
        "huge header": header({}, 2**62),
        "overlapping": header({name: tensor, "b": tensor}, data=bytes(8)),
        "negative shape": header({name: tensor | {"shape": [-2]}}, data=bytes(8)),
        "huge shape": header({name: tensor | {"shape": [2**40, 2**40]}}, data=bytes(8)),
        "no JSON": header(b"\x80\x04nonsense"),
        "deep header": header(b'{"a":' * 50_000),
        "short": b"\1\2",
        "empty": b"",
        "pickle as safetensors": b"\x80\x04cos\nsystem\n(S'touch executed'\ntR.",
    }
    configs: dict[str, object] = {
        "layers of 10**12": config | {"num_hidden_layers": 10**12},
        "hidden is text": config | {"hidden_size": "8"},
        "type is a list": config | {"model_type": ["roberta"]},
        "dropout of nan": config | {"hidden_dropout_prob": "x"},
        "deep": "{" * 100_000,
    }

    def inject(what: str) -> Callable[[], Outcome]:
        def write() -> Outcome:
            own = folder / what.replace(" ", "_").replace("*", "x")
            own.mkdir(exist_ok=True)
            content = configs.get(what, config)
            (own / "config.json").write_text(content if isinstance(content, str) else json.dumps(content))
            (own / "evil.py").write_text("open('executed', 'w')")
            if what == "only a pickle":
                (own / "pytorch_model.bin").write_bytes(tensors["pickle as safetensors"])
            else:
                (own / "model.safetensors").write_bytes(tensors.get(what, header({})))
            found = outcome(what, model_reader(own))
            return found._replace(survived=found.survived and not Path("executed").exists())

        return write

    return chosen({what: inject(what) for what in (*tensors, *configs, "only a pickle")}, tries, seed)


# ---------------------------------------------------------------- task files
def task_files(tries: int, folder: Path, seed: int) -> list[Outcome]:
    """Give files of tasks that are deep, wide, of another shape, or full of controls."""
    contents = {
        ("text_classification", "deep", "train.jsonl"): "[" * 100_000,
        ("text_classification", "digits", "train.jsonl"): '{"text": "a", "label": ' + "9" * 5_000 + "}",
        ("text_classification", "wide field", "train.csv"): 'text,label\n"' + "a" * (1 << 25) + '",1\n',
        ("text_classification", "list as label", "train.jsonl"): '{"text": "a", "label": []}',
        ("text_classification", "nul", "train.csv"): "te\0xt,label\n\0,1\n",
        ("text_classification", "control in column", "train.tsv"): "\x1b[2J\tx\na\tb\n",
        ("squad", "deep", "train-v1.1.json"): '{"data":' + "[" * 100_000,
        (
            "squad",
            "id is a list",
            "train-v1.1.json",
        ): '{"data": [{"paragraphs": [{"context": "a", "qas": [{"id": [], "answers": []}]}]}]}',
        (
            "squad",
            "start is text",
            "train-v1.1.json",
        ): '{"data": [{"paragraphs": [{"context": "a", "qas": [{"id": "1", "question": 5, "answers": [{"answer_start": "0", "text": "a"}]}]}]}]}',
        ("ner", "one column", "train.txt"): "a\n\x1b[2J b c\n",
        (
            "race",
            "no texts",
            "train/middle/1.txt",
        ): '{"article": [], "questions": [1], "options": [[1,2,3,4]], "answers": ["A"]}',
    }
    names = {
        "text_classification": ("own", "classification"),
        "squad": ("squad1", "span"),
        "ner": ("ner", "tagging"),
        "race": ("race", "choice"),
    }

    def inject(family: str, what: str, file: str) -> Callable[[], Outcome]:
        def write() -> Outcome:
            own = folder / f"{family}_{what.replace(' ', '_')}"
            for name in (file, file.replace("train", "dev")):
                (own / name).parent.mkdir(parents=True, exist_ok=True)
                (own / name).write_text(contents[family, what, file])
            return outcome(f"{family}: {what}", task_reader(own, family, *names[family]))

        return write

    return chosen({f"{key[0]} {key[1]}": inject(*key) for key in contents}, tries, seed)


# ---------------------------------------------------------------- what is shown and written
def shown(tries: int, folder: Path, seed: int) -> list[Outcome]:
    """Put secrets, commands of terminals and formulas of spreadsheets where they would be shown or written."""
    faults: dict[str, Callable[[], Outcome]] = {}
    for secret in (
        "https://u:SECRET1@h/x",
        "token=SECRET1",
        "hf_SECRET1aaaaaaaaaaaaaaaa",
        "AKIAIOSFODNN7EXAMPLE",
        "Bearer SECRET1SECRET1",
    ):
        faults[secret] = lambda s=secret: _is(f"secret {masked(s)}", masked(f"a {s} b"), ("SECRET1", "IOSFODNN"))  # type: ignore[misc]
    for text in ("\x1b]0;x\x07", "\x9b2J", "a\rb", "\u202eabc", "\x00"):
        faults[repr(text)] = lambda t=text: _is(
            f"control {t!r}", visible(t), tuple(t if len(t) < 2 else t[:1]) if t[0] != "a" else ("\r",)
        )  # type: ignore[misc]
    for cell in ("=cmd|x", "+1+cmd", "-2+3", "@sum", "\t=1", "\r=1", " =1"):
        faults[repr(cell)] = lambda c=cell: Outcome(
            f"cell {c!r}", str(csv_cell(c)).startswith("'"), 0, str(csv_cell(c))
        )  # type: ignore[misc]
    return chosen(faults, tries, seed)


def _is(what: str, found: str, without: tuple[str, ...]) -> Outcome:
    return Outcome(what, not any(part in found for part in without), 0, found)
