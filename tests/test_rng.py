"""Keyed randomness: equal keys give equal draws, different keys differ, and the words look uniform."""

import numpy as np

from roberta_lab.rng import generator, hashed, stream_key, uniform


def test_a_draw_depends_on_its_key_alone() -> None:
    first = generator(1, "order", 3).permutation(100)
    generator(1, "other").random(1000)
    assert (first == generator(1, "order", 3).permutation(100)).all()
    assert (first != generator(1, "order", 4).permutation(100)).any()
    assert (first != generator(2, "order", 3).permutation(100)).any()


def test_keys_do_not_run_together() -> None:
    assert len({stream_key(1, "a", 23), stream_key(1, "a", 2, 3), stream_key(12, "a", 3), stream_key(1, "a2", 3)}) == 4


def test_two_million_examples_have_two_million_words() -> None:
    words = hashed(stream_key(1, "mask"), np.arange(2_000_000))
    assert len(np.unique(words)) == 2_000_000


def test_words_of_part_of_the_counters_are_the_same_words() -> None:
    key, rows, columns = stream_key(1, "mask"), np.arange(10)[:, None], np.arange(64)
    assert (hashed(key, rows, columns)[3:5] == hashed(key, rows[3:5], columns)).all()


def test_uniform_is_uniform() -> None:
    u = uniform(hashed(stream_key(7, "u"), np.arange(1000)[:, None], np.arange(100)))
    counts = np.histogram(u, bins=100, range=(0, 1))[0]
    chi_square = ((counts - 1000.0) ** 2 / 1000.0).sum()
    assert 50 < chi_square < 160  # 99 degrees of freedom: 0.0001 outside either side
    assert u.min() >= 0 and u.max() < 1
