"""Hostile inputs, each given to the function that reads its kind: it must answer in one line, at once, in bounded memory.

A function injects `tries` faults of its kind in `folder`, chosen by `seed`, and returns a row for each.
"""

import bz2
import contextlib
import gzip
import io
import json
import lzma
import os
import random
import resource
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from roberta_lab.cli.main import main
from roberta_lab.config import ANSWERED, SourceConfig, TaskConfig, TokenizerConfig
from roberta_lab.config.formatting import csv_cell, visible
from roberta_lab.config.secrets import masked
from roberta_lab.data import tokenizer_files
from roberta_lab.data.corpus.sources import kinds
from roberta_lab.data.corpus.sources.files import find
from roberta_lab.model.huggingface import model_folder
from roberta_lab.runs import yaml_file
from roberta_lab.tasks import families

PACKERS: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
with contextlib.suppress(ImportError):
    import zstandard

    PACKERS[".zst"] = zstandard.ZstdCompressor().compress
MOST_SECONDS, MOST_MEMORY = 5.0, 1 << 30  # of one input; megabytes beyond what the process had before
LONG = 2_000  # characters of a message


class Outcome(NamedTuple):
    """What became of one fault."""

    what: str
    survived: bool
    code: int  # with which the command would end
    message: str


class Hung(BaseException):
    """The error of an input that took too long. No code of ours catches it."""


@contextmanager
def watched() -> Iterator[None]:
    """Raise Hung after MOST_SECONDS, and MemoryError where memory grows by more than MOST_MEMORY."""
    import signal

    def late(*_: object) -> None:
        raise Hung(f"no answer within {MOST_SECONDS} s")

    pages = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits, before = resource.getrlimit(resource.RLIMIT_AS), signal.signal(signal.SIGALRM, late)
    resource.setrlimit(resource.RLIMIT_AS, (pages + MOST_MEMORY, limits[1]))
    signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, limits)


def outcome(what: str, read: Callable[[], object], refused: bool = True) -> Outcome:
    """Return what a reader made of an input: a refusal in one line, or, unless it must be `refused`, anything in time."""
    start = time.monotonic()
    try:
        with watched():
            read()
    except ANSWERED as error:
        said = str(error)
        return Outcome(what, "\n" not in said.strip() and len(said) < LONG, 2, said)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return Outcome(what, False, 1, f"{type(error).__name__}: {error}")
    return Outcome(what, not refused, 0, f"read in {time.monotonic() - start:.1f} s")


def chosen(faults: dict[str, Callable[[], Outcome]], tries: int, seed: int) -> list[Outcome]:
    """Return the outcomes of so many of the faults, drawn by the seed; all of them, again and again, if there are fewer."""
    draw, names = random.Random(seed), list[str]()
    while len(names) < tries:
        names += draw.sample(sorted(faults), len(faults))
    return [faults[name]() for name in names[:tries]]


def corpus_reader(path: Path, kind: str = "text") -> Callable[[], object]:
    def read() -> object:
        source = SourceConfig(kind=kind, path=str(path))
        return sum(1 for _ in kinds.documents(source, Counter(), "own", find(source)))

    return read


def task_reader(
    folder: Path, family: str = "text_classification", name: str = "own", head: str = "classification"
) -> Callable[[], object]:
    task = TaskConfig(name=name, family=family, head=head, metric="acc", path=str(folder), num_labels=0)
    return lambda: families.load(task, folder)


def yaml_reader(path: Path) -> Callable[[], object]:
    return lambda: yaml_file.read(path)


def tokenizer_reader(folder: Path, kind: str = "bytelevel_bpe") -> Callable[[], object]:
    return lambda: tokenizer_files.load(TokenizerConfig(kind=kind, path=str(folder)))


def model_reader(folder: Path, heads: bool = True) -> Callable[[], object]:
    return lambda: model_folder.read(folder, heads)


# ---------------------------------------------------------------- no regular files
def special_files(tries: int, folder: Path, seed: int) -> list[Outcome]:
    """Give pipes, devices, sockets, folders and links where a file is read."""
    places = dict[str, Path]()
    for name, make in {"pipe": os.mkfifo, "folder": os.mkdir, "socket": _socket}.items():
        places[name] = folder / f"{name}.txt"
        make(places[name])
    for name, target in {
        "zero": "/dev/zero",
        "proc": "/proc/kmsg",
        "gone": "nowhere",
        "loop": "loop.txt",
        "mem": "/proc/self/mem",
    }.items():
        places[name] = folder / f"{name}.txt"
        places[name].symlink_to(target)
    faults: dict[str, Callable[[], Outcome]] = {}
    for name, place in places.items():
        task, model = folder / f"task_{name}", folder / f"model_{name}"
        for beside, names in {
            task: ("train.csv", "dev.csv"),
            model: ("config.json", "model.safetensors", "vocab.json", "merges.txt"),
        }.items():
            beside.mkdir()
            for file in names:
                (beside / file).symlink_to(place)
        readers = {
            "sweep": yaml_reader(place),
            "task": task_reader(task),
            "weights": model_reader(model),
            "tokenizer": tokenizer_reader(model),
        }
        if name != "folder":  # which a corpus may be
            readers["corpus"] = corpus_reader(place)
        for reader, read in readers.items():
            faults[f"{name} as {reader}"] = lambda what=f"{name} as {reader}", read=read: outcome(what, read)  # type: ignore[misc]
    return chosen(faults, tries, seed)


def _socket(path: Path) -> None:
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as made:
        before = os.getcwd()
        os.chdir(path.parent)  # the path of a socket has a hundred characters at most
        try:
            made.bind(path.name)
        finally:
            os.chdir(before)


# ---------------------------------------------------------------- archives, deep and wide files
def bombs(tries: int, folder: Path, seed: int) -> list[Outcome]:
    """Give files that become a thousand times as large, and records that are too deep, too long or too many."""
    plain = b"a" * (1 << 27)
    faults: dict[str, Callable[[], Outcome]] = {}

    def corpus(name: str, content: bytes, kind: str) -> None:
        def inject() -> Outcome:
            (folder / name).write_bytes(content)
            return outcome(name, corpus_reader(folder / name, kind))

        faults[name] = inject

    def packed(ending: str) -> Callable[[], Outcome]:
        def inject() -> Outcome:
            path = folder / f"bomb.txt{ending}"
            if not path.exists():
                path.write_bytes(PACKERS[ending](plain))
            return outcome(f"bomb{ending}", corpus_reader(path))

        return inject

    faults |= {ending: packed(ending) for ending in PACKERS}
    corpus("deep.jsonl", b"[" * 200_000, "jsonl")
    corpus("deep_text.jsonl", b'{"text":' * 100_000 + b"1" + b"}" * 100_000, "jsonl")
    corpus("digits.jsonl", b'{"text": ' + b"9" * 1_000_000 + b"}", "jsonl")
    corpus("long.jsonl", b'{"text": "' + b"a" * (1 << 26) + b'"}', "jsonl")
    corpus("field.csv", b'text\n"' + b"a" * (1 << 26) + b'"\n', "csv")
    corpus("lying.parquet", b"PAR1" + os.urandom(64) + struct.pack("<I", 2**31 - 1) + b"PAR1", "parquet")
    corpus("thrift.parquet", b"PAR1" + b"\x15\xff" * 500 + struct.pack("<I", 1000) + b"PAR1", "parquet")
    corpus("cut.txt.gz", gzip.compress(os.urandom(1 << 16))[:-999], "text")
    corpus("xz_memory.txt.xz", _xz_header(), "text")
    return chosen(faults, tries, seed)


def _xz_header() -> bytes:
    """Return a file of xz whose header asks for a dictionary of 4 GB."""
    import zlib

    packed = bytearray(lzma.compress(b"a" * 999))
    header = bytearray(packed[12:24])
    assert header[2] == 0x21 and header[3] == 1  # LZMA2, with one byte: the size of its dictionary
    header[4] = 40
    packed[12:24] = header[:8] + struct.pack("<I", zlib.crc32(bytes(header[:8])))
    return bytes(packed)


def links(tries: int, folder: Path, seed: int) -> list[Outcome]:
    """Give corpora with links that lead out of them: nothing outside may be read."""
    outside, corpus = folder / "outside", folder / "corpus"
    outside.mkdir()
    corpus.mkdir()
    (outside / "private.txt").write_text("not to be read")
    (corpus / "own.txt").write_text("to be read")

    def with_link(name: str, target: Path) -> Callable[[], Outcome]:
        def inject() -> Outcome:
            (corpus / name).symlink_to(target)
            try:
                return outcome(f"link {name}", corpus_reader(corpus))
            finally:
                (corpus / name).unlink()

        return inject

    faults = {
        "file": with_link("a.txt", outside / "private.txt"),
        "folder": with_link("more", outside),
        "parent": with_link("up", folder),
        "relative": with_link("b.txt", Path("../outside/private.txt")),
    }
    return chosen(faults, tries, seed)


# ---------------------------------------------------------------- YAML, names, values
def yaml_bombs(tries: int, folder: Path, seed: int) -> list[Outcome]:
    """Give sweep files that would grow, nest or run code."""
    texts = {
        "laughs": "a: &a [x, x]\n"
        + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}]\n" for a, b in zip("abcdefghij", "bcdefghijk", strict=True)),
        "deep": "a: " + "[" * 5_000,
        "deep blocks": "".join(" " * n + "a:\n" for n in range(500)),
        "python": "a: !!python/object/apply:os.system ['touch executed']\n",
        "python name": "a: !!python/name:os.system\n",
        "references": "a: '" + "${a}" * 100 + "'\n",
        "itself": "a: &a [*a]\n",
        "large": "a: " + "x" * 200_000,
        "binary": "\0\1\2",
        "tag": "a: !<tag:evil> 1\n",
    }

    def inject(name: str) -> Callable[[], Outcome]:
        def write() -> Outcome:
            path = folder / "bomb.yaml"
            path.write_text(texts[name])
            os.utime(path, ns=(time.time_ns(), time.time_ns()))
            found = outcome(name, yaml_reader(path))
            return found._replace(survived=found.survived and not (Path.cwd() / "executed").exists())

        return write

    return chosen({name: inject(name) for name in texts}, tries, seed)


def values(tries: int, folder: Path, seed: int) -> list[Outcome]:
    """Type values that no setting can have, and names that would be paths; nothing is written but in the folder."""
    words = [
        *(
            "batch_size.peak_lr=-1",
            "batch_size.peak_lr=nan",
            "batch_size.peak_lr=inf",
            "optimizer.beta1=1.5",
            "optimizer.eps=-1",
        ),
        *("trainer.accelerator=tpu", "trainer.workers=-1", "trainer.threads=-2", "model.init_std=-1", "finetune.lr=-1"),
        *(
            "task.num_train=0",
            "optimizer.warmup_steps=999999999",
            "optimizer.weight_decay=-1",
            "seed=-1",
            "trainer.jobs=0",
        ),
        *("finetune.warmup_ratio=3", "finetune.patience=-1", "masking.mask_prob=0", "masking.mask_prob=1.0001"),
        *(
            "input_format.max_length=100000",
            "seed=1e400",
            "seed=18446744073709551616",
            "seed=true",
            "seed=''",
            "seed=1.5",
        ),
        *("scale.name=../../x", "scale.name=/abs", "task.name=../x", "task.name='a\\nb'", f"task.name={'x' * 300}"),
        *(
            "seed='${oc.env:NO_SUCH_VARIABLE}'",
            "seed=${nosuch:1}",
            "seed=${seed}",
            "seed='${'",
            "logger.notes='\x1b[2J'",
        ),
        *(
            f"paths.outputs={'x' * 300}",
            "paths.outputs='a\x00b'",
            "++data_mix.sources.'../x'={kind: text, path: x}",
            "scale.batch_divisor=0",
        ),
    ]

    def inject(word: str) -> Callable[[], Outcome]:
        return lambda: command(["pretrain", word], folder)

    return chosen({word: inject(word) for word in words}, tries, seed)


def command(arguments: list[str], folder: Path, refused: int = 2) -> Outcome:
    """Return the outcome of a command that is to be refused: its code, and one line that no terminal obeys."""
    out, err, before = io.StringIO(), io.StringIO(), os.getcwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), watched():
            code = main(arguments)
    except BaseException as error:
        return Outcome(" ".join(arguments)[:60], False, 1, f"{type(error).__name__}: {error}")
    finally:
        os.chdir(before)
    said = err.getvalue()
    fine = code == refused and said.count("\n") == 1 and said.rstrip("\n").isprintable() and not any(folder.iterdir())
    return Outcome(visible(" ".join(arguments))[:60], fine, code, said.strip()[:LONG])


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


KINDS = (special_files, bombs, links, yaml_bombs, values, tokenizers, weights, task_files, shown)
