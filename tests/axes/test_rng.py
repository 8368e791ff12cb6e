"""The random streams: defined exactly, separate from one another, and with keys that never run short."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from roberta_lab.axes import rng

WORD = 1 << 64


def slow_stream_key(seed: int, stream: str, *key: int) -> int:
    joined = chr(31).join([str(seed), stream, *[str(k) for k in key]])
    return int(hashlib.blake2b(joined.encode("utf-8"), digest_size=8).digest()[::-1].hex(), 16)


def slow_hashed(key: int, *counters: int) -> int:
    """SplitMix64 in Python's unbounded integers, from Steele et al. 2014."""
    for counter in counters:
        key = (key + (counter + 1) * 0x9E3779B97F4A7C15) % WORD
        key = ((key ^ (key >> 30)) * 0xBF58476D1CE4E5B9) % WORD
        key = ((key ^ (key >> 27)) * 0x94D049BB133111EB) % WORD
        key ^= key >> 31
    return key


def test_splitmix64_gives_its_published_sequence() -> None:
    # The first outputs of the reference C program for seed 1234567, as in every port of it.
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert rng.hashed(1234567, np.arange(3)).tolist() == expected


def test_hashed_equals_a_slow_reference_and_broadcasts() -> None:
    key = rng.stream_key(7, "masking")
    assert key == slow_stream_key(7, "masking")
    rows, columns = np.array([0, 1, 2**40, 2**62]), np.arange(5)
    words = rng.hashed(key, rows[:, None], columns)
    assert words.dtype == np.uint64 and words.shape == (4, 5)
    assert words.tolist() == [[slow_hashed(key, int(r), int(c)) for c in columns] for r in rows]


@pytest.mark.parametrize(
    "other",
    [(1, "mask", 2, 4), (1, "mask", 3), (2, "mask", 2, 3), (1, "masks", 2, 3), (1, "mask", 23), (1, "mask2", 3)],
)
def test_streams_are_separate(other: tuple) -> None:
    mine, theirs = rng.generator(1, "mask", 2, 3), rng.generator(*other)
    assert rng.stream_key(1, "mask", 2, 3) != rng.stream_key(*other)
    assert mine.random(4).tolist() != theirs.random(4).tolist()


def test_generator_depends_on_its_key_alone() -> None:
    first = rng.generator(3, "order", 5).permutation(50)
    rng.generator(3, "order", 6).permutation(50)
    np.random.default_rng(0).random(9)
    assert first.tolist() == rng.generator(3, "order", 5).permutation(50).tolist()


def test_two_million_examples_have_two_million_keys() -> None:
    # fairseq's hash(...) % 1e6 leaves fewer than 50,000; 64 bits are to collide with probability 1e-7.
    examples, epochs = np.arange(200_000), np.arange(10)
    words = rng.hashed(rng.stream_key(1, "masking"), examples[:, None], epochs)
    assert len(np.unique(words)) == 2_000_000


def test_uniform_is_uniform_and_below_one() -> None:
    draws = rng.uniform(rng.hashed(rng.stream_key(1, "u"), np.arange(200_000)))
    observed = np.bincount((draws * 100).astype(int), minlength=100)
    assert len(observed) == 100 and draws.min() >= 0 and draws.max() < 1
    assert ((observed - 2000) ** 2 / 2000).sum() < 160  # chi-square, 99 degrees of freedom: mean 99, 4.3 sigma
    assert rng.uniform(np.array([2**64 - 1], np.uint64))[0] < 1
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 0.01


def test_all_bits_depend_on_neighbouring_keys() -> None:
    words = rng.hashed(rng.stream_key(1, "bits"), np.arange(20_000))
    flipped = (words[:-1] ^ words[1:])[:, None] >> np.arange(64, dtype=np.uint64) & np.uint64(1)
    assert np.abs(flipped.mean(axis=0) - 0.5).max() < 0.02
