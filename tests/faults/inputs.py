"""Hostile inputs, each given to the function that reads its kind: it must answer in one line, at once, in bounded memory.

A function injects `tries` faults of its kind in `folder`, chosen by `seed`, and returns a row for each.
"""

import contextlib
import gzip
import io
import lzma
import os
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

from faults.input_models import shown, task_files, tokenizers, weights
from faults.outcomes import (
    LONG,
    PACKERS,
    Outcome,
    chosen,
    corpus_reader,
    model_reader,
    outcome,
    task_reader,
    tokenizer_reader,
    watched,
    yaml_reader,
)

from roberta_lab.cli.main import main
from roberta_lab.config.formatting import visible


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


KINDS = (special_files, bombs, links, yaml_bombs, values, tokenizers, weights, task_files, shown)
