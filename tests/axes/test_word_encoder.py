"""Ids word by word are those of the tokenizer itself, whatever the text, and whatever was forgotten in between."""

from __future__ import annotations

import random

import numpy as np
import pytest
from tokenizers import Tokenizer, models

from roberta_lab.axes import word_encoder
from roberta_lab.axes.tokenizer import Encoding, train_bytelevel_bpe, train_wordpiece

TEXTS = [
    "The cat's mat, isn't it? 'Tis we'll, they'RE 10,000 m2 (a-b) x_y...",
    " naïve café, ΑΣ ΟΔΟΣ 日本語 🙂 e\u0301 ½ Ⅳ",
    "two  spaces,   three; end ",
    "nbsp\u00a0inside, \u00a0 before\u00a0 after\u3000 \u2028x",
    "tabs\tand\nnew lines \n and \t more",
    "", " ", "  ", "nul\0 inside", "\0 \0", "line\nend \n", "\u00a0", " \u00a0 ", "<mask> </s> [MASK] <|endoftext|>", "x" * 300,
]  # fmt: skip
KINDS = {"bytelevel_bpe": train_bytelevel_bpe, "wordpiece": train_wordpiece}


@pytest.fixture(scope="module", params=KINDS)
def encoding(request: pytest.FixtureRequest) -> Encoding:
    size = {"bytelevel_bpe": 330, "wordpiece": 120}[request.param]
    return Encoding(KINDS[request.param](TEXTS, size))


def agree(encoding: Encoding, texts: list[str]) -> bool:
    ids, lengths = encoding.encode(texts)
    expected = encoding.encode_batch(texts)
    return ids.tolist() == [i for text in expected for i in text] and lengths.tolist() == [len(t) for t in expected]


def random_texts(seed: int, alphabet: str, number: int = 400) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices(alphabet, k=draw.randint(0, 40))) for _ in range(number)]


@pytest.mark.parametrize(
    "alphabet",
    [
        "".join(map(chr, range(32, 127))) + " " * 20,
        "aAzZ09''stredlmv,.!  ",
        "ab1, \t\n\u00a0\u2028\u3000\u200b\u0301é\u4e00🙂",
        "".join(map(chr, range(0x20, 0x2100))) + " " * 2000,
    ],
)
def test_ids_are_those_of_the_tokenizer(encoding: Encoding, alphabet: str) -> None:
    assert agree(encoding, random_texts(1, alphabet))
    assert agree(encoding, random_texts(2, alphabet) + TEXTS)  # with what the first call left in memory
    assert agree(encoding, [])


def test_forgetting_changes_nothing(encoding: Encoding, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_encoder, "MAX_WORDS", 50)
    small = Encoding(encoding._tokenizer)
    for seed in range(8):
        assert agree(small, random_texts(seed, "abcdef 123,.é", 30))
        assert len(small._by_words._words._numbers) < 50 + 30 * 41


def test_a_space_before_white_space_is_why_texts_are_encoded_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the rule two spaces, one piece of this vocabulary, would be two pieces."""
    trained = train_bytelevel_bpe(iter(["a    b"] * 50), 263)
    assert agree(Encoding(trained), ["a   b", "a b"])
    monkeypatch.setattr(word_encoder, "_depends_on_text_before", lambda word: False)
    assert not agree(Encoding(trained), ["a   b", "a b"])


def test_a_tokenizer_that_splits_otherwise_is_asked_for_every_text() -> None:
    tokenizer = Tokenizer(models.WordLevel({"a b": 0, "a": 1, "b": 2, "?": 3}, unk_token="?"))
    ids, lengths = word_encoder.WordEncoder(tokenizer)(["a b", "a"])
    assert ids.tolist() == [0, 1] and lengths.tolist() == [1, 1] and ids.dtype == np.uint32
