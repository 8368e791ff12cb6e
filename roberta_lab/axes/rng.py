"""Make every random draw of the project from a key that names its purpose.

There is no global state: the order of calls, workers, ranks and interruptions cannot change a draw.
Streams are separated by hashing their names; keys keep their full 64 bits.
"""

import hashlib

import numpy as np

from roberta_lab.axes import Floats, Ints

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def stream_key(seed: int, stream: str, *key: int) -> int:
    """Return a 64-bit key for one named stream of draws; equal arguments give equal keys, on every machine."""
    text = "\x1f".join([str(seed), stream, *map(str, key)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def generator(seed: int, stream: str, *key: int) -> np.random.Generator:
    """Return NumPy's generator for draws that are made one after another (a permutation, a plan)."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(stream_key(seed, stream, *key))))


def mix(x: Ints) -> Ints:
    """Mix the bits of uint64 words by SplitMix64's finalizer (Steele et al. 2014), a bijection in which all bits depend on all."""
    x = x ^ (x >> np.uint64(30))
    x *= _M1
    x ^= x >> np.uint64(27)
    x *= _M2
    x ^= x >> np.uint64(31)
    return x


def hashed(key: int, *counters: Ints) -> Ints:
    """Return random words, uint64, one per element of the broadcast integer counters: a pure function of all arguments."""
    word: Ints | np.uint64 = np.uint64(key)
    with np.errstate(over="ignore"):
        for counter in counters:
            word = mix(word + (counter.astype(np.uint64) + np.uint64(1)) * _GOLDEN)
    return np.asarray(word)


def uniform(words: Ints) -> Floats:
    """Return words of `hashed` as float64 in [0, 1), from their upper 53 bits."""
    return (words >> np.uint64(11)) * (1.0 / (1 << 53))
