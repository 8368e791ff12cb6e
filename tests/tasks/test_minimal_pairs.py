"""Minimal pairs: likelihoods against a slow loop over transformers, scores against counts by hand, files and what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from roberta_lab.axes.tokenizer import Encoding, train_bytelevel_bpe, train_wordpiece
from roberta_lab.config import ConfigError, EvaluateConfig, ModelConfig, TaskConfig
from roberta_lab.model.encoder import Encoder, PretrainingModel
from roberta_lab.model.huggingface import model_folder
from roberta_lab.tasks import zero_shot
from roberta_lab.tasks.zero_shot import minimal_pairs, pseudo_likelihood
from roberta_lab.tasks.zero_shot.masked_model import MaskedModel
from roberta_lab.tasks.zero_shot.minimal_pairs import Pair, Pairs, interval

CONFIG = ModelConfig(layers=2, hidden=16, heads=2, ffn=40, layer_norm_eps=1e-6)
LENGTH = 40
TEXTS = [
    "The cats that he saw annoy Tim, don't they?",
    "The cats that he saw annoys Tim, don't they?",
    "Unbelievably, nobody's dogs ever slept.",
    "Who sat?",
    "The cats that he saw annoy Tim, don't they?",
    "Who sat there",
]
TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "bytelevel_bpe": lambda: train_bytelevel_bpe(iter(TEXTS[1:4] * 3), 290),
    "wordpiece": lambda: train_wordpiece(TEXTS[1:4] * 3, 55),
}


def exported(folder: Path, kind: str = "bytelevel_bpe", token_types: int = 0) -> Path:
    """A folder in Hugging Face's format, every parameter random, so that no two tokens are equally likely."""
    made = TOKENIZERS[kind]()
    (folder / "tokenizer").mkdir(parents=True)
    made.save(str(folder / "tokenizer" / "tokenizer.json"))
    torch.manual_seed(3)
    model = PretrainingModel(CONFIG, made.get_vocab_size(), LENGTH, token_types, nsp=False)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
            if name.endswith("positions.weight"):
                parameter[:2] = 0
    model_folder.write(folder / "model", model.state_dict(), CONFIG, folder / "tokenizer", "a card\n", {"run_id": "x"})
    return folder / "model"


def slow(folder: Path, text: str, within_word: str) -> float:
    """The definition: a forward pass of transformers for each token, with what is hidden in its place."""
    transformers = pytest.importorskip("transformers")
    transformers.logging.disable_progress_bar()
    model = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(text, return_tensors="pt")
    words, ids = inputs.word_ids(), inputs["input_ids"]
    total = 0.0
    for place in range(1, ids.shape[1] - 1):
        masked = ids.clone()
        masked[0, place] = tokenizer.mask_token_id
        if within_word == "l2r":
            for later in range(place + 1, ids.shape[1] - 1):
                if words[later] == words[place]:
                    masked[0, later] = tokenizer.mask_token_id
        with torch.no_grad():
            logits = model(**{**inputs, "input_ids": masked}).logits
        total += float(logits[0, place].log_softmax(-1)[ids[0, place]])
    return total


def scores(model: MaskedModel, texts: list[str], within_word: str = "original", **options: int) -> np.ndarray:
    sentences = pseudo_likelihood.encode(model.encoding, texts, within_word)
    return pseudo_likelihood.pseudo_log_likelihoods(model, sentences, **options)


# ---------------------------------------------------------------- likelihoods
@pytest.mark.parametrize(("kind", "types"), [("bytelevel_bpe", 0), ("wordpiece", 0), ("bytelevel_bpe", 2)])
def test_likelihoods_are_those_of_a_slow_loop_over_transformers(tmp_path: Path, kind: str, types: int) -> None:
    folder = exported(tmp_path, kind, types)
    model = MaskedModel.from_folder(str(folder))
    found = {rule: scores(model, TEXTS, rule) for rule in pseudo_likelihood.WORD}
    for rule, own in found.items():
        assert own[:3] == pytest.approx([slow(folder, text, rule) for text in TEXTS[:3]], abs=1e-4)
    assert abs(found["original"] - found["l2r"])[:3].min() > 0.01, "the two rules hide other tokens"


def test_likelihoods_do_not_depend_on_batches_and_memory_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A distinct sentence is scored once: no two rows that the model sees are the same."""
    seen: list[tuple[int, ...]] = []
    real = Encoder.at

    def counted(self: Encoder, rows: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        assert rows.numel() <= size or len(rows) == 1
        seen.extend(tuple(row) for row in rows.tolist())
        return real(self, rows, places)

    monkeypatch.setattr(Encoder, "at", counted)
    model = MaskedModel.from_folder(str(exported(tmp_path)))
    found = []
    for size in (1, 50, 1 << 12):
        seen.clear()
        found.append(scores(model, TEXTS, batch_tokens=size))
        assert len(seen) == sum(len(ids) for ids in model.encoding.encode_batch([*dict.fromkeys(TEXTS)]))
        assert found[-1] == pytest.approx(found[0], abs=1e-4)
    assert found[0][0] == found[0][4] != found[0][1]
    told: list[tuple[int, int]] = []
    seen.clear()
    scores(model, TEXTS, progress=lambda done, total: told.append((done, total)))
    assert sum(done for done, _ in told) == told[0][1] == len(seen)


def test_the_last_layer_at_one_place_is_the_whole_layer_there() -> None:
    torch.manual_seed(0)
    encoder = Encoder(CONFIG, 50, LENGTH).eval()
    ids, places = torch.randint(5, 50, (3, 7)), torch.tensor([0, 6, 3])
    assert torch.allclose(encoder.at(ids, places), encoder(ids)[torch.arange(3), places], atol=1e-6)


# ---------------------------------------------------------------- scores
def pairs(*rows: tuple[str, str]) -> Pairs:
    """Pairs of (paradigm, field)."""
    return Pairs([Pair(str(i), "a", "b", name, field, Path("f"), i) for i, (name, field) in enumerate(rows)])


def test_a_tie_counts_half_and_paradigms_count_alike() -> None:
    data = pairs(("x", "syntax"), ("y", "syntax"), ("x", "syntax"), ("x", "syntax"), ("z", ""))
    good, bad = np.array([-1.0, -5.0, -2.0, -3.0, -1.0]), np.array([-2.0, -4.0, -2.0, -9.0, -2.0])
    lengths = np.array([4, 3, 3, 3, 3]), np.array([3, 3, 3, 4, 4])
    found = data.scored(good, bad, *lengths)
    x, y, z = 100 * 2.5 / 3, 0.0, 100.0
    assert found.metrics == pytest.approx(
        {
            **{"accuracy": (x + y + z) / 3, "field/syntax": (x + y) / 2, "fewer_tokens": (50 + 50 + 100) / 3},
            **{"paradigm/x": x, "paradigm/y": y, "paradigm/z": z},
        }
    )
    assert (found.score, found.chance) == pytest.approx((found.metrics["accuracy"], 200 / 3))
    first = next(iter(found.predictions))
    assert first == {"id": "0", "paradigm": "x", "good": -1.0, "bad": -2.0}


def test_the_interval_is_that_of_pairs_drawn_again_within_paradigms() -> None:
    """Against the formula for a mean of means, where both hold; and a paradigm without variance adds none."""
    draw = np.random.default_rng(0)
    points = [draw.choice([0.0, 0.5, 1.0], size=n, p=p) for n, p in ((400, (0.3, 0.1, 0.6)), (100, (0.5, 0, 0.5)))]
    low, high = interval([*points, np.ones(7)])
    mean = sum(own.mean() for own in points) / 3 + 1 / 3
    error = np.sqrt(sum(own.var() / len(own) for own in points)) / 3
    assert (low, high) == pytest.approx((100 * (mean - 1.96 * error), 100 * (mean + 1.96 * error)), abs=0.3)
    assert interval([np.ones(5), np.zeros(9)]) == pytest.approx((50.0, 50.0))


def test_the_same_tokens_are_a_tie_and_random_weights_guess(tmp_path: Path) -> None:
    """WordPiece lower-cases, so the two sentences of the first pair are one input."""
    model = MaskedModel.from_folder(str(exported(tmp_path, "wordpiece")))
    draw = np.random.default_rng(0)
    words = ["the", "cats", "that", "he", "saw", "annoy", "tim", "who", "sat"]
    made = [(" ".join(draw.choice(words, 5)), " ".join(draw.choice(words, 5))) for _ in range(600)]
    data = Pairs([Pair(str(i), a, b, f"p{i % 6}", "", Path("f"), i) for i, (a, b) in enumerate(made)])
    found = data.measure(model, EvaluateConfig(), lambda done, total: None)
    assert found.low < 50 < found.high and found.high - found.low < 10
    tie = Pairs([Pair("0", "The Cats sat", "the cats sat", "p", "", Path("f"), 1)])
    assert tie.measure(model, EvaluateConfig(), lambda done, total: None).score == 50


# ---------------------------------------------------------------- files
def task(folder: Path | str, **options: object) -> TaskConfig:
    return replace(TaskConfig("blimp", "minimal_pairs", "mlm", metric="accuracy", path=str(folder)), **options)


def line(good: str, bad: str, **more: object) -> str:
    return json.dumps({"sentence_good": good, "sentence_bad": bad, **more}) + "\n"


def test_json_lines_and_text_are_read_a_file_is_a_paradigm_unless_it_says_more(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        line("a b", "b a", UID="one", field="syntax/semantics") + "\n" + line("c", "c", field="syntax_semantics")
    )
    (tmp_path / "own.txt").write_text("Good one.\nBad one.\n\nGood two.\nBad two.\n")
    (tmp_path / "README.txt").write_text("no pairs\n")
    found = minimal_pairs.read(task(tmp_path))
    assert [(p.id, p.good, p.bad, p.paradigm, p.field, p.line) for p in found.pairs] == [
        ("a/1", "a b", "b a", "one", "syntax_semantics", 1),
        ("a/3", "c", "c", "a", "syntax_semantics", 3),
        ("own/1", "Good one.", "Bad one.", "own", "", 1),
        ("own/4", "Good two.", "Bad two.", "own", "", 4),
    ]
    encoding = Encoding(TOKENIZERS["bytelevel_bpe"]())
    assert found.notes(encoding, LENGTH) == ("4 pairs in 3 paradigms; 1 hold the same sentence twice and count half",)


def test_only_whole_names_of_notes_are_no_paradigms(tmp_path: Path) -> None:
    for name in ("Readme", "LICENSE", "licence", "licensing", "readmes"):
        (tmp_path / f"{name}.txt").write_text("Good one.\nBad one.\n")
    (tmp_path / "licensor_present.jsonl").write_text(line("a", "b"))
    assert [*minimal_pairs.files(task(tmp_path))] == ["licensing", "licensor_present", "readmes"]


def test_blimp_is_found_in_the_folders_that_it_comes_in(tmp_path: Path) -> None:
    for place in ("data", "BLiMP", "BLiMP/data"):
        (tmp_path / place).mkdir()
        (tmp_path / place / f"{place.replace('/', '_')}.jsonl").write_text(line("a", "b"))
        assert list(minimal_pairs.files(task(tmp_path))) == [place.replace("/", "_")], "the nearest to BLiMP's own"


def test_num_dev_limits_each_paradigm_by_a_draw_that_grows(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / f"{name}.jsonl").write_text("".join(line(f"good {i}", f"bad {i}") for i in range(30)))
    few, more = (minimal_pairs.read(task(tmp_path, num_dev=n)).pairs for n in (5, 12))
    assert [sum(p.paradigm == name for p in few) for name in ("x", "y")] == [5, 5]
    assert {p.id for p in few} < {p.id for p in more} and len(more) == 24
    assert [p.line for p in few[:5]] != [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.jsonl", line("a", "b") + "{", r"a\.jsonl, line 2: no JSON"),
        ("a.jsonl", "[1]\n", r"a\.jsonl, line 1: no JSON object"),
        ("a.jsonl", '{"sentence_good": "a"}\n', r"a\.jsonl, line 1: sentence_bad is None\. Allowed: a sentence"),
        ("a.jsonl", line("a", "b") + line("a", "\ud83d"), r"a\.jsonl, line 2: \\ud83d is half a surrogate pair"),
        ("a.jsonl", line("a", " "), r"a\.jsonl, line 1: sentence_bad is ' '"),
        ("a.jsonl", line("a", "b", UID=3), r"a\.jsonl, line 1: UID is 3\. Allowed: a name"),
        ("a.jsonl", "\n", r"a\.jsonl: there are no pairs in it"),
        ("a.txt", "one\ntwo\n\nthree\n", r"a\.txt, line 4: the last sentence stands alone\. Allowed: two lines a pair"),
        ("a.txt", "\udcff", r"a\.txt, line 1: not UTF-8"),
        ("a.csv", "a,b\n", r"task\.path=.*: there are none in it\. Allowed: a folder with minimal pairs in \.jsonl or \.txt"),
    ],
)  # fmt: skip
def test_a_bad_file_is_one_line_with_its_place(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match=said) as error:
        minimal_pairs.read(task(tmp_path))
    assert "\n" not in str(error.value)


def test_other_mistakes_are_one_line_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^task=blimp needs its files: task\.path=FOLDER with minimal pairs"):
        minimal_pairs.read(task(""))
    with pytest.raises(ConfigError, match=r"^task\.path=nowhere: no such folder\."):
        minimal_pairs.read(task("nowhere"))
    with pytest.raises(ConfigError, match=r"^task\.metric=f1: unknown for blimp\. Allowed: accuracy\."):
        zero_shot.check(task("", metric="f1"))
    (tmp_path / "a.txt").write_text("short\nshort\n")
    (tmp_path / "a.jsonl").write_text(line("a", "b"))
    with pytest.raises(ConfigError, match=r"a\.jsonl and a\.txt: two files of one name would be one paradigm"):
        minimal_pairs.read(task(tmp_path))


def test_a_pair_that_the_model_cannot_read_counts_half(tmp_path: Path) -> None:
    model = MaskedModel.from_folder(str(exported(tmp_path)))
    long, fits = "long " * 50, [("Who sat?", "Sat who?"), ("The cats saw", "He saw the cats")]
    data, rest = (
        Pairs([Pair(str(i), *pair, "p", "", Path("f"), i) for i, pair in enumerate(own)])
        for own in ([fits[0], (long, "Who sat?"), fits[1]], fits)
    )
    assert data.notes(model.encoding, LENGTH) == (
        "3 pairs in 1 paradigms; 1 hold a sentence of more than the model's 40 tokens and count half",
    )
    found, of_rest = (own.measure(model, EvaluateConfig(), lambda done, total: None) for own in (data, rest))
    assert found.score == pytest.approx((2 * of_rest.score + 50) / 3)
    assert [one["good"] is None for one in found.predictions] == [False, True, False]
    with pytest.raises(ConfigError, match=r"^f, line 4: every pair holds a sentence of more than 40 tokens"):
        replace(data, pairs=[Pair("0", long, "Who sat?", "p", "", Path("f"), 4)]).measure(
            model, EvaluateConfig(), print
        )
