"""The same of models and tokenizers: one line, soon, in bounded memory."""

import json
import struct

import pytest
from faults import outcomes
from faults.drawn import (
    SCALARS,
    TEXTS,
    VALUES,
    changed,
    expect_answer,
    folder,
    lines_of,
)
from hypothesis import given
from hypothesis import strategies as st

from roberta_lab.config import Damaged
from roberta_lab.model import checkpoint

# ---------------------------------------------------------------- models and tokenizers
IDS = st.one_of(st.integers(-2, 5), VALUES)
PIECES = st.one_of(
    st.sampled_from(["a", "b", "##a", "[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]", "<s>", "\u0120a", "a</w>"]), TEXTS
)
VOCABULARY = st.dictionaries(PIECES, IDS, max_size=6)
STEPS = st.one_of(
    st.none(),
    VALUES,
    st.just({"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}),
    st.just({"type": "BertPreTokenizer"}),
    st.builds(
        lambda regex: {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False},
        st.one_of(TEXTS, st.sampled_from(["(a+)+", r"\p{L}+", "[a", "(?:a|b)*"])),
    ),
)
TOKENIZER = st.fixed_dictionaries(
    {
        "version": st.just("1.0"),
        "model": st.one_of(
            VALUES,
            st.fixed_dictionaries(
                {"type": st.sampled_from(["BPE", "WordPiece", "Unigram"]), "vocab": st.one_of(VOCABULARY, VALUES)},
                optional={
                    "merges": st.one_of(st.just([]), VALUES),
                    "unk_token": TEXTS,
                    "continuing_subword_prefix": TEXTS,
                    "max_input_chars_per_word": VALUES,
                },
            ),
        ),
    },
    optional={
        "added_tokens": st.one_of(
            VALUES,
            st.lists(st.fixed_dictionaries({"id": IDS, "content": TEXTS}, optional={"special": VALUES}), max_size=2),
        ),
        "normalizer": STEPS,
        "pre_tokenizer": STEPS,
        "decoder": STEPS,
    },
)
BESIDE = st.one_of(
    VALUES,
    st.fixed_dictionaries(
        {},
        optional={
            "do_lower_case": SCALARS,
            "tokenizer_class": VALUES,
            "added_tokens_decoder": st.one_of(VALUES, st.dictionaries(TEXTS, VALUES, max_size=2)),
            "mask_token": VALUES,
        },
    ),
)


@given(whole=TOKENIZER, beside=st.one_of(st.none(), BESIDE))
def test_whole_tokenizers(whole: object, beside: object) -> None:
    with folder() as place:
        (place / "tokenizer.json").write_text(json.dumps(whole))
        if beside is not None:
            (place / "tokenizer_config.json").write_text(json.dumps(beside))
        expect_answer(outcomes.tokenizer_reader(place))


@given(
    vocabulary=st.one_of(VOCABULARY, VALUES),
    merges=changed(lines_of(st.one_of(st.just("#version: 0.2"), st.just("a b"), TEXTS))),
    added=st.one_of(st.none(), VALUES),
)
def test_vocabularies_with_merges(vocabulary: object, merges: bytes, added: object) -> None:
    with folder() as place:
        (place / "vocab.json").write_text(json.dumps(vocabulary))
        (place / "merges.txt").write_bytes(merges)
        if added is not None:
            (place / "added_tokens.json").write_text(json.dumps(added))
        expect_answer(outcomes.tokenizer_reader(place))


@given(content=changed(lines_of(PIECES)), beside=BESIDE)
def test_vocabularies_of_lines(content: bytes, beside: object) -> None:
    with folder() as place:
        (place / "vocab.txt").write_bytes(content)
        (place / "tokenizer_config.json").write_text(json.dumps(beside))
        expect_answer(outcomes.tokenizer_reader(place, "wordpiece"))


SIZES = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size")
CONFIG = st.fixed_dictionaries(
    {
        "model_type": st.one_of(st.sampled_from(["roberta", "bert"]), VALUES),
        **{key: st.one_of(st.just(1), st.just(1), VALUES) for key in SIZES},
    },
    optional={
        key: VALUES
        for key in ("hidden_dropout_prob", "layer_norm_eps", "pad_token_id", "hidden_act", "is_decoder", "auto_map")
    },
)
TENSOR = st.fixed_dictionaries(
    {
        "dtype": st.one_of(st.sampled_from(["F32", "F16", "I64", "F8_E4M3", "BOOL"]), VALUES),
        "shape": st.one_of(st.lists(st.integers(-1, 4), max_size=3), VALUES),
        "data_offsets": st.one_of(st.just([0, 8]), VALUES),
    }
)
NAMES = st.sampled_from(
    [
        "roberta.embeddings.word_embeddings.weight",
        "roberta.embeddings.position_embeddings.weight",
        "lm_head.bias",
        "__metadata__",
        "x",
    ]
)
HEADER = st.dictionaries(NAMES, st.one_of(TENSOR, VALUES), max_size=3).map(lambda found: json.dumps(found).encode())
WEIGHTS = st.builds(
    lambda header, length, data: struct.pack("<Q", len(header) if length is None else length) + header + data,
    HEADER,
    st.one_of(st.none(), st.integers(0, 2**64 - 1)),
    st.binary(max_size=32),
)


@given(config=CONFIG, content=changed(WEIGHTS), heads=st.booleans())
def test_model_folders(config: object, content: bytes, heads: bool) -> None:
    with folder() as place:
        (place / "config.json").write_text(json.dumps(config))
        (place / "model.safetensors").write_bytes(content)
        expect_answer(outcomes.model_reader(place, heads))


@given(content=st.one_of(st.binary(max_size=200), changed(st.just(b"PK\x03\x04" + bytes(60)))))
def test_checkpoints(content: bytes) -> None:
    with folder() as place:
        (place / "step-00000001.ckpt").write_bytes(content)
        with pytest.raises(Damaged):
            checkpoint.load(place / "step-00000001.ckpt")
