"""Whatever a file or a word says, its reader answers with what it holds or with one line, soon and in bounded memory.

Inputs are drawn: texts of the kind, changed at places, and bytes. ROBERTA_LAB_EXAMPLES=10000 draws so many of each.
"""

import bz2
import gzip
import io
import json
import lzma
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import inputs
import numpy as np
import pytest
import yaml
from fake_store import FIRST
from hypothesis import example, given
from hypothesis import strategies as st
from test_input_format import SLOW, full_faults, make, pair_faults, unpadded

from roberta_lab.config import ANSWERED, ConfigError, LoggerConfig, ranges
from roberta_lab.config.formatting import csv_cell, visible
from roberta_lab.config.secrets import masked
from roberta_lab.model import checkpoint
from roberta_lab.runs import results, search_path, tracking, yaml_file
from roberta_lab.runs.overrides import assign, check_names, parse, texts
from roberta_lab.tasks import families
from roberta_lab.tasks.zero_shot import minimal_pairs

ODD = st.sampled_from(
    [
        "",
        "\0",
        "\x1b[2J",
        "\ufeff",
        "\u2028",
        "\u202e",
        "\r",
        '"',
        "'",
        "\\",
        "{",
        "[",
        "-1",
        "nan",
        "1e999",
        "9" * 30,
        "#",
        "_",
        "\x85",
    ]
)
TEXTS = st.one_of(st.text(max_size=12), ODD, st.sampled_from(["a", "text", "label", "train", "A"]))
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.integers(-3, 3), st.floats(), TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for one drawn input."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def expect_answer(read: Callable[[], object]) -> None:
    """Fail unless a reader returns, or refuses in one line that a terminal does not obey once it is shown."""
    with inputs.watched():
        try:
            read()
        except ANSWERED as error:
            said = visible(str(error))
            assert "\n" not in said.strip() and len(said) < 20_000, said
            assert not any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in said.replace("\t", " ")), said


@st.composite
def changed(draw: st.DrawFn, wholes: st.SearchStrategy[bytes]) -> bytes:
    """Bytes of a kind, cut, doubled or replaced at places."""
    found = bytearray(draw(wholes))
    for _ in range(draw(st.integers(0, 3))):
        at, much = draw(st.integers(0, len(found))), draw(st.integers(0, 8))
        found[at : at + much] = draw(st.one_of(st.binary(max_size=6), ODD.map(lambda text: text.encode())))
    return bytes(found)


def lines_of(line: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    return st.lists(line, max_size=6).map(lambda found: "\n".join(found).encode("utf-8", "surrogatepass"))


def as_json(values: st.SearchStrategy[object]) -> st.SearchStrategy[str]:
    return values.map(json.dumps)


OBJECTS = st.fixed_dictionaries(
    {"text": TEXTS},
    optional={
        "label": SCALARS,
        "id": VALUES,
        "title": VALUES,
        "UID": VALUES,
        "sentence_good": TEXTS,
        "sentence_bad": TEXTS,
    },
)
JSON_LINES = lines_of(st.one_of(as_json(OBJECTS), as_json(VALUES)))
CELLS = st.lists(TEXTS, max_size=4)
CSV = st.builds(
    lambda head, rows: "\n".join(",".join(cells) for cells in [head, *rows]).encode("utf-8", "surrogatepass"),
    st.one_of(st.just(["text", "label"]), CELLS),
    st.lists(CELLS, max_size=5),
)
TSV = CSV.map(lambda found: found.replace(b",", b"\t"))
CONLL = lines_of(
    st.one_of(
        st.builds(
            "{} {}".format,
            st.sampled_from(["word", "-DOCSTART-", "#", "a\u00a0b"]),
            st.sampled_from(["O", "B-PER", "I-PER", "B", "X-", "E-LOC"]),
        ),
        TEXTS,
    )
)
WIKI = lines_of(
    st.one_of(
        st.sampled_from(['<doc id="1" url="u" title="T">', "T", "</doc>", "<doc id=", "a &amp; b", "&#99999999;"]),
        TEXTS,
    )
)
BOOK = lines_of(
    st.one_of(
        st.sampled_from(
            [
                "*** START OF THE PROJECT GUTENBERG EBOOK X ***",
                "*** START OF THIS PROJECT GUTENBERG",
                "Title: X",
                "Author: Y",
                "  more",
                "*END*THE SMALL PRINT!",
                "End of Project Gutenberg",
            ]
        ),
        TEXTS,
    )
)
PLAIN = lines_of(TEXTS)
SQUAD = as_json(
    st.fixed_dictionaries({"data": st.one_of(VALUES, st.lists(st.fixed_dictionaries({"paragraphs": st.one_of(VALUES, st.lists(st.fixed_dictionaries(
        {"context": st.one_of(VALUES, st.just("a b")), "qas": st.one_of(VALUES, st.lists(st.fixed_dictionaries(
            {"id": VALUES, "question": st.one_of(VALUES, st.just("q")), "answers": st.one_of(VALUES, st.lists(st.fixed_dictionaries({"text": st.one_of(VALUES, st.just("a")), "answer_start": st.one_of(VALUES, st.just(0))}), max_size=2))},
            optional={"is_impossible": VALUES}), max_size=2))}), max_size=2))}), max_size=2))})
).map(str.encode)  # fmt: skip
RACE = as_json(
    st.fixed_dictionaries(
        {
            "article": st.one_of(VALUES, st.just("a")),
            "questions": st.one_of(VALUES, st.just(["q _"])),
            "options": st.one_of(VALUES, st.just([["a", "b", "c", "d"]]), st.lists(VALUES, max_size=2)),
            "answers": st.one_of(VALUES, st.just(["A"])),
        }
    )
).map(str.encode)
PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


# ---------------------------------------------------------------- corpora
@pytest.mark.parametrize(
    ("kind", "file", "contents"),
    [
        *(("text", "a.txt", PLAIN), ("jsonl", "a.jsonl", JSON_LINES), ("csv", "a.csv", CSV)),
        *(("gutenberg", "a.txt", BOOK), ("wikiextractor", "wiki_00", st.one_of(WIKI, JSON_LINES))),
    ],
)
@given(data=st.data())
def test_corpora(kind: str, file: str, contents: st.SearchStrategy[bytes], data: st.DataObject) -> None:
    ending = "" if kind == "wikiextractor" else data.draw(st.sampled_from(sorted(PACK)))
    content = data.draw(st.one_of(changed(contents), st.binary(max_size=40)))
    packed = PACK[ending](content)
    with folder() as place:
        (place / f"{file}{ending}").write_bytes(data.draw(changed(st.just(packed))) if ending else packed)
        expect_answer(inputs.corpus_reader(place / f"{file}{ending}", kind))


def test_parquet() -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    written = io.BytesIO()
    parquet.write_table(pyarrow.table({"text": ["a", "b", "a"] * 20}), written)

    @given(content=changed(st.just(written.getvalue())))
    def check(content: bytes) -> None:
        with folder() as place:
            (place / "a.parquet").write_bytes(content)
            expect_answer(inputs.corpus_reader(place / "a.parquet", "parquet"))

    check()


# ---------------------------------------------------------------- tasks
@pytest.mark.parametrize(
    ("family", "name", "head", "file", "contents"),
    [
        *(
            ("text_classification", "own", "classification", f"train.{e}", c)
            for e, c in {"csv": CSV, "tsv": TSV, "jsonl": JSON_LINES}.items()
        ),
        ("text_classification", "own", "regression", "train.jsonl", JSON_LINES),
        *(("ner", "ner", "tagging", "train.txt", CONLL), ("squad", "squad2", "span", "train-v2.0.json", SQUAD)),
        *(("race", "race", "choice", "train/middle/1.txt", RACE), ("glue", "cola", "classification", "train.tsv", TSV)),
        *(("glue", "rte", "classification", "train.tsv", TSV), ("glue", "stsb", "regression", "train.tsv", TSV)),
    ],
)
@given(data=st.data())
def test_tasks(
    family: str, name: str, head: str, file: str, contents: st.SearchStrategy[bytes], data: st.DataObject
) -> None:
    with folder() as place:
        for own in (file, file.replace("train", "dev")):
            (place / own).parent.mkdir(parents=True, exist_ok=True)
            (place / own).write_bytes(data.draw(changed(contents)))
        expect_answer(inputs.task_reader(place, family, name, head))


@given(content=changed(JSON_LINES), plain=changed(PLAIN))
def test_minimal_pairs(content: bytes, plain: bytes) -> None:
    with folder() as place:
        (place / "a.jsonl").write_bytes(content)
        (place / "b.txt").write_bytes(plain)
        task = families.TaskConfig(name="blimp", family="minimal_pairs", head="mlm", metric="accuracy", path=str(place))
        expect_answer(lambda: minimal_pairs.read(task))


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
        expect_answer(inputs.tokenizer_reader(place))


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
        expect_answer(inputs.tokenizer_reader(place))


@given(content=changed(lines_of(PIECES)), beside=BESIDE)
def test_vocabularies_of_lines(content: bytes, beside: object) -> None:
    with folder() as place:
        (place / "vocab.txt").write_bytes(content)
        (place / "tokenizer_config.json").write_text(json.dumps(beside))
        expect_answer(inputs.tokenizer_reader(place, "wordpiece"))


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
        expect_answer(inputs.model_reader(place, heads))


@given(content=st.one_of(st.binary(max_size=200), changed(st.just(b"PK\x03\x04" + bytes(60)))))
def test_checkpoints(content: bytes) -> None:
    with folder() as place:
        (place / "step-00000001.ckpt").write_bytes(content)
        with pytest.raises(checkpoint.CorruptCheckpoint):
            checkpoint.load(place / "step-00000001.ckpt")


# ---------------------------------------------------------------- config
SWEEP = st.fixed_dictionaries(
    {},
    optional={
        "name": VALUES,
        "rows": st.one_of(
            VALUES,
            st.dictionaries(
                TEXTS,
                st.lists(st.one_of(TEXTS, st.sampled_from(["masking=static", "seed=1", "a.b=c"])), max_size=2),
                max_size=2,
            ),
        ),
        "base": VALUES,
        "tasks": VALUES,
        "seeds": VALUES,
        "claims": VALUES,
        "margins": VALUES,
        "at_scale": VALUES,
    },
)


@given(
    content=st.one_of(
        changed(SWEEP.map(lambda found: yaml.safe_dump(found).encode())), changed(PLAIN), st.binary(max_size=40)
    )
)
@example(content=b"rows: {a: [masking=static]}\nname: !!python/object/apply:os.getcwd []\n")
@example(content=b"a: &a [*a]\n")
def test_sweep_files(content: bytes) -> None:
    with folder() as place:
        (place / "own.yaml").write_bytes(content)
        expect_answer(lambda: yaml_file.read(place / "own.yaml"))
        expect_answer(lambda: search_path.read_sweep(place / "own.yaml"))


KEYS = st.sampled_from(
    [
        "seed",
        "masking",
        "masking.mask_prob",
        "task.path",
        "predict.text",
        "data_mix.own.path",
        "sweep",
        "table.runs",
        "~data_mix.own",
        "++a",
        "hydra.searchpath",
        "task.files.train",
    ]
)
WORDS = st.one_of(
    st.builds(
        "{}={}".format, KEYS, st.one_of(TEXTS, st.text(alphabet="[]{}()'\"\\,:$=*.~ab1 ", max_size=14), as_json(VALUES))
    ),
    TEXTS,
)


@given(word=WORDS)
def test_override_words(word: str) -> None:
    def read() -> None:
        overrides = parse([word])
        assert [o.value() for o in parse(texts(overrides))] == [o.value() for o in overrides] or "nan" in word.lower()
        check_names(overrides)

    expect_answer(read)


@given(value=st.one_of(st.text(max_size=20), st.lists(st.text(max_size=8), max_size=3)))
def test_a_text_that_is_assigned_is_that_text(value: str | list[str]) -> None:
    if "${" not in str(value):
        assert assign("logger.notes", value).value() == value


@given(
    values=st.fixed_dictionaries(
        {
            "project": VALUES,
            "entity": VALUES,
            "tags": VALUES,
            "notes": VALUES,
            "every": VALUES,
            "examples": VALUES,
            "wandb": VALUES,
        }
    )
)
def test_ranges_refuse_or_pass_whatever_stands_there(values: dict[str, object]) -> None:
    expect_answer(lambda: ranges.check(LoggerConfig(**values), "logger"))  # type: ignore[arg-type]


# ---------------------------------------------------------------- files of runs
ROW = as_json(st.one_of(VALUES, st.fixed_dictionaries({"step": st.integers(-1, 3)}, optional={"loss": SCALARS})))


@given(content=changed(lines_of(ROW)))
def test_rows_of_metrics(content: bytes) -> None:
    with folder() as place:
        (place / "metrics.jsonl").write_bytes(content)
        expect_answer(lambda: tracking.read(place / "metrics.jsonl"))


@given(
    content=changed(
        as_json(st.one_of(VALUES, st.fixed_dictionaries({"kind": VALUES, "seconds": VALUES, "found": VALUES}))).map(
            str.encode
        )
    )
)
def test_results(content: bytes) -> None:
    with folder() as place:
        (place / results.NAME).write_bytes(content)

        def read() -> None:
            try:
                results.read(place)
            except ValueError as error:
                raise ConfigError(str(error)) from None

        expect_answer(read)


# ---------------------------------------------------------------- what is shown
@given(text=st.text(), key=st.text(alphabet="abcDEF0123456789", min_size=16, max_size=30))
def test_what_is_shown_has_no_secret_and_no_control(text: str, key: str) -> None:
    for secret in (f"token={key}", f"https://u:{key}@h/x", f"hf_{key}", f"https://h/?sig={key}"):
        found = masked(f"{text} {secret} {text}")
        assert key in text or key not in found.replace(text, "")
        assert masked(found) == found
    assert all(c.isprintable() or c in "\n\t" or c.isspace() or ord(c) > 0x9F for c in visible(text))
    assert not str(csv_cell(text)).lstrip().startswith(("=", "@"))


# ---------------------------------------------------------------- plans
CORPORA = st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=6), min_size=2, max_size=6)


@pytest.mark.parametrize("name", SLOW)
@given(corpus=CORPORA, max_length=st.integers(8, 40))
def test_a_plan_reads_each_token_once_and_packs_as_the_slow_reference(
    name: str, corpus: list[list[int]], max_length: int
) -> None:
    try:
        _, rows = make(name, corpus, max_length)
    except ConfigError as error:
        assert not any(map(sum, corpus)), error
        return
    read = [i for ids in unpadded(rows) for i in ids if i >= FIRST]
    assert read == list(range(FIRST, FIRST + sum(map(sum, corpus))))
    assert unpadded(rows) == SLOW[name](corpus, max_length)
    assert name != "full_sentences" or full_faults(corpus, max_length, rows) == []


@pytest.mark.parametrize("name", ["segment_pair", "sentence_pair"])
@given(corpus=CORPORA, max_length=st.integers(8, 40), key=st.integers(0, 2**64 - 1))
def test_pairs_are_a_walk_of_the_algorithm(name: str, corpus: list[list[int]], max_length: int, key: int) -> None:
    try:
        _, rows = make(name, corpus, max_length, key)
    except ConfigError as error:
        assert sum(any(document) for document in corpus) < 2, error
        return
    assert pair_faults(corpus, max_length, rows, single=name == "sentence_pair") == []
    assert int(rows.lengths.max()) <= max_length and np.isin(rows.next_sentence_label, (0, 1)).all()
