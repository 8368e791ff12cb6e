"""Published vocabularies: ids of the files, special tokens found under either name, and one line for what cannot be."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from roberta_lab.axes.tokenizer import Encoding, train_bytelevel_bpe, train_wordpiece
from roberta_lab.config import ConfigError, TokenizerConfig
from roberta_lab.data import tokenizer_files
from roberta_lab.data.corpus.sources import files

SHARED = Path(os.environ.get("ROBERTA_LAB_SHARED", Path(__file__).parents[3] / "shared")) / "data"
TEXTS = ["the cat sat on the mat", " the Dog's log, naïve"] * 5


def bytelevel_folder(path: Path, names: tuple[str, str], specials: list[str]) -> Path:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: i for i, piece in enumerate([*specials, *alphabet, "th", "the"])}
    path.mkdir()
    (path / names[0]).write_text(json.dumps(vocabulary))
    (path / names[1]).write_text("#version: 0.2\nt h\nth e\n")
    return path


def wordpiece_folder(path: Path, pieces: str = "the cat ##s , dog d o g") -> Path:
    path.mkdir()
    (path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces.split()]))
    return path


def load(path: Path, kind: str) -> Encoding:
    return Encoding(tokenizer_files.load(TokenizerConfig(kind, 0, str(path))))


def test_robertas_files_keep_their_ids(tmp_path: Path) -> None:
    encoding = load(
        bytelevel_folder(
            tmp_path / "r", ("vocab.json", "merges.txt"), ["<s>", "<pad>", "</s>", "<unk>", "madeup", "<mask>"]
        ),
        "bytelevel_bpe",
    )
    assert encoding.special_ids == (0, 1, 2, 3, 5) and encoding.vocab_size == 6 + 256 + 2
    assert encoding.encode_batch(["the"]) == [[6 + 257]]
    assert encoding.decode(encoding.encode_batch([" a <mask> </s>"])[0]) == " a <mask> </s>"


def test_gpt2s_files_get_special_tokens_behind_their_last(tmp_path: Path) -> None:
    encoding = load(bytelevel_folder(tmp_path / "g", ("encoder.json", "vocab.bpe"), ["<|endoftext|>"]), "bytelevel_bpe")
    assert (encoding.bos_id, encoding.pad_id, encoding.eos_id, encoding.unk_id, encoding.mask_id) == tuple(
        range(259, 264)
    )
    assert 0 in encoding.special_ids and 0 not in encoding.encode_batch(["a <|endoftext|> b"])[0]


def test_berts_file_has_berts_ids_and_is_lower_cased_unless_it_has_capitals(tmp_path: Path) -> None:
    encoding = load(wordpiece_folder(tmp_path / "u"), "wordpiece")
    assert (encoding.pad_id, encoding.unk_id, encoding.bos_id, encoding.eos_id, encoding.mask_id) == (0, 1, 2, 3, 4)
    assert encoding.encode_batch(["The Cats, xyz"]) == [[5, 6, 7, 8, 1]]
    assert encoding.vocabulary.pad_id == 0 and encoding.vocabulary.continues_word[7]
    cased = load(wordpiece_folder(tmp_path / "c", "the The Cat"), "wordpiece")
    assert cased.encode_batch(["The Cat the cat"]) == [[6, 7, 5, 1]]
    (tmp_path / "c" / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    assert load(tmp_path / "c", "wordpiece").encode_batch(["The"]) == [[5]]


@pytest.mark.parametrize(
    ("kind", "train", "size"), [("bytelevel_bpe", train_bytelevel_bpe, 270), ("wordpiece", train_wordpiece, 44)]
)
def test_a_tokenizer_json_is_read_back(tmp_path: Path, kind: str, train: object, size: int) -> None:
    trained = train(TEXTS, size)  # type: ignore[operator]
    trained.enable_truncation(3)
    trained.save(str(tmp_path / "tokenizer.json"))
    encoding = load(tmp_path, kind)
    trained.no_truncation()
    assert encoding.encode_batch(TEXTS) == Encoding(trained).encode_batch(TEXTS)
    assert encoding.special_ids == (0, 1, 2, 3, size - 1)
    assert tokenizer_files.fingerprint(str(tmp_path)) == tokenizer_files.fingerprint(str(tmp_path / "tokenizer.json"))


def test_the_identity_is_that_of_the_files_and_of_what_is_said_beside_them(tmp_path: Path) -> None:
    """Runs of users lie under it: settings that say what is so anyway leave it as it was."""
    roberta = bytelevel_folder(
        tmp_path / "r", ("vocab.json", "merges.txt"), ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    )
    bert = wordpiece_folder(tmp_path / "b")
    for folder, names in ((roberta, ["vocab.json", "merges.txt"]), (bert, ["vocab.txt"])):
        hashes = [hashlib.sha256((folder / name).read_bytes()).digest() for name in names]
        assert tokenizer_files.fingerprint(str(folder)) == hashlib.sha256(b"".join(hashes)).hexdigest()
    plain, content = tokenizer_files.fingerprint(str(roberta)), load(roberta, "bytelevel_bpe").fingerprint
    known = {"4": {"content": "<mask>", "lstrip": True, "special": True}}
    seen = {plain}
    for neutral in ({"unk_token": "<unk>", "add_prefix_space": False}, {"added_tokens_decoder": known}):
        (roberta / "tokenizer_config.json").write_text(json.dumps(neutral))
        assert tokenizer_files.fingerprint(str(roberta)) == plain
        assert load(roberta, "bytelevel_bpe").fingerprint == content, "token stores are named by it"
    for said in ({"add_prefix_space": True}, {"added_tokens_decoder": {"263": {"content": "<e>"}}}):
        (roberta / "tokenizer_config.json").write_text(json.dumps(said))
        seen.add(tokenizer_files.fingerprint(str(roberta)))
    (roberta / "tokenizer_config.json").unlink()
    for added in ({"<e>": 263}, {"<f>": 263}):
        (roberta / "added_tokens.json").write_text(json.dumps(added))
        seen.add(tokenizer_files.fingerprint(str(roberta)))
    assert len(seen) == 4, "the same token, wherever it is said"


@pytest.mark.parametrize("number", ["263", "1e999", "263.5", "263.0", "null", '"263"'])
def test_ids_of_added_tokens_are_whole_numbers(tmp_path: Path, number: str) -> None:
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    roberta = bytelevel_folder(tmp_path / "r", ("vocab.json", "merges.txt"), names)
    last = len(json.loads((roberta / "vocab.json").read_text()))
    (roberta / "added_tokens.json").write_text(f'{{"<f>": {number.replace("263", str(last))}}}')
    if number == "263":
        load(roberta, "bytelevel_bpe")
        return
    with pytest.raises(ConfigError, match=r"added_tokens\.json: allowed is a number for each token"):
        load(roberta, "bytelevel_bpe")


def test_what_cannot_be_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no published vocabulary. Allowed: .*vocab.json \+ merges.txt"):
        load(tmp_path, "wordpiece")
    with pytest.raises(ConfigError, match=r"holds wordpiece, not tokenizer\.kind=bytelevel_bpe"):
        load(wordpiece_folder(tmp_path / "w"), "bytelevel_bpe")
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ConfigError, match=r"tokenizer\.json cannot be read"):
        load(tmp_path, "wordpiece")
    word_level = Tokenizer(models.WordLevel({"<s>": 0}, unk_token="<s>"))
    word_level.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(
        ConfigError, match="a WordLevel tokenizer is not supported; allowed are byte-level BPE and WordPiece"
    ):
        load(tmp_path, "wordpiece")


def test_gaps_and_doubled_lines_cost_ids_and_nothing_else(tmp_path: Path) -> None:
    encoding = load(wordpiece_folder(tmp_path / "d", "the the cat"), "wordpiece")
    assert encoding.vocab_size == 8 and encoding.encode_batch(["the cat"]) == [[6, 7]]
    assert encoding.vocabulary.continues_word is not None and len(encoding.vocabulary.continues_word) == 8


def test_a_tokenizer_that_puts_a_space_first_keeps_its_ids(tmp_path: Path) -> None:
    folder = bytelevel_folder(tmp_path / "p", ("vocab.json", "merges.txt"), ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    spaced = tokenizer_files.load(TokenizerConfig("bytelevel_bpe", 0, str(folder)))
    spaced.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    encoding = Encoding(spaced)
    ids, _ = encoding.encode(["the (the), 'the"])
    assert ids.tolist() == encoding.encode_batch(["the (the), 'the"])[0]


def test_a_tokenizer_that_takes_text_for_a_special_token_is_refused() -> None:
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "a", "b"]
    by_space = Tokenizer(models.WordPiece({n: i for i, n in enumerate(names)}, unk_token="<unk>"))
    by_space.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    with pytest.raises(ConfigError, match="reads <s> in a text as its special token"):
        Encoding(by_space)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the published vocabularies are not here")
@pytest.mark.parametrize(
    ("name", "kind", "fast"),
    [
        ("roberta", "bytelevel_bpe", "RobertaTokenizerFast"),
        ("gpt2", "bytelevel_bpe", "GPT2TokenizerFast"),
        ("bert-base-uncased", "wordpiece", "BertTokenizerFast"),
    ],
)
def test_published_vocabularies_give_hugging_faces_ids(name: str, kind: str, fast: str, tmp_path: Path) -> None:
    """On a part of each real corpus; `benchmarks/tokenizing.py` compares the whole of them."""
    transformers = pytest.importorskip("transformers")
    for file in (SHARED / "tokenizers" / name).iterdir():
        with files.open_plain(file) as stream:
            (tmp_path / file.stem).write_bytes(stream.read())
    encoding = load(tmp_path, kind)
    paths = tokenizer_files.find(str(tmp_path))
    parts = [path.read_text(encoding="utf-8") for path in paths]
    if kind == "wordpiece":
        peer = transformers.BertTokenizerFast(vocab={piece: i for i, piece in enumerate(parts[0].splitlines())})
    else:
        merges = [tuple(line.split()) for line in parts[1].splitlines()[1:]]
        peer = getattr(transformers, fast)(vocab=json.loads(parts[0]), merges=merges)
    for corpus in (SHARED / "corpora").iterdir():
        with files.open_plain(corpus) as stream:
            documents = [json.loads(next(stream))["text"] for _ in range(8)]
        texts = [line for document in documents for line in document[:40_000].split("\n")] + ["a </s> <mask> [SEP]"]
        ids, lengths = encoding.encode(texts)
        expected = peer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        assert ids.tolist() == [i for text in expected for i in text], corpus.name
        assert lengths.tolist() == list(map(len, expected))


def test_a_models_own_tokenizer_needs_no_kind_and_is_of_a_known_one(tmp_path: Path) -> None:
    names, specials = ("vocab.json", "merges.txt"), ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    roberta, bert = bytelevel_folder(tmp_path / "r", names, specials), wordpiece_folder(tmp_path / "b")
    for folder, kind in ((roberta, "bytelevel_bpe"), (bert, "wordpiece")):
        found = Encoding(tokenizer_files.load_of_model(folder))
        assert (found.fingerprint, found.special_ids) == (
            load(folder, kind).fingerprint,
            load(folder, kind).special_ids,
        )
    (tmp_path / "u").mkdir()
    Tokenizer(models.Unigram([("a", 0.0)])).save(str(tmp_path / "u" / "tokenizer.json"))
    with pytest.raises(ConfigError, match=r"/u: a Unigram tokenizer is not supported; allowed are byte-level BPE"):
        tokenizer_files.load_of_model(tmp_path / "u")
    (tmp_path / "b" / "vocab.txt").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"/b: vocab\.txt cannot be read"):
        tokenizer_files.load_of_model(tmp_path / "b")
