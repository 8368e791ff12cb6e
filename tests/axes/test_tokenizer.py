"""Byte-level BPE: RoBERTa's ids, nothing unknown, nothing in text taken for a special token."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from roberta_lab.axes import tokenizer
from roberta_lab.axes.spelling import Spelling
from roberta_lab.axes.tokenizer import Encoding, train_bytelevel_bpe, train_wordpiece
from roberta_lab.config import ConfigError

TEXTS = ["the cat sat on the mat", " the dog sat on the log", "a naïve café"] * 10


@pytest.fixture(scope="module")
def encoding() -> Encoding:
    return Encoding(train_bytelevel_bpe(iter(TEXTS), 270))


def test_special_tokens_have_robertas_ids(encoding: Encoding) -> None:
    assert (encoding.bos_id, encoding.pad_id, encoding.eos_id, encoding.unk_id) == (0, 1, 2, 3)
    assert encoding.mask_id == encoding.vocab_size - 1 == 269


@pytest.mark.parametrize("text", ["<mask>", "a </s> b <s>", "<pad><unk>", " <mask> ."])
def test_a_literal_special_token_is_ordinary_text(encoding: Encoding, text: str) -> None:
    [ids] = encoding.encode_batch([text])
    assert not set(ids) & set(encoding.special_ids)
    assert encoding.decode(ids) == text


@pytest.mark.parametrize("text", ["", " ", "日本語 🙂", "tab\tnewline\n", "\x00", "e\u0301", "unseen QZX"])
def test_every_text_comes_back(encoding: Encoding, text: str) -> None:
    [ids] = encoding.encode_batch([text])
    assert encoding.decode(ids) == text and encoding.unk_id not in ids


def test_offsets_are_of_characters(encoding: Encoding) -> None:
    text = "a naïve cat"
    [(ids, offsets)] = encoding.encode_with_offsets([text])
    assert ids == encoding.encode_batch([text])[0]
    covered = {i for start, end in offsets for i in range(start, end)}
    assert covered == set(range(len(text)))


def test_merges_are_those_of_a_slow_reference() -> None:
    """The first merges of BPE are the most frequent pairs: here (t, h), (th, e) and so on, counted by hand."""
    trained = train_bytelevel_bpe(iter(["the the the then"]), 256 + 5 + 2)
    assert [trained.id_to_token(260), trained.id_to_token(261)] == ["he", "the"]


def test_a_saved_tokenizer_is_the_same_and_is_hugging_faces_file(encoding: Encoding, tmp_path: Path) -> None:
    trained = train_bytelevel_bpe(iter(TEXTS), 270)
    trained.save(str(tmp_path / "tokenizer.json"))
    loaded = tokenizer.load(tmp_path)
    assert loaded.encode_batch(TEXTS) == encoding.encode_batch(TEXTS) and loaded.fingerprint == encoding.fingerprint
    assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).get_vocab_size() == 270


@pytest.mark.parametrize(("size", "allowed"), [(260, "261"), (5000, "and no more")])
def test_impossible_sizes_are_refused(size: int, allowed: str) -> None:
    with pytest.raises(ConfigError, match=allowed):
        train_bytelevel_bpe(iter(TEXTS), size)


# ---------------------------------------------------------------- WordPiece
@pytest.fixture(scope="module")
def wordpiece() -> Encoding:
    return Encoding(train_wordpiece(["the cat sat on the mats, the cats sat <mask>"] * 5, 34))


def test_the_same_texts_give_the_same_wordpiece() -> None:
    """Ties are frequent in such short texts, and the library breaks them by ids that differ from one training to the next."""
    texts = ["Wel come to the tok en izers libr ary, él 中文.", "a b c d e f g cab deaf ab"]
    assert len({train_wordpiece(texts, 60).to_str() for _ in range(30)}) == 1
    vocabulary = train_wordpiece(texts, 60).get_vocab()
    inside = {"##" + letter for word in " ".join(texts).lower().replace("é", "e").split() for letter in word[1:]}
    inside -= {"##,", "##.", "##文"}  # words of their own
    assert {piece for piece in vocabulary if piece.startswith("##") and len(piece) == 3} == inside
    assert sorted(vocabulary.values()) == list(range(60))


def test_wordpiece_has_the_same_special_ids_and_marks_pieces_inside_words(wordpiece: Encoding) -> None:
    assert (wordpiece.bos_id, wordpiece.pad_id, wordpiece.eos_id, wordpiece.mask_id) == (0, 1, 2, 33)
    [ids] = wordpiece.encode_batch(["The CATS sat."[:-1]])
    [plain] = wordpiece.encode_batch(["the cats sat"])
    assert ids == plain and wordpiece.decode(ids) == "the cats sat"
    inside = wordpiece.vocabulary.continues_word
    words = sum(not inside[i] for i in wordpiece.encode_batch(["the mats"])[0])
    assert "".join(map(wordpiece.spelled, ids)) == " the cats sat"
    assert words == 2 and inside.any() and not inside[list(wordpiece.special_ids)].any()


def test_wordpiece_takes_no_literal_special_token_and_marks_the_unknown(wordpiece: Encoding) -> None:
    [ids] = wordpiece.encode_batch(["<mask>"])
    assert wordpiece.mask_id not in ids and len(ids) > 1
    assert wordpiece.encode_batch(["\N{SNOWMAN}"]) == [[wordpiece.unk_id]]


def test_in_byte_level_bpe_a_word_begins_with_its_space(encoding: Encoding) -> None:
    [ids] = encoding.encode_batch(["the log zzz"])
    continues = encoding.vocabulary.continues_word[ids]
    spaces = [encoding.decode([i]).startswith(" ") for i in ids]
    assert continues.tolist() == [not space for space in spaces] and continues.any()


@pytest.mark.parametrize("name", ["bytelevel_bpe", "wordpiece"])
def test_the_bytes_of_a_texts_tokens_are_its_bytes(name: str) -> None:
    """But for white space, which WordPiece drops: so both encodings count the same."""
    text = "the word (of words),\n\n\tthe 'word'.  so: ##the_words"
    encoding = Encoding(tokenizer.KINDS[name]([text] * 5, 279 if name == "bytelevel_bpe" else 37))
    [ids] = encoding.encode_batch([text])
    num_bytes = encoding.vocabulary.num_bytes
    assert encoding.unk_id not in ids
    assert num_bytes is not None and num_bytes[ids].sum() == len("".join(text.split()))
    if name == "bytelevel_bpe":
        [ids] = encoding.encode_batch(["naïve café 日本\r\n"])
        assert num_bytes[ids].sum() == len("naïvecafé日本".encode())
    assert not num_bytes[list(encoding.special_ids)].any()


def test_a_piece_that_is_the_mark_itself_is_text() -> None:
    marked = Spelling(in_bytes=False, inside="##")
    assert [(marked.continues(piece), marked.num_bytes(piece)) for piece in ("##", "##é", "é", "###")] == [
        (False, 2),
        (True, 2),
        (False, 2),
        (True, 1),
    ]


def test_an_added_token_stands_as_its_own_text(wordpiece: Encoding) -> None:
    trained = train_wordpiece(["the cat sat on the mats, the cats sat <mask>"] * 5, 34)
    trained.add_tokens(["##new york"])
    encoding = Encoding(trained)
    assert encoding.spelled(34) == " ##new york" and wordpiece.vocab_size == 34
    assert not encoding.vocabulary.continues_word[34] and encoding.vocabulary.num_bytes[34] == len("##newyork")
