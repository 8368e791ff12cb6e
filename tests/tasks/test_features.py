"""Items as inputs: pair formats, cuts and windows against slow references, up to SQuAD's dev questions; tables; answers."""

from __future__ import annotations

import io
import os
import tarfile
from collections import Counter, defaultdict
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roberta_lab.axes.tokenizer import Encoding, train_bytelevel_bpe, train_wordpiece
from roberta_lab.config import ConfigError, TaskConfig
from roberta_lab.data import tokenizer_files
from roberta_lab.tasks import feature_table, finetuning
from roberta_lab.tasks.families import squad
from roberta_lab.tasks.feature_table import FeatureTable, cached, packed
from roberta_lab.tasks.features import Feature, PairFormat, Sequence, generate
from roberta_lab.tasks.heads.span import NOWHERE, best_answers, best_spans, unreachable
from roberta_lab.tasks.heads.tagging import word_windows
from roberta_lab.tasks.items import Choice, Item, Span, Tagging, TextItem

NEAR = [parent / "shared" for parent in Path(__file__).parents[2:5]]
FOLDERS = [Path(os.environ["ROBERTA_LAB_SHARED"])] if "ROBERTA_LAB_SHARED" in os.environ else NEAR
SHARED = next((f / "data" for f in FOLDERS if (f / "data" / "tasks" / "squad.tar.zst").is_file()), None)
WORDS = "alpha beta gamma delta the of which is"


def features(head: str, items: list[Any], encoding: Encoding, pairs: PairFormat) -> list[Feature]:
    return list(generate(head, items, encoding, pairs))


def rows_of(table: FeatureTable) -> list[Feature]:
    """The features of a table as they were generated."""
    found = []
    for number, item in enumerate(table.item.tolist()):
        spans = [slice(s, s + n) for s, n in zip(table.starts[number], table.lengths[number], strict=True)]
        sequences = tuple(Sequence(table.ids[span].tolist(), table.types[span].tolist()) for span in spans)
        first, places = table.first_place[number], tuple(map(tuple, table.places_of(number).tolist()))
        labels = tuple(table.labels[first : first + len(places)].tolist())
        target, context = tuple(table.target[number].tolist()), tuple(table.context[number].tolist())
        found.append(Feature(item, sequences, target, context, places, labels))
    return found


@pytest.fixture(scope="module")
def encoding() -> Encoding:
    return Encoding(train_bytelevel_bpe(iter([WORDS] * 5), 290))


@pytest.fixture(scope="module")
def pieces() -> Encoding:
    return Encoding(train_wordpiece([WORDS] * 5, 50))


# ---------------------------------------------------------------- texts
def test_pair_formats_are_bert_s_and_roberta_s(encoding: Encoding) -> None:
    a, b = [10, 11], [20, 21, 22]
    assert PairFormat(16, True).join(a, b, encoding) == Sequence([0, 10, 11, 2, 20, 21, 22, 2], [0] * 4 + [1] * 4)
    assert PairFormat(16, False).join(a, b, encoding) == Sequence([0, 10, 11, 2, 2, 20, 21, 22, 2], [0] * 9)
    assert PairFormat(16, True).join(a, None, encoding) == Sequence([0, 10, 11, 2], [0] * 4)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize(("len_a", "len_b"), [(0, 40), (3, 40), (40, 3), (20, 20), (21, 20), (2, 2)])
def test_the_longer_text_is_cut_first(encoding: Encoding, len_a: int, len_b: int, paired: bool) -> None:
    a, b = list(range(100, 100 + len_a)), list(range(200, 200 + len_b))
    pairs = PairFormat(16, paired)
    joined = pairs.join(a, b, encoding)
    while len(a) + len(b) > 16 - pairs.num_specials:  # a slow reference: one token at a time, at a tie from B
        (a if len(a) > len(b) else b).pop()
    assert [i for i in joined.ids if i >= 100] == a + b and len(joined.ids) == len(joined.types) <= 16


def test_one_text_has_no_second_and_scores_are_targets(encoding: Encoding) -> None:
    items = [TextItem("a", "alpha", None, 1), TextItem("b", "alpha", "beta", None)]
    one, two = features("classification", items, encoding, PairFormat(32, True))
    assert one.sequences[0].ids.count(2) == 1 and two.sequences[0].ids.count(2) == 2 and two.sequences[0].types[-1] == 1
    assert (one.target, two.target) == ((1,), (-1,)), "no label is no class"
    scores = [TextItem("a", "alpha", "beta", 2.5), TextItem("b", "alpha", "beta", None)]
    one, two = features("regression", scores, encoding, PairFormat(32, False))
    assert one.target == (2.5,) and np.isnan(two.target[0])


def test_of_a_choice_the_candidate_is_cut_to_128_and_the_text_to_what_is_left(encoding: Encoding) -> None:
    """RoBERTa, Section 5.3. Bytes that never meet are a token each."""
    text, long, short = "x" * 900, "y" * 200, "z" * 30
    [feature] = features("choice", [Choice("r", text, (long, short), 1)], encoding, PairFormat(512, False))
    x, y, z = (encoding.encode_batch([c])[0][0] for c in "xyz")
    first, second = (Counter(sequence.ids) for sequence in feature.sequences)
    assert (first[y], first[x]) == (128, 512 - 4 - 128) and (second[z], second[x]) == (30, 512 - 4 - 30)
    assert feature.target == (1,) and all(len(sequence.ids) == 512 for sequence in feature.sequences)
    [feature] = features("choice", [Choice("r", "x" * 50, (long, short), 1)], encoding, PairFormat(40, True))
    first, second = (Counter(sequence.ids) for sequence in feature.sequences)
    assert (first[y], first[x], second[z], second[x]) == (18, 19, 18, 19), "short inputs are halved"


@pytest.mark.parametrize(
    ("head", "whole", "more"),
    [  # inputs of 24 tokens; bytes that never meet are a token each
        ("classification", TextItem("x", "x" * 22, None, 0), TextItem("x", "x" * 23, None, 0)),
        ("classification", TextItem("x", "x" * 10, "y" * 10, 0), TextItem("x", "x" * 10, "y" * 11, 0)),
        ("regression", TextItem("x", "x" * 19, "y", 1.0), TextItem("x", "x" * 20, "y", 1.0)),
        ("choice", Choice("x", "x" * 17, ("y" * 3, "z"), 0), Choice("x", "x" * 18, ("y" * 3, "z"), 0)),
        ("choice", Choice("x", "x" * 10, ("y" * 10, "z"), 0), Choice("x", "x" * 10, ("y" * 11, "z"), 0)),
        ("span", Span("x", "x" * 10, "y" * 90, None), Span("x", "x" * 11, "y", None)),
        ("tagging", Tagging("x", ("x" * 22, "y" * 21), None), Tagging("x", ("x" * 23,), None)),
    ],
)
def test_what_lost_an_end_is_marked(head: str, whole: Item, more: Item, encoding: Encoding) -> None:
    pairs = PairFormat(24, False)
    made = features(head, [whole, more, whole], encoding, pairs)
    assert {feature.item for feature in made if feature.cut} == {1}
    assert not any(f.cut for f in features(head, [whole, more], encoding, PairFormat(512, False)))


def test_inputs_too_short_for_windows_are_refused(encoding: Encoding) -> None:
    with pytest.raises(ConfigError, match="15 tokens are too short for tasks; allowed is 16 or more"):
        features("span", [Span("x", "q", "c", None)], encoding, PairFormat(15, True))


# ---------------------------------------------------------------- windows over a context, against a slow reference
def slow_windows(item: Span, encoding: Encoding, pairs: PairFormat) -> list[tuple[list[int], tuple, tuple, tuple]]:
    """Ids, target, context and offsets of each window: characters are looked up one by one."""
    ids, offsets, owners_of = encoded(encoding, item.context)
    question = encoding.encode_batch([item.question])[0][: min(64, (pairs.max_length - pairs.num_specials) // 2)]
    owners = sorted({token for i in range(*(item.answer or (0, 0))) for token in owners_of[i]})
    found, start = [], 0
    while True:
        front = [encoding.bos_id, *question, encoding.eos_id, *([] if pairs.paired else [encoding.eos_id])]
        window = list(range(start, min(start + pairs.max_length - len(front) - 1, len(ids))))
        places = {token: len(front) + i for i, token in enumerate(window)}
        here = bool(owners) and all(owner in places for owner in owners)
        target = (places[owners[0]], places[owners[-1]], 1) if here else (0, 0, 0)
        row = front + [ids[token] for token in window] + [encoding.eos_id]
        context = (len(front), len(front) + len(window))
        found.append((row, target, context, tuple(offsets[token] for token in window)))
        if not window or window[-1] == len(ids) - 1:
            return found
        start += pairs.max_length // 4


@cache
def encoded(encoding: Encoding, text: str) -> tuple[list[int], list[tuple[int, int]], dict[int, list[int]]]:
    """Ids, offsets, and the tokens of each character."""
    [(ids, offsets)] = encoding.encode_with_offsets([text])
    owners = defaultdict(list)
    for token, (start, end) in enumerate(offsets):
        for i in range(start, end):
            owners[i].append(token)
    return ids, offsets, owners


def span_task(**own: Any) -> TaskConfig:
    return TaskConfig(**{"name": "squad2", "family": "squad", "head": "span", "metric": "f1", "max_length": 40, **own})


def test_a_stride_of_the_users_own_moves_the_windows(encoding: Encoding) -> None:
    items = [Span("x", "q", "x" * 156, None)]
    starts = {}
    for stride in (None, 10, 3, 17):
        made = features("span", items, encoding, PairFormat.for_task(span_task(stride=stride), 512, False))
        starts[stride] = [feature.places[0][0] for feature in made]
        assert set().union(*(feature.places for feature in made)) == {(i, i + 1) for i in range(156)}, (
            "no token is left out"
        )
    assert starts[None] == starts[10] == list(range(0, starts[10][-1] + 1, 10)), (
        "the usual one is a quarter of the length"
    )
    assert starts[3] == list(range(0, starts[3][-1] + 1, 3)) and starts[17] == list(range(0, starts[17][-1] + 1, 17))


def test_only_a_stride_that_moves_windows_makes_other_features(encoding: Encoding) -> None:
    def key(**own: Any) -> str:
        task = span_task(**own)
        return feature_table.key_of(task.head, [], encoding, PairFormat.for_task(task, 512, False))

    assert key() == key(stride=10) != key(stride=9)
    assert key(head="tagging") == key(head="tagging", stride=9)
    assert PairFormat.for_task(span_task(max_length=512), 512, False).stride == 128


def test_a_stride_that_would_leave_tokens_out_is_one_line(encoding: Encoding) -> None:
    """40 - 4 tokens for question and context, half for each at most."""
    assert PairFormat.for_task(span_task(stride=17), 512, False).stride == 17
    with pytest.raises(
        ConfigError, match=r"^task.stride=18: inputs of 40 tokens have room for 18 of a context .* null for 10\.$"
    ):
        PairFormat.for_task(span_task(stride=18), 512, False)
    with pytest.raises(ConfigError, match=r"^task\.stride=128: inputs of 64 tokens"):
        PairFormat.for_task(span_task(stride=128, max_length=512), 64, True)


def compare(items: list[Span], encoding: Encoding, pairs: PairFormat, every: int = 1) -> Counter[str]:
    """Every feature equals the reference's, and every answer that the reference's tokens spell is reached; the others' reasons.

    With `every`, of the contexts one in so many, and all items that have a reason.
    """
    contexts = {context: i for i, context in enumerate(dict.fromkeys(item.context for item in items))}
    table = packed(iter(features("span", items, encoding, pairs)))  # type: ignore[arg-type]
    reasons, made, row = unreachable(items, table, 30), rows_of(table), 0
    for number, item in enumerate(items):
        if contexts[item.context] % every and item.id not in reasons:
            while row < len(made) and made[row].item == number:
                row += 1
            continue
        reached = "nothing"
        for ids, target, context, offsets in slow_windows(item, encoding, pairs):
            feature = made[row]
            assert feature.item == number and feature.sequences[0].ids == ids and len(ids) <= pairs.max_length
            assert (feature.target, feature.context, feature.places) == (target, context, offsets), item
            assert feature.sequences[0].types == [int(pairs.paired and i >= context[0]) for i in range(len(ids))]
            if target[2] and target[1] - target[0] < 30:
                left, right = offsets[target[0] - context[0]][0], offsets[target[1] - context[0]][1]
                reached = item.context[left:right].strip()
            row += 1
        if item.answer:
            assert (item.id in reasons) == (reached != item.answer_text.strip()), (item, reached, reasons.get(item.id))
    assert row == len(table)
    return Counter(reasons.values())


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("length", [16, 24, 64])
def test_windows_equal_a_slow_reference(encoding: Encoding, pieces: Encoding, length: int, paired: bool) -> None:
    context = "alpha the of beta which is gamma delta, and so on -- until the naïve end\u200b is here"
    spans = [None, *((i, j) for i in range(0, len(context), 7) for j in range(i + 1, min(i + 30, len(context)), 5))]
    items = [Span(str(i), "beta " * (i % 40), context, span) for i, span in enumerate(spans)]
    items = [item for item in items if item.answer is None or item.answer_text.strip() == item.answer_text]
    for one in (encoding, pieces):
        reasons = compare([*items, Span("none", "beta", "", None)], one, PairFormat(length, paired))
        assert reasons.total() < len(items), "most answers are reached"


def test_answers_that_no_window_can_give_have_a_reason(encoding: Encoding, pieces: Encoding) -> None:
    context = "alpha beta " + "x" * 60 + " gamma"
    items = [
        Span("whole", "q", context, (6, 10)),
        Span("inside", "q", context, (7, 9)),
        Span("long", "q", context, (11, 71)),
        Span("many", "q", context, (11, 50)),
        Span("none", "q", context, None),
    ]
    table = packed(iter(features("span", items, encoding, PairFormat(64, True))))  # type: ignore[arg-type]
    assert unreachable(items, table, 30) == {"inside": "inside a token", "long": "longer than a window", "many": "too many tokens"}  # fmt: skip
    unseen = [Span("unseen", "q", "alpha \u200b beta", (6, 7))]
    table = packed(iter(features("span", unseen, pieces, PairFormat(64, True))))  # type: ignore[arg-type]
    assert unreachable(unseen, table, 30) == {"unseen": "of no token"}
    assert unreachable([], packed([]), 30) == {}, "of a split without questions"


# ---------------------------------------------------------------- windows over words
@pytest.mark.parametrize("room", [1, 2, 5, 8, 30, 1000])
def test_every_word_is_labelled_once_with_its_neighbours_around_it(room: int) -> None:
    draw = np.random.default_rng(room)
    for number in range(60):
        lengths = draw.integers(1, min(room, 6) + 1, number).tolist()
        windows = list(word_windows(lengths, room))
        assert [word for _, own in windows for word in own] == list(range(number))
        for window, own in windows:
            assert set(own) <= set(window) and sum(lengths[word] for word in window) <= room
        if room >= 30:
            for (before, first), (after, second) in pairwise(windows):
                assert after.start <= first.stop == second.start <= before.stop, "the cut lies inside the overlap"


def test_labels_stand_on_first_pieces_and_a_word_without_pieces_is_unknown(
    encoding: Encoding, pieces: Encoding
) -> None:
    words = ("alpha", "zzz", "\u200b", "beta", "delta" * 30)
    item = Tagging("x", words, (0, 1, 2, 3, 4))
    for one, paired in ((encoding, False), (pieces, True)):
        found = features("tagging", [item, Tagging("e", (), ())], one, PairFormat(24, paired))
        labelled = {}
        for feature in found[:-1]:
            [sequence] = feature.sequences
            for (token, word), label in zip(feature.places, feature.labels, strict=True):
                text = (" " if word else "") + words[word]
                [own] = one.encode_batch([text])
                own = own[:22] or [one.unk_id]
                assert sequence.ids[token : token + len(own)] == own and label == word
                labelled[word] = label
        assert sorted(labelled) == [0, 1, 2, 3, 4]
        assert found[-1].sequences[0].ids == [one.bos_id, one.eos_id], "a sentence without words"


# ---------------------------------------------------------------- tables
def some_items() -> dict[str, list[Item]]:
    context = "alpha the of beta which is gamma delta and so on until the end is here"
    return {
        "classification": [TextItem(str(i), "alpha " * i, "beta" if i % 2 else None, i % 3) for i in range(20)],
        "regression": [TextItem(str(i), "alpha " * i, None, i / 3) for i in range(20)],
        "choice": [Choice(str(i), "alpha " * i, ("beta", "gamma " * i), i % 2) for i in range(20)],
        "span": [Span(str(i), "q", context[: 3 * i], (0, 5) if i > 4 else None) for i in range(20)],
        "tagging": [Tagging(str(i), ("alpha", "zz") * i, (1, 0) * i) for i in range(20)],
    }


@pytest.mark.parametrize("head", some_items())
def test_a_table_holds_what_was_generated_and_its_file_too(head: str, encoding: Encoding, tmp_path: Path) -> None:
    items, pairs = some_items()[head], PairFormat(32, True)
    expected = features(head, items, encoding, pairs)
    for _ in range(2):
        table = cached(head, items, encoding, pairs, tmp_path)
        assert rows_of(table) == expected
        assert table.num_cut == len({feature.item for feature in expected if feature.cut})
    said = f"{table.num_cut} of 20 train items" if table.num_cut else ""
    assert finetuning._cut({"train": items}, {"train": table}) == said
    assert (table.num_cut > 0) == (head in ("classification", "regression", "choice"))
    batch = table.batch(np.array([5, 0, 19]), encoding.pad_id)
    sequences = [sequence for i in (5, 0, 19) for sequence in expected[i].sequences]
    longest = max(len(sequence.ids) for sequence in sequences)
    for row, sequence in enumerate(sequences):
        rest = longest - len(sequence.ids)
        assert batch["input_ids"][row].tolist() == sequence.ids + [encoding.pad_id] * rest
        assert batch["token_type_ids"][row].tolist() == sequence.types + [0] * rest
        assert batch["attention_mask"][row].tolist() == [True] * len(sequence.ids) + [False] * rest
        if head == "span":
            assert np.flatnonzero(batch["context"][row]).tolist() == list(range(*expected[(5, 0, 19)[row]].context))
        if head == "tagging":
            feature, labels = expected[(5, 0, 19)[row]], [-100] * longest
            for (token, _), label in zip(feature.places, feature.labels, strict=True):
                labels[token] = label
            assert batch["labels"][row].tolist() == labels
    if head != "choice":
        assert "attention_mask" not in table.batch(np.array([7, 7]), 1), "inputs of one length need none"
    assert [tuple(row) for row in batch["target"]] == [expected[i].target for i in (5, 0, 19)]  # fmt: skip


def test_features_are_made_once_and_again_when_anything_differs(
    encoding: Encoding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, items = [], some_items()["span"]
    original = feature_table.generate
    monkeypatch.setattr(feature_table, "generate", lambda *a: made.append(1) or original(*a))
    pairs = PairFormat(32, True)
    for _ in range(3):
        first = cached("span", items, encoding, pairs, tmp_path)
    assert len(made) == 1
    other = Encoding(train_bytelevel_bpe(iter(["other words"] * 5), 270))
    for changed in ((items[1:], encoding, pairs), (items, other, pairs), (items, encoding, PairFormat(24, True)), (items, encoding, PairFormat(32, False))):  # fmt: skip
        cached("span", *changed, tmp_path)
    assert len(made) == 5 and len(list((tmp_path / "features").iterdir())) == 5
    for path in (tmp_path / "features").iterdir():  # a full disk, a flipped bit
        content = bytearray(path.read_bytes())
        content[len(content) // 3] ^= 1
        path.write_bytes(content[: len(content) // 2] if len(content) % 2 else content)
        os.utime(path, ns=(1, 1))
    assert rows_of(cached("span", items, encoding, pairs, tmp_path)) == rows_of(first) and len(made) == 6


def test_items_with_different_numbers_of_candidates_are_refused(encoding: Encoding) -> None:
    items = [Choice("a", "alpha", ("b", "c"), 0), Choice("b", "alpha", ("b", "c", "d"), 0)]
    with pytest.raises(ConfigError, match="item 2 has 3 candidates, not 2"):
        packed(iter(features("choice", items, encoding, PairFormat(32, True))))  # type: ignore[arg-type]


# ---------------------------------------------------------------- the best span of all windows
@pytest.mark.parametrize("most", [1, 3, 30])
def test_the_best_span_is_that_of_all_pairs(most: int) -> None:
    """Against a loop over every (first, last)."""
    draw = np.random.default_rng(most)
    ends, context = draw.normal(size=(40, 20, 2)), np.sort(draw.integers(0, 21, (40, 2)), axis=1)
    ends[3] = np.nan
    scores, first, last = best_spans(ends, context, most)
    for i, (start, end) in enumerate(context):
        every = {(a, b): ends[i, a, 0] + ends[i, b, 1] for a in range(start, end) for b in range(a, min(a + most, end))}
        if not every:
            assert scores[i] == NOWHERE
        elif i == 3:
            assert (first[i], last[i]) in every and np.isfinite(scores[i])
        else:
            assert (first[i], last[i]) == max(every, key=every.__getitem__)
            assert scores[i] == pytest.approx(max(every.values()))


def test_an_answer_is_that_of_the_best_window_and_empty_where_there_probably_is_none() -> None:
    """Two windows of one question, one of another, each of three tokens."""
    items = [Span("a", "q", "one two three four", (4, 7)), Span("b", "q", "five six seven", None)]
    offsets = {0: [(0, 3), (3, 7), (7, 13)], 1: [(3, 7), (7, 13), (13, 18)], 2: [(0, 4), (4, 8), (8, 14)]}
    rows = [
        Feature((0, 0, 1)[i], (Sequence([9] * 4, [0] * 4),), (0, 0, 0), (1, 4), tuple(offsets[i])) for i in range(3)
    ]
    table = packed(iter(rows))
    ends = np.log(np.full((3, 4, 2), 0.1))
    ends[0, 2], ends[1, 3, 0], ends[1, 3, 1], ends[2, 1, 0], ends[2, 3, 1] = np.log([0.6, 0.7, 0.7, 0.5, 0.5])[
        [0, 1, 2, 3, 4]
    ]
    always = [(np.array([2, 0]), ends[[2, 0]], None), (np.array([1]), ends[[1]], None)]
    found = best_answers(items, table, 30, always)
    assert [p["prediction"] for p in found] == ["four", "five six seven"] and "no_answer" not in found[0]
    first, second = best_answers(items, table, 30, [(np.array([0, 1, 2]), ends, np.array([3.0, -3.0, -0.5]))])
    assert first == {"id": "a", "prediction": "two", "answer": "two", "score": pytest.approx(np.log(0.36 / (1 + np.exp(-3)))), "no_answer": -3.0}  # fmt: skip
    assert (second["prediction"], second["answer"], second["no_answer"]) == ("", "five six seven", 0.5)


# ---------------------------------------------------------------- all of SQuAD
def shared_tokenizer(name: str, path: Path) -> Encoding:
    zstandard = pytest.importorskip("zstandard")
    assert SHARED is not None
    for file in (SHARED / "tokenizers" / name).glob("[vm]*.zst"):
        with open(file, "rb") as packed_file:
            (path / file.stem).write_bytes(zstandard.ZstdDecompressor().stream_reader(packed_file).read())
    return Encoding(tokenizer_files.load_of_model(path))


def shared_squad(name: str, path: Path) -> list[Span]:
    zstandard = pytest.importorskip("zstandard")
    assert SHARED is not None
    with open(SHARED / "tasks" / "squad.tar.zst", "rb") as file:
        content = zstandard.ZstdDecompressor().stream_reader(file).read()
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        [member] = [m for m in archive if m.name.endswith(name)]
        (path / name).write_bytes(archive.extractfile(member).read())  # type: ignore[union-attr]
    return squad.read(path / name, True)  # type: ignore[return-value]


@pytest.mark.skipif(SHARED is None, reason=f"no data/tasks/squad.tar.zst in {', '.join(map(str, FOLDERS))}")
@pytest.mark.parametrize(
    ("file", "vocabulary", "paired", "reasons"),
    [
        ("dev-v1.1.json", "roberta", False, {"inside a token": 107, "too many tokens": 10}),
        ("dev-v2.0.json", "bert-base-uncased", True, {"inside a token": 6, "too many tokens": 9}),
    ],
)
def test_squad_s_dev_questions(
    file: str, vocabulary: str, paired: bool, reasons: dict[str, int], tmp_path: Path
) -> None:
    """Windows equal the slow reference's, of each eighth context; of all answers those that map to no text are counted."""
    items = shared_squad(file, tmp_path)
    assert len(items) == {"dev-v1.1.json": 10_570, "dev-v2.0.json": 11_873}[file]
    assert compare(items, shared_tokenizer(vocabulary, tmp_path), PairFormat(384, paired), every=8) == reasons


def test_targets_are_of_a_type_that_every_device_has() -> None:
    """Metal has no float64."""
    table = packed([Feature(0, (Sequence([0, 2], [0, 0]),), (2.6,))])
    assert table.batch(np.arange(1), 1)["target"].dtype == np.float32
