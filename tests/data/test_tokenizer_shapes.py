"""Shapes of tokenizer files: ids, word starts and bytes are those of transformers and of the text, or one line refuses the files.

`pytest -v tests/data/test_tokenizer_shapes.py` is the table of all of them.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from roberta_lab.axes.tokenizer import Encoding
from roberta_lab.config import ConfigError
from roberta_lab.data import tokenizer_files

TEXTS = [
    "Ich möchte das schön, das möchte ich. Ich",
    "苹果 ich 苹果 das",
    "das (schön) ich's 12 ichs",
    "ich <entity> das x<entity>s New York. ich",
]
BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
WORDS = [
    "mochte",
    "möchte",
    "schon",
    "schön",
    ",",
    ".",
    "(",
    ")",
    "'",
    "ich",
    "das",
    "dasx",
    "##n",
    "##s",
    "s",
    "x",
    "苹",
    "果",
    "苹果",
    "12",
    "1",
    "##2",
    "<",
    ">",
    "/",
    "entity",
    "new",
    "york",
]
CAPITALS = ["Ich", "New", "York"]
LOWER = {"do_lower_case": True}
FAST = {"tokenizer_class": "PreTrainedTokenizerFast"}
Make = Callable[[Path], None]


def put(folder: Path, **files: object) -> None:
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def bert(pieces: list[str] = WORDS, specials: list[str] = BERT, **files: object) -> Make:
    """`vocab.txt` and the JSON files beside it."""

    def make(folder: Path) -> None:
        (folder / "vocab.txt").write_text("\n".join([*specials, *pieces]) + "\n", encoding="utf-8")
        put(folder, **{"config": {"model_type": "bert"}, **files})

    return make


def gpt2(names: tuple[str, str] = ("vocab.json", "merges.txt"), specials: list[str] = ROBERTA, **files: object) -> Make:
    """Vocabulary and merges of byte-level BPE and the JSON files beside them; `added_tokens` get the next ids."""

    def make(folder: Path) -> None:
        model = json.loads(trained(models.BPE()).to_str())["model"]
        pieces = [*specials, *(piece for piece in model["vocab"] if piece not in ROBERTA)]
        (folder / names[0]).write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
        (folder / names[1]).write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in model["merges"]) + "\n")
        more = {
            name: {token: len(pieces) for token in value} if name == "added_tokens" else value
            for name, value in files.items()
        }
        put(folder, **{"config": {"model_type": "roberta"}, **more})

    return make


def trained(
    model: models.Model,
    pre: pre_tokenizers.PreTokenizer | None = None,
    normalizer: normalizers.Normalizer | None = None,
    specials: list[str] = ROBERTA,
) -> Tokenizer:
    """A tokenizer of TEXTS; byte-level unless it is told otherwise."""
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre or pre_tokenizers.ByteLevel(add_prefix_space=False)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    in_bytes = "ByteLevel" in repr(tokenizer.pre_tokenizer)
    kind = trainers.BpeTrainer if isinstance(model, models.BPE) else trainers.WordPieceTrainer
    mark = getattr(model, "continuing_subword_prefix", None)
    tokenizer.decoder = decoders.ByteLevel() if in_bytes else decoders.WordPiece(prefix=mark or "##")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet()) if in_bytes else []
    more = {} if mark is None else {"continuing_subword_prefix": mark}
    trainer = kind(
        vocab_size=360 if in_bytes else 90,
        special_tokens=specials,
        initial_alphabet=alphabet,
        show_progress=False,
        **more,
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    return tokenizer


def whole(make: Callable[[], Tokenizer], added: list[AddedToken] | None = None, **files: object) -> Make:
    """`tokenizer.json` and the JSON files beside it."""

    def write(folder: Path) -> None:
        tokenizer = make()
        tokenizer.add_tokens(added or [])
        tokenizer.save(str(folder / "tokenizer.json"))
        put(folder, **{"config": {"model_type": "bert"}, "tokenizer_config": FAST, **files})

    return write


def piece(mark: str = "##") -> models.WordPiece:
    return models.WordPiece(unk_token="<unk>", continuing_subword_prefix=mark)


def byte_level(prefix: bool = False, regex: bool = True) -> pre_tokenizers.ByteLevel:
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex)


@dataclass(frozen=True)
class Shape:
    """Files, what the text is after its normalizer, and the peer where AutoTokenizer is none."""

    make: Make
    lowercase: bool = False
    strip: bool = False
    peer: dict[str, object] | None = None  # of BertTokenizer or GPT2Tokenizer

    def text(self, text: str) -> str:
        text = unicodedata.normalize("NFD", text) if self.strip else text
        text = "".join(c for c in text if unicodedata.category(c) != "Mn") if self.strip else text
        return text.lower() if self.lowercase else text


UNCASED = {"lowercase": True, "strip": True}
SPLIT = pre_tokenizers.Split(Regex(r" ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+"), "isolated")
PEOPLE = [AddedToken("<entité>", normalized=False), AddedToken("New York", normalized=False), AddedToken("<entity>")]
DECODER = {
    str(len(BERT) + len(WORDS)): {"content": "<entity>", "lstrip": True, "rstrip": False, "normalized": False, "single_word": False, "special": False},
    "2": {"content": "[CLS]", "lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True},
}  # fmt: skip
LAST = len(BERT) + len(WORDS)
SHAPES = {
    "vocab.txt, do_lower_case": Shape(
        bert(tokenizer_config={**LOWER, "tokenizer_class": "BertTokenizerFast"}), **UNCASED
    ),
    "vocab.txt, strip_accents=false": Shape(bert(tokenizer_config={**LOWER, "strip_accents": False}), lowercase=True),
    "vocab.txt, tokenize_chinese_chars=false": Shape(
        bert(tokenizer_config={**LOWER, "tokenize_chinese_chars": False}), **UNCASED
    ),
    "vocab.txt, cased, strip_accents=true": Shape(
        bert([*WORDS, *CAPITALS], tokenizer_config={"do_lower_case": False, "strip_accents": True}), strip=True
    ),
    "vocab.txt alone, only capitals are <S> and <T>": Shape(
        bert([word for word in [*WORDS, "<S>", "<T>", "[unused1]"] if word.isascii()]), **UNCASED
    ),
    "vocab.txt alone, with capitals": Shape(bert([*WORDS, *CAPITALS]), peer={"do_lower_case": False}),
    "vocab.txt alone, with accents": Shape(bert(), lowercase=True, peer={"strip_accents": False}),
    "vocab.txt, added_tokens.json": Shape(bert(tokenizer_config=LOWER, added_tokens={"<entity>": LAST}), **UNCASED),
    "vocab.txt, added_tokens_decoder": Shape(
        bert(tokenizer_config={**LOWER, "added_tokens_decoder": DECODER}), **UNCASED
    ),
    "vocab.txt, RoBERTa's special tokens": Shape(
        bert(specials=ROBERTA, tokenizer_config={**LOWER, **dict(zip(
            ("cls_token", "pad_token", "sep_token", "unk_token", "mask_token"), ROBERTA, strict=True))}), **UNCASED
    ),
    "vocab.txt, [MASK] in added_tokens.json": Shape(
        bert(specials=BERT[:4], tokenizer_config=LOWER, added_tokens={"[MASK]": LAST - 1}), **UNCASED
    ),
    "vocab.json + merges.txt": Shape(gpt2()),
    "vocab.json + merges.txt, add_prefix_space": Shape(gpt2(tokenizer_config={"add_prefix_space": True})),
    "vocab.json + merges.txt, added_tokens.json": Shape(gpt2(added_tokens=["<entity>"])),
    "encoder.json + vocab.bpe": Shape(
        gpt2(("encoder.json", "vocab.bpe"), ["<|endoftext|>"]), peer={"vocab": "encoder.json", "merges": "vocab.bpe"}
    ),
    "tokenizer.json, byte-level BPE": Shape(whole(lambda: trained(models.BPE()))),
    "tokenizer.json, byte-level BPE in a sequence, NFC": Shape(
        whole(lambda: trained(models.BPE(), pre_tokenizers.Sequence([SPLIT, byte_level(regex=False)]), normalizers.NFC()))
    ),
    "tokenizer.json, byte-level BPE, added tokens": Shape(whole(lambda: trained(models.BPE()), PEOPLE)),
    "tokenizer.json, byte-level BPE, an added token that takes its space": Shape(
        whole(lambda: trained(models.BPE()), [AddedToken("York", lstrip=True, normalized=False)])
    ),
    "tokenizer.json, WordPiece of BERT, settings beside it": Shape(
        whole(lambda: trained(piece(), pre_tokenizers.BertPreTokenizer(), normalizers.BertNormalizer()),
              tokenizer_config={**FAST, **LOWER, "strip_accents": None, "tokenize_chinese_chars": True}), **UNCASED
    ),
    "tokenizer.json, WordPiece with the mark @@": Shape(
        whole(lambda: trained(piece("@@"), pre_tokenizers.Whitespace()))
    ),
    "tokenizer.json, WordPiece, Lowercase and Whitespace": Shape(
        whole(lambda: trained(piece(), pre_tokenizers.Whitespace(), normalizers.Sequence(
            [normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]))), **UNCASED
    ),
    "tokenizer.json, WordPiece, added tokens": Shape(
        whole(lambda: trained(piece(), pre_tokenizers.BertPreTokenizer()), [*PEOPLE, AddedToken("##x")])
    ),
    "tokenizer.json, WordPiece without a mark, byte-level": Shape(whole(lambda: trained(piece(""), byte_level()))),
    "tokenizer.json, WordPiece with ##, byte-level": Shape(whole(lambda: trained(piece(), byte_level(True)))),
}  # fmt: skip


@pytest.fixture
def transformers() -> Iterator[Any]:
    library = pytest.importorskip("transformers")
    library.logging.set_verbosity_error()
    yield library
    library.logging.set_verbosity_warning()


def peer_of(transformers: Any, shape: Shape, folder: Path) -> Any:
    if shape.peer is None:
        return transformers.AutoTokenizer.from_pretrained(folder)
    if "merges" in shape.peer:
        return transformers.GPT2Tokenizer(**{key: str(folder / name) for key, name in shape.peer.items()})
    pieces = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    return transformers.BertTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, **shape.peer)


def word_starts(found: Any, text: str, in_bytes: bool) -> list[bool]:
    """Where words begin, from offsets and the tokenizer's own words: after white space in bytes, else at each word.

    In bytes the space goes with the word, so a token begins a word if what is new in it begins with white space.
    """
    if not in_bytes:
        return [i == 0 or found.word_ids[i] != found.word_ids[i - 1] for i in range(len(found.ids))]
    before = [0, *(end for _, end in found.offsets)]
    return [text[before[i] : end][:1].isspace() for i, (_, end) in enumerate(found.offsets)]


@pytest.mark.parametrize("name", SHAPES)
def test_ids_word_starts_and_bytes_are_those_of_transformers_and_of_the_text(
    name: str, tmp_path: Path, transformers: Any
) -> None:
    shape = SHAPES[name]
    shape.make(tmp_path)
    encoding = Encoding(tokenizer_files.load_of_model(tmp_path))
    peer = peer_of(transformers, shape, tmp_path)
    expected = peer(TEXTS, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert encoding.encode_batch(TEXTS) == expected
    ids, lengths = encoding.encode(TEXTS)
    assert (ids.tolist(), lengths.tolist()) == ([i for text in expected for i in text], [*map(len, expected)])
    in_bytes = "ByteLevel" in repr(peer.backend_tokenizer.pre_tokenizer)
    compared = 0
    for text, found in zip(TEXTS, peer.backend_tokenizer.encode_batch(TEXTS, add_special_tokens=False), strict=True):
        starts = ~encoding.vocabulary.continues_word[found.ids]
        assert starts[1:].tolist() == word_starts(found, text, in_bytes)[1:], text
        if encoding.unk_id not in found.ids:
            compared += 1
            num_bytes = int(np.sum(encoding.vocabulary.num_bytes[found.ids]))
            assert num_bytes == len("".join(shape.text(text).split()).encode()), text
    assert compared


def bert_json(**values: object) -> Make:
    return whole(
        lambda: trained(piece(), pre_tokenizers.BertPreTokenizer(), normalizers.BertNormalizer()),
        tokenizer_config={**FAST, **values},
    )


def untrained(model: models.Model, pre: pre_tokenizers.PreTokenizer | None = None) -> Make:
    def make() -> Tokenizer:
        tokenizer = Tokenizer(model)
        if pre is not None:
            tokenizer.pre_tokenizer = pre
        return tokenizer

    return whole(make)


SPACES = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), byte_level()])
REFUSED = {
    "Unigram": (untrained(models.Unigram([("a", 0.0)])), "a Unigram tokenizer is not supported"),
    "WordLevel": (untrained(models.WordLevel({"a": 0}, "a")), "a WordLevel tokenizer is not supported"),
    "BPE with Metaspace": (untrained(models.BPE(), pre_tokenizers.Metaspace()), "BPE tokenizer whose pre-tokenizer is not"),
    "BPE with </w>": (untrained(models.BPE(end_of_word_suffix="</w>"), byte_level()), "end_of_word_suffix=</w>"),
    "BPE with ##": (untrained(models.BPE(continuing_subword_prefix="##"), byte_level()), "continuing_subword_prefix=##"),
    "byte-level BPE that loses spaces": (untrained(models.BPE(), SPACES), "do not tell where a word begins"),
    "WordPiece without a mark": (untrained(piece(""), pre_tokenizers.BertPreTokenizer()), "without continuing_subword_prefix"),
    "WordPiece with Metaspace": (untrained(piece(), pre_tokenizers.Metaspace()), "do not tell where a word begins"),
    "WordPiece without a pre-tokenizer": (untrained(piece()), "do not tell where a word begins"),
    "do_lower_case against tokenizer.json": (bert_json(do_lower_case=False), "do_lower_case=false, tokenizer.json true: they"),
    "strip_accents against tokenizer.json": (bert_json(strip_accents=False), "strip_accents=false, tokenizer.json true"),
    "tokenize_chinese_chars against tokenizer.json": (bert_json(tokenize_chinese_chars=False), "tokenize_chinese_chars=false"),
    "add_prefix_space against tokenizer.json": (
        whole(lambda: trained(models.BPE()), tokenizer_config={"add_prefix_space": True}), "add_prefix_space=true, tokenizer.json false",
    ),
    "an added token that tokenizer.json lacks": (
        whole(lambda: trained(models.BPE()), added_tokens={"<entity>": 360}), "'<entity>' has id 360 .* and is not in tokenizer.json",
    ),
    "an added token with an id that it cannot have": (bert(added_tokens={"<entity>": 99}), f"'<entity>' has id 99 .* has id {LAST}"),
    "added_tokens.json without ids": (bert(added_tokens=["<entity>"]), "added_tokens.json is no JSON object"),
    "added_tokens.json with words": (bert(added_tokens={"<entity>": "x"}), "added_tokens.json: allowed is a number"),
    "a class of another tokenizer": (bert(tokenizer_config={"tokenizer_class": "BertJapaneseTokenizer"}), "tokenizer_class=BertJapaneseTokenizer"),
    "a class in config.json": (
        gpt2(config={"model_type": "xlm", "tokenizer_class": "XLMTokenizer"}), "tokenizer_class=XLMTokenizer is not supported with vocab.json",
    ),
    "do_lower_case of no boolean": (bert(tokenizer_config={"do_lower_case": "yes"}), "do_lower_case='yes'; allowed are true, false"),
    "vocab.txt without an unknown piece": (bert(specials=BERT[:1]), r"allowed are \[UNK\] and <unk>"),
    "vocab.json of BPE with </w>": (gpt2(specials=[*ROBERTA, "ich</w>"]), "pieces that end with </w>"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    make, message = REFUSED[name]
    make(tmp_path)
    with pytest.raises(ConfigError, match=message) as error:
        tokenizer_files.load_of_model(tmp_path)
    assert "\n" not in str(error.value) and "choose the option" not in str(error.value)
