"""Choose the documents of a pass over the data: each source as often as the mix says, up to its limit of tokens.

A copy of a document is its address again, so a source that is read four times costs no token more on disk.
"""

import numpy as np

from roberta_lab.axes import Ints
from roberta_lab.axes.rng import hashed, stream_key
from roberta_lab.axes.sentence_store import TokenStore
from roberta_lab.config import ConfigError, DataMixConfig
from roberta_lab.config.later_keys import settings


def check(config: DataMixConfig) -> None:
    """Raise ConfigError if only some sources have weights, or one has both keys."""
    weighted = [name for name, source in config.sources.items() if source.weight is not None]
    for name, source in config.sources.items():
        if weighted and (source.weight is None or source.repeats is not None):
            has = "no weight" if source.weight is None else "repeats too"
            raise ConfigError(
                f"data_mix.{weighted[0]} has a weight and data_mix.{name} {has}: allowed are weights of all sources, or none."
            )


def repeats(config: DataMixConfig, num_tokens: dict[str, int]) -> dict[str, float]:
    """Return how many times each document of a source is read in a pass. `num_tokens` counts each source's training text.

    With weights, a pass has as many tokens as the sources together, and each source has its weight's share of them. So a
    source with twice the tokens of its share is read by half, and another one perhaps three times.
    Raise ConfigError if a source that has a weight has no text.
    """
    if all(source.weight is None for source in config.sources.values()):
        return {name: source.repeats or 1.0 for name, source in config.sources.items()}
    weights = {name: source.weight or 0.0 for name, source in config.sources.items()}
    if empty := [name for name in weights if not num_tokens.get(name)]:
        raise ConfigError(f"data_mix.{empty[0]}.weight={weights[empty[0]]}: the source has no training text.")
    per_weight = sum(num_tokens.values()) / sum(weights.values())
    return {name: weight * per_weight / num_tokens[name] for name, weight in weights.items()}


def science(config: DataMixConfig) -> dict[str, dict[str, object]]:
    """Return what of the sources decides a run: the keys that their kind reads, but no paths: content is checked elsewhere."""
    total = sum(source.weight or 0.0 for source in config.sources.values())
    found: dict[str, dict[str, object]] = {}
    for name, source in config.sources.items():
        values = settings(source)
        read = values if source.kind not in _READ else {key: values[key] for key in ("kind", *_READ[source.kind])}
        for key in ("path", "stands_for", "licence", "weight", "repeats", *(["hub"] if source.kind != "hub" else [])):
            read.pop(key, None)
        if source.kind == "hub":
            read["hub"].pop("size")
        if source.weight is None or len(config.sources) == 1:
            found[name] = read | {"repeats": source.repeats or 1.0 if source.weight is None else 1.0}
        else:
            found[name] = read | {"weight": round(source.weight / total, 9)}
    return found


_READ = {"pydoc": (), "hub": ("hub", "min_characters", "max_characters")}


def training_documents(store: TokenStore, config: DataMixConfig, at_least: int = 1) -> TokenStore:
    """Return the documents of a pass, at least so many where the store has them (`TokenStore.select`).

    If sources are read unequally often, the limit `train_tokens` is divided among them by their shares of the pass, and a
    document is taken with all its copies.
    """
    wanted = repeats(config, tokens_by_source(store))
    times = np.array([wanted[name] for name in store.manifest["sources"]])
    mixed = repeated(store, times)
    if config.train_tokens is None or config.train_tokens >= mixed.num_tokens or (times == times[0]).all():
        return mixed.select(config.train_tokens, at_least)
    parts = [
        mixed.first_documents(
            np.flatnonzero(mixed.document_sources == source), config.train_tokens * number // mixed.num_tokens
        )
        for source, number in enumerate(tokens_by_source(mixed).values())
        if number
    ]
    return mixed.keep(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def tokens_by_source(store: TokenStore) -> dict[str, int]:
    """Return the number of tokens of each source of the mix."""
    names = store.manifest["sources"]
    found = np.bincount(store.document_sources, store.document_tokens, len(names))
    return dict(zip(names, found.astype(int).tolist(), strict=True))


def repeated(store: TokenStore, times: Ints) -> TokenStore:
    """Return a store with each document of source i `times[i]` times, pass after pass: copies do not lie together.

    For a fraction, the last pass has documents that come nearest to that share of the source's tokens, in the order of a
    hash of their names.
    """
    if (times == 1).all():
        return store
    tokens = store.document_tokens
    order = np.argsort(hashed(stream_key(0, "repeats"), store.document_hashes), kind="stable")
    copies = np.floor(times).astype(np.int64)[store.document_sources]
    for source, number in enumerate(times):
        own = order[store.document_sources[order] == source]
        share = np.cumsum(tokens[own])
        nearest = np.searchsorted(share - tokens[own] / 2, number % 1 * share[-1:].sum())
        copies[own[: max(int(nearest), int(number < 1))]] += 1  # at least one document of each source
    passes = [np.flatnonzero(copies > done) for done in range(int(copies.max(initial=0)))]
    documents = np.concatenate(passes or [copies])
    return store.subset(documents, np.diff(store.document_ends, prepend=0)[documents])
