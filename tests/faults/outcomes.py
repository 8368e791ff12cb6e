"""What became of an input that a reader was given: the shapes and the readers that injections of hostile inputs share."""

import bz2
import contextlib
import gzip
import lzma
import random
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from roberta_lab.config import ANSWERED, SourceConfig, TaskConfig, TokenizerConfig
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
