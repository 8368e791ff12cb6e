"""Formats, masks, batches and loaders on slices of real corpora: Wikipedia, books, news, web text, stories.

Hand-made corpora hold what their author thought of; real ones hold documents of one line and of a whole novel, tables that
look like sentences and sentences longer than an input. Each result is compared with a slow reference, id for id. The corpora
are not part of the project: without a folder `shared` near the checkout, or ROBERTA_LAB_SHARED, these tests are skipped.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_store import examples
from test_input_format import (
    FIRST,
    PAIRED,
    SLOW,
    VOCABULARY,
    Corpus,
    FakeStore,
    Piece,
    gathered,
    slow_pieces,
    slow_trim,
    store_of,
    unpadded,
)
from test_rng import slow_hashed, slow_stream_key

from roberta_lab.axes.batch_size import BatchPlan, accumulation
from roberta_lab.axes.epochs import Epochs
from roberta_lab.axes.examples import IGNORED, Plan, Rows, Vocabulary, gather
from roberta_lab.axes.input_format import FORMATS, plan
from roberta_lab.axes.masking import masked_rows, num_maskable, num_masked
from roberta_lab.axes.rng import generator
from roberta_lab.axes.sentence_store import TokenStore
from roberta_lab.axes.tokenizer import Encoding, train_bytelevel_bpe
from roberta_lab.config import (
    BatchSizeConfig,
    Config,
    InputFormatConfig,
    MaskingConfig,
    NspConfig,
    SourceConfig,
    TrainerConfig,
)
from roberta_lab.data import token_store
from roberta_lab.data.corpus.sources import files, kinds, text
from roberta_lab.data.datamodule import MicroBatches
from roberta_lab.data.position_loader import PositionLoader
from roberta_lab.data.token_store import Part

NEAR = [parent / "shared" for parent in Path(__file__).parents[2:5]]
FOLDERS = [Path(os.environ["ROBERTA_LAB_SHARED"])] if "ROBERTA_LAB_SHARED" in os.environ else NEAR
CORPORA = next((f / "data" / "corpora" for f in FOLDERS if (f / "data" / "corpora").is_dir()), None)
pytestmark = pytest.mark.skipif(CORPORA is None, reason=f"no data/corpora in {', '.join(map(str, FOLDERS))}")

FILES = {
    "wikipedia": "wikipedia_en_general2018",
    "books": "books_classics",
    "news": "news_reuters21578",
    "web": "web_c4_webtext",
    "stories": "stories_children",
}
NUM_DOCUMENTS = 60
KEY, SEED = 7, 3
SHARD_TOKENS = 15_000  # several shards a slice


# ---------------------------------------------------------------- slices
def most_sentences(number: int) -> int:
    """Long documents are cut, so that a slice has many: to 250 sentences now and then, else to a few."""
    return (250, 6, 20, 2, 45)[number % 5] if number % 10 else 250


@cache
def texts(name: str) -> list[tuple[str, list[str]]]:
    """The first documents of a corpus: name, sentences."""
    assert CORPORA is not None
    [path] = CORPORA.glob(f"{FILES[name]}.jsonl*")
    source, found = SourceConfig("jsonl", str(path), id_field="id", title_field="title"), []
    with closing(kinds.documents(source, Counter(), name, files.find(source))) as documents:
        for number, document in enumerate(islice(documents, NUM_DOCUMENTS)):
            split = (s for paragraph in document.paragraphs for s in text.segment(paragraph))
            found.append((document.id, list(islice(split, most_sentences(number)))))
    return found


@cache
def encoding() -> Encoding:
    return Encoding(train_bytelevel_bpe((s for name in FILES for _, split in texts(name) for s in split), 2000))


@dataclass(frozen=True)
class Slice:
    """A corpus as the project stores it, and as sentence lengths, of which `store_of` makes tokens that tell their place."""

    store: TokenStore
    tokens: np.ndarray
    corpus: Corpus
    places: FakeStore


@pytest.fixture(scope="module", params=FILES)
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Slice:
    path = tmp_path_factory.mktemp("real") / "store"
    encoded = [encoding().encode_batch(split) for _, split in texts(request.param)]
    corpus = [[len(s) for s in document] for document in encoded]
    parts = [
        Part(
            tokens=np.array([token for s in document for token in s], np.uint32),
            sentence_lengths=np.array([len(s) for s in document], np.int64),
            document_sizes=np.array([len(document)]),
            document_hashes=np.array([number], np.uint64),
            document_sources=np.array([0]),
        )
        for number, document in enumerate(encoded)
    ]
    token_store.write(path, parts, encoding().vocab_size, {}, SHARD_TOKENS)
    tokens = np.concatenate([part.tokens for part in parts])
    return Slice(token_store.open_store(path), tokens, corpus, store_of(corpus))


@dataclass(frozen=True)
class Made:
    """A plan over a slice: its rows as ids, and as places in the slice."""

    plan: Plan
    rows: Rows
    places: list[list[int]]
    vocabulary: Vocabulary


@pytest.fixture(scope="module", params=[(name, size) for name in FORMATS for size in (64, 512)], ids=lambda p: f"{p}")
def form(request: pytest.FixtureRequest) -> tuple[str, int]:
    return request.param


@pytest.fixture(scope="module")
def made(real: Slice, form: tuple[str, int]) -> Made:
    vocabulary = encoding().vocabulary
    examples = plan(real.store, InputFormatConfig(*form), KEY)
    every = np.arange(examples.num_examples)
    rows = gather(real.store, examples, every, vocabulary)
    places = unpadded(gather(real.places, plan(real.places, InputFormatConfig(*form), KEY), every, VOCABULARY))
    return Made(examples, rows, places, vocabulary)


def test_the_slices_are_as_uneven_as_text_is(real: Slice) -> None:
    sizes = [len(document) for document in real.corpus]
    lengths = [n for document in real.corpus for n in document]
    assert len(sizes) == NUM_DOCUMENTS and len(lengths) > 100 and max(sizes) > 4 * min(sizes)
    assert max(lengths) > 61, "some sentence is longer than the shorter input"
    assert real.store.num_tokens == sum(lengths) == len(real.tokens)


# ---------------------------------------------------------------- examples
def slow_pairs(corpus: Corpus, max_length: int, name: str) -> list[tuple[list[int], list[int], int]]:
    """BERT's algorithm, one chunk after the other, as (A, B, label); draws are keyed by the sentence that starts a chunk."""
    room = max_length - 3
    pieces = slow_pieces(corpus, room)
    firsts = [i for i, piece in enumerate(pieces) if i == 0 or pieces[i - 1].document != piece.document]
    ends = [*firsts[1:], len(pieces)]

    def below(stream: str, bound: int, counter: int) -> int:
        return int((slow_hashed(slow_stream_key(KEY, f"{name}/{stream}"), counter) >> 11) / 2**53 * bound)

    chosen, cursor = [], 0
    while cursor < len(pieces):
        own = max(d for d, first in enumerate(firsts) if first <= cursor)
        end = min(cursor + 2, ends[own]) if name == "sentence_pair" else gathered(pieces, cursor, room)
        split = cursor + 1 + (below("split", end - cursor - 1, cursor) if name == "segment_pair" else 0)
        size = pieces[split - 1].last - pieces[cursor].first
        if end - cursor == 1 or below("coin", 2, cursor) == 1:
            others = [d for d in range(len(firsts)) if d != own]
            other = others[below("document", len(others), cursor)]
            start = firsts[other] + below("start", ends[other] - firsts[other], cursor)
            b = (start, start + 1 if name == "sentence_pair" else gathered(pieces, start, room - size))
            chosen.append(((cursor, split), b, 1))
            cursor = split
        else:
            chosen.append(((cursor, split), (split, end), 0))
            cursor = end
    runs = [([ids(pieces, *a), ids(pieces, *b)], label) for a, b, label in chosen]
    return trimmed(runs, room, name)


def ids(pieces: list[Piece], first: int, last: int) -> list[int]:
    return [i for piece in pieces[first:last] for i in range(piece.first, piece.last)]


def trimmed(runs: list[tuple[list[list[int]], int]], room: int, name: str) -> list[tuple[list[int], list[int], int]]:
    """Loses tokens until A and B fit; how many at the front is drawn for all A, then for all B."""
    kept = [slow_trim(len(a), len(b), room) for (a, b), _ in runs]
    draw, fronts = generator(KEY, f"{name}/trim"), []
    for k in (0, 1):
        lost = [len(run[k]) - sizes[k] for (run, _), sizes in zip(runs, kept, strict=True)]
        fronts.append(draw.binomial(lost, 0.5).tolist())
    return [
        (a[front_a : front_a + size_a], b[front_b : front_b + size_b], label)
        for ((a, b), label), (size_a, size_b), front_a, front_b in zip(runs, kept, *fronts, strict=True)
    ]


def test_examples_equal_the_slow_reference(real: Slice, made: Made, form: tuple[str, int]) -> None:
    name, max_length = form
    if name not in {*PAIRED, *SLOW}:
        pytest.skip(f"{name} has no slow reference here")
    if name in PAIRED:
        expected = slow_pairs(real.corpus, max_length, name)
        assert made.places == [[0, *a, 2, *b, 2] for a, b, _ in expected]
        assert made.rows.next_sentence_label is not None
        assert made.rows.next_sentence_label.tolist() == [label for _, _, label in expected]
        for row, (a, b, _) in zip(made.rows.token_type_ids.tolist(), expected, strict=True):
            assert row == [0] * (len(a) + 2) + [1] * (len(b) + 1) + [0] * (len(row) - len(a) - len(b) - 3)
    else:
        assert made.places == SLOW[name](real.corpus, max_length)
        assert made.rows.next_sentence_label is None and not made.rows.token_type_ids.any()
    text = real.tokens.tolist()
    assert unpadded(made.rows) == [[text[i - FIRST] if i >= FIRST else i for i in row] for row in made.places]
    lengths = made.rows.lengths.tolist()
    assert max(lengths) <= max_length and lengths == made.plan.lengths.tolist() == list(map(len, made.places))
    width = made.rows.input_ids.shape[1]
    assert made.rows.special_mask.tolist() == [[i < FIRST for i in r] + [True] * (width - len(r)) for r in made.places]
    padding = np.arange(width) >= made.rows.lengths[:, None]
    assert (made.rows.input_ids[padding] == made.vocabulary.pad_id).all()


# ---------------------------------------------------------------- coverage
def seen_once(real: Slice, made: Made) -> list[int]:
    """The places of an epoch's inputs, batch by batch in the epoch's order: A and B that follows it, no random B."""
    batches = BatchPlan(examples(made.plan.num_examples), made.plan.num_examples, SEED)
    order, epochs = batches.batch(2)
    assert set(epochs.tolist()) == {2} and sorted(order.tolist()) == list(range(made.plan.num_examples))
    labels, found = made.plan.next_sentence_label, []
    for example in order.tolist():
        row = made.places[example]
        is_random = labels is not None and labels[example] == 1
        found += [i for i in (row[: row.index(2)] if is_random else row) if i >= FIRST]
    return found


def test_every_token_is_covered(real: Slice, made: Made, form: tuple[str, int]) -> None:
    """Unpaired: in exactly one input an epoch. Paired: in at most one A or next B, and all that is missing was trimmed."""
    found, every = seen_once(real, made), range(FIRST, FIRST + len(real.tokens))
    if not FORMATS[form[0]].pairs:
        assert sorted(found) == list(every)
        return
    seen = set(found)
    assert len(found) == len(seen), "a token is read twice outside a random B"
    ends = set()  # of A and next B in inputs without room, where tokens are trimmed
    for row, label in zip(made.places, made.plan.next_sentence_label.tolist(), strict=True):
        if len(row) == form[1]:
            cut = row.index(2)
            ends |= {row[1], row[cut - 1]} | (set() if label else {row[cut + 1], row[-2]})
    missing = [i for i in every if i not in seen]
    gaps = zip(
        (i for i in missing if i - 1 in seen or i == FIRST),
        (i for i in missing if i + 1 in seen or i == every[-1]),
        strict=True,
    )
    untold = [(first, last) for first, last in gaps if first - 1 not in ends and last + 1 not in ends]
    assert untold == [], "tokens are missing where nothing was trimmed"
    assert len(missing) <= made.plan.counts["trimmed_tokens"]


# ---------------------------------------------------------------- masks
def slow_mask(row: list[int], special: list[bool], example: int, pattern: int, vocabulary: Vocabulary) -> list[int]:
    """What the model sees and the labels, one after the other: one token at a time, in Python's integers."""
    key = slow_hashed(slow_stream_key(SEED, "masking"), example, pattern)

    def words(name: str) -> Callable[[int], int]:
        begun = slow_hashed(slow_stream_key(0, name), key)
        return lambda place: slow_hashed(begun, place)

    def unit(word: int) -> float:
        return (word >> 11) / 2**53

    text = [i for i, is_special in enumerate(special) if not is_special]
    count = math.floor(0.15 * len(text) + unit(slow_hashed(slow_stream_key(0, "count"), key)))
    drawable = [i for i in range(vocabulary.size) if i not in vocabulary.special_ids]
    position, action, token = words("position"), words("action"), words("token")
    masked, labels = list(row), [IGNORED] * len(row)
    for i in sorted(text, key=position)[: min(count, len(text))]:
        labels[i] = row[i]
        if (share := unit(action(i))) < 0.8:
            masked[i] = vocabulary.mask_id
        elif share < 0.9:
            masked[i] = drawable[int(unit(token(i)) * len(drawable))]
    return [*masked, *labels]


@pytest.mark.parametrize("name", ["static", "dynamic"])
def test_masks_equal_the_slow_reference(made: Made, name: str) -> None:
    config, examples = MaskingConfig(name), np.arange(made.plan.num_examples)
    by_epoch = {
        epoch: np.hstack(masked_rows(made.rows, examples, np.full_like(examples, epoch), config, SEED, made.vocabulary))
        for epoch in (0, 1, 9, 10, 13, 23)
    }
    for row in examples[:: 1 + len(examples) // 40].tolist():
        ids, special = made.rows.input_ids[row].tolist(), made.rows.special_mask[row].tolist()
        pattern = 3 if name == "static" else 23
        assert by_epoch[23][row].tolist() == slow_mask(ids, special, row, pattern, made.vocabulary)
    equal = {(a, b) for a in by_epoch for b in by_epoch if a < b and np.array_equal(by_epoch[a], by_epoch[b])}
    assert equal == ({(0, 10), (13, 23)} if name == "static" else set())


# ---------------------------------------------------------------- ranks and workers
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_ranks_share_a_batch_without_loss(made: Made, form: tuple[str, int], world_size: int) -> None:
    matched = FORMATS[form[0]].matched_to is not None
    batches = BatchPlan(Epochs(lambda copy, block: made.plan), 8, SEED, 8 * form[1] if matched else None, form[1])
    masking = MaskingConfig("dynamic")
    for step in range(12):
        passes = range(accumulation(8, world_size, 2))
        shares = [[batches.micro_batch(step, i, 2, r, world_size) for i in passes] for r in range(world_size)]
        pairs = [pair for rank in shares for share in rank for pair in zip(*map(list, share), strict=True)]
        whole = batches.batch(step)
        assert Counter(pairs) == Counter(zip(*map(list, whole), strict=True))
        assert all(len(share[0]) for rank in shares for share in rank)
        masked = [
            num_masked(num_maskable(made.plan, x, masking), x, e, masking, SEED).sum()
            for x, e in [whole, *(share for rank in shares for share in rank)]
        ]
        assert masked[0] == sum(masked[1:])
        counts = {sum(len(share[0]) for share in rank) for rank in shares}
        assert matched or counts == {8 // world_size}


def loaded(real: Slice, form: tuple[str, int], vocabulary: Vocabulary, workers: int) -> list[dict[str, object]]:
    """The first micro-batches of a run, as the trainer gets them."""
    config = Config(
        seed=SEED,
        input_format=InputFormatConfig(*form),
        masking=MaskingConfig("dynamic"),
        nsp=NspConfig("auto"),
        batch_size=BatchSizeConfig(8, 4, 1e-3),
        trainer=TrainerConfig("cpu", micro_batch_size=2, workers=workers),
    )
    data = MicroBatches(
        real.store, Epochs(lambda copy, block: plan(real.store, config.input_format, KEY)), config, vocabulary
    )
    generator_of_its_own = torch.Generator().manual_seed(0)
    positions = range(3, len(data))
    return list(PositionLoader(data, None, sampler=positions, num_workers=workers, generator=generator_of_its_own))


def test_workers_change_nothing(real: Slice, made: Made, form: tuple[str, int]) -> None:
    alone, *others = (loaded(real, form, made.vocabulary, workers) for workers in (0, 1, 2))
    assert [batch["position"] for batch in alone] == list(range(3, 3 + len(alone))) and len(alone) >= 1
    for batches in others:
        for one, other in zip(alone, batches, strict=True):
            assert one.keys() == other.keys()
            same = [torch.equal(v, other[k]) if isinstance(v, torch.Tensor) else v == other[k] for k, v in one.items()]
            assert all(same)
