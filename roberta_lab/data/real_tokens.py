"""Count the real tokens of a run before it: on the prepared store if there is one, else by shares that are stated here.

Inputs are rarely full. How many tokens a step holds, and how many steps a pass takes, follows from the lengths of the inputs,
which depend on the text: so a sample of the store is planned as training plans it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from roberta_lab.axes import data_mix
from roberta_lab.axes.batch_size import batch_tokens
from roberta_lab.axes.data_mix import training_documents
from roberta_lab.axes.epochs import epochs_of
from roberta_lab.axes.input_format import fewest_documents, format_of
from roberta_lab.config import Config, ConfigError, DataMixConfig, SourceConfig
from roberta_lab.data import token_store
from roberta_lab.data.corpus.sources import files
from roberta_lab.data.corpus.sources.remote import is_url
from roberta_lab.data.verified import read_json

SAMPLE_TOKENS = 2_000_000  # of the store: planning 1.35M tokens of segment pairs takes 10 ms
# Gigabytes of text of each corpus (RoBERTa, Section 3.2; BookCorpus and Wikipedia are 16 together), and bytes of a token of
# GPT-2's byte-level BPE, measured on some megabytes of such text. (OpenWebText is known to have 9.0G tokens: 4.2 bytes each.)
CORPORA = {
    "books": (4.2, 4.2),
    "wikipedia": (11.8, 4.6),
    "cc_news": (76.0, 4.5),
    "openwebtext": (38.0, 4.2),
    "stories": (31.0, 4.2),
}
EMBEDDED = {2048: 1_391_553, 16384: 1_008_447}  # tokens of the embedded corpus, training and held out, by vocabulary
LENGTHS = (64, 128, 256, 512)
# Measured at these lengths: the mean share of a full input, and the tokens of a pass for one of the text (random texts B are
# read beside a document's own, and special tokens count). Of the embedded corpus, and of books and Wikipedia for all others.
ASSUMED = {
    "pydoc": {
        "segment_pair": ((0.971, 0.904, 0.778, 0.601), (1.18, 1.26, 1.32, 1.39)),
        "sentence_pair": ((0.712, 0.386, 0.194, 0.097), (1.37, 1.45, 1.45, 1.46)),
        "full_sentences": ((0.798, 0.879, 0.938, 0.969), (1.04, 1.02, 1.01, 1.01)),
        "doc_sentences": ((0.778, 0.818, 0.774, 0.639), (1.04, 1.02, 1.01, 1.01)),
    },
    "text": {
        "segment_pair": ((0.999, 0.995, 0.987, 0.966), (1.09, 1.18, 1.26, 1.31)),
        "sentence_pair": ((0.900, 0.584, 0.298, 0.149), (1.16, 1.37, 1.39, 1.39)),
        "full_sentences": ((0.759, 0.827, 0.905, 0.952), (1.04, 1.02, 1.01, 1.00)),
        "doc_sentences": ((0.758, 0.823, 0.892, 0.919), (1.04, 1.02, 1.01, 1.00)),
    },
}
FULL = (1.0,) * len(LENGTHS)  # of a format without measurements


@dataclass(frozen=True)
class RealTokens:
    """The real tokens of a run, special ones counted in, and where the numbers come from."""

    per_step: float
    per_pass: float | None  # tokens of one epoch's inputs; None: the size of the text is unknown
    step_basis: str
    pass_basis: str


def real_tokens(config: Config) -> RealTokens:
    """Return the real tokens of a step and of a pass."""
    if (folder := prepared_store(config)) is not None:
        return _counted(config, folder)
    form, kind = config.input_format, "pydoc" if list(config.data_mix.sources) == ["pydoc"] else "text"
    shares, growths = ASSUMED[kind].get(form.name, (FULL, FULL))
    if (partner := format_of(form).matched_to) is not None:
        shares = FULL if form.matched_to == "max_length" else ASSUMED[kind].get(partner, (FULL, FULL))[0]
    share, growth = (float(np.interp(np.log2(form.max_length), np.log2(LENGTHS), each)) for each in (shares, growths))
    size, basis = text_tokens(config)
    return RealTokens(
        per_step=config.batch_size.sequences * form.max_length * share,
        per_pass=None if size is None else size * growth,
        step_basis=f"assumed: a step is {share:.0%} full",
        pass_basis=basis,
    )


def _counted(config: Config, folder: Path) -> RealTokens:
    """Return the numbers of a prepared store, planned as in training: all of it, or a sample."""
    at_least = fewest_documents(config.input_format)
    store = training_documents(token_store.open_store(folder / "train"), config.data_mix, at_least)
    sample = store.select(SAMPLE_TOKENS, at_least)
    examples, tokens = epochs_of(sample, config).size(0)
    aimed, mean = batch_tokens(sample, config), tokens / examples
    per_pass = mean * examples * store.num_tokens / sample.num_tokens
    basis = "counted on the prepared store" if sample is store else "counted on a sample of the prepared store"
    return RealTokens(config.batch_size.sequences * mean if aimed is None else aimed, per_pass, basis, basis)


# ---------------------------------------------------------------- the size of the text
def text_tokens(config: Config) -> tuple[float | None, str]:
    """Return the training tokens of the mix, read once, before any store is there; None when no size is known."""
    limit, stated = config.data_mix.train_tokens, _stated_tokens(config)
    if limit and (stated is None or limit < stated):
        return float(limit), "data_mix.train_tokens"
    if stated is None:
        return None, "sizes unknown before `prepare`"
    return stated, "by the stated size of the corpora"


def _stated_tokens(config: Config) -> float | None:
    """Return the training tokens of corpora of known size; None for others."""
    mix = config.data_mix
    if list(mix.sources) == ["pydoc"]:
        nearest = min(EMBEDDED, key=lambda size: abs(size - config.tokenizer.vocab_size))
        return EMBEDDED[nearest] * (1 - mix.held_out_share) * (mix.sources["pydoc"].repeats or 1)
    if not set(mix.sources) <= set(CORPORA):
        return None
    tokens = {name: CORPORA[name][0] * 1e9 / CORPORA[name][1] for name in mix.sources}
    times = data_mix.repeats(mix, {name: round(number) for name, number in tokens.items()})
    return sum(tokens[name] * times[name] for name in tokens) * (1 - mix.held_out_share)


def prepared_store(config: Config) -> Path | None:
    """Return the prepared store of this mix and encoding, told by its manifests; None unless there is just one."""
    mix, cache = config.data_mix, Path(config.paths.cache)
    if not cache.is_dir():
        return None
    corpora = _contents(cache / "corpus", lambda inputs: _is_of(mix, inputs))
    asked: dict[str, object] = {"kind": config.tokenizer.kind, "vocab_size": config.tokenizer.vocab_size}
    if config.tokenizer.path:
        from roberta_lab.data import tokenizer_files

        asked = {"published": tokenizer_files.fingerprint(config.tokenizer.path)}
    tokenizers = _contents(cache / "tokenizer", lambda inputs: asked.items() <= {"published": None, **inputs}.items())
    found = []
    for path in sorted((cache / "tokens").glob("*/manifest.json")):
        inputs = read_json(path)["inputs"]
        fits = inputs.get("corpus") in corpora and inputs.get("tokenizer") in tokenizers
        if fits and inputs.get("sources") == list(mix.sources):
            found.append(path.parent)
    return found[0] if len(found) == 1 else None


def _contents(folder: Path, fits: Callable[[Mapping[str, Any]], bool]) -> set[str]:
    """Return the content ids of the prepared folders whose inputs fit."""
    manifests = [read_json(path) for path in folder.glob("*/manifest.json")]
    return {manifest["content"] for manifest in manifests if fits(manifest["inputs"])}


def _is_of(mix: DataMixConfig, inputs: Mapping[str, Any]) -> bool:
    """Return whether a corpus was made as the mix says, of files of these names and sizes, as far as they are on a disk."""
    made_of = dict(inputs.get("sources", []))
    as_said = all(inputs.get(name) == getattr(mix, name) for name in ("deduplicate", "held_out_share"))
    return as_said and all(_has_files(source, made_of.get(name, {})) for name, source in mix.sources.items())


def _has_files(source: SourceConfig, then: Mapping[str, Any]) -> bool:
    if not source.path or is_url(source.path):
        return True
    made_of = {name: file["bytes"] for name, file in then.get("files", {}).items()}
    try:
        now = {file.name: _size(file, made_of) for file in files.find(source)}
    except (ConfigError, OSError):
        return True  # they are not here any more
    return now == made_of


def _size(file: files.SourceFile, made_of: Mapping[str, int]) -> int | None:
    """Return the bytes of text of a file; of a compressed one, which is not unpacked here, those that are noted."""
    assert isinstance(file.path, Path)
    is_plain = file.path.name == PurePosixPath(file.name).name  # else it has the ending of a compression
    return file.path.stat().st_size if is_plain else made_of.get(file.name)
