"""Predictions are those of transformers over the same folder; files come in blocks and out whole."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from small_run import SHORT, small_source  # noqa: F401 (a fixture)
from tokenizers import AddedToken, Tokenizer, models

from roberta_lab.axes import tokenizer
from roberta_lab.axes.tokenizer import train_bytelevel_bpe, train_wordpiece, wordpiece
from roberta_lab.cli import launched, main
from roberta_lab.config import ConfigError, ModelConfig, PredictConfig
from roberta_lab.data import prediction_files, tokenizer_files
from roberta_lab.model import predictor
from roberta_lab.model.encoder import PretrainingModel
from roberta_lab.model.huggingface import model_folder
from roberta_lab.model.predictor import Predictor, cosine_similarities, nearest, printable
from roberta_lab.runs import compose
from roberta_lab.training.devices import device_of, on_cuda

CONFIG = ModelConfig(layers=2, hidden=16, heads=2, ffn=40, dropout=0.2, attention_dropout=0.3)
TEXTS = ["the cat sat on the mat", " The Dog's log, naïve", "a log on the mat", "日本 🙂 x", "the dog sat"]
MASKED = ["the {m} sat", "{m}", "a {m} on the {m}, {m}{m} x", "naïve \t {m}'s log 日本", " the cat </s> <s> sat {m} "]
LENGTH = 40


def bert_like() -> Tokenizer:
    words = ["the", "cat", "sat", "on", "##at", "m", "log", ",", "'", "dog", "s", "##s", "n", "##i", "x", "a", "b"]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    made = wordpiece(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    made.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in pieces[:5]])
    return made


KINDS: dict[str, tuple[Callable[[], Tokenizer], int]] = {  # tokenizer, token types; 0 makes RoBERTa's type, if pad is 1
    "roberta": (lambda: train_bytelevel_bpe(iter(TEXTS * 9), 290), 0),
    "bert": (bert_like, 2),
    "roberta with WordPiece": (lambda: train_wordpiece(TEXTS * 9, 48), 0),
}


def exported(tmp_path: Path, name: str) -> Path:
    """A folder in Hugging Face's format, every weight random."""
    make, token_types = KINDS[name]
    (tmp_path / "tokenizer").mkdir()
    made = make()
    made.save(str(tmp_path / "tokenizer" / "tokenizer.json"))
    encoding = tokenizer.load(tmp_path / "tokenizer")
    torch.manual_seed(3)
    model = PretrainingModel(CONFIG, encoding.vocab_size, LENGTH, token_types, token_types > 0, encoding.pad_id)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
        model.encoder.embeddings.positions.weight[:2] = 0
    model_folder.write(tmp_path / "hf", model.state_dict(), CONFIG, tmp_path / "tokenizer", "card\n", {})
    return tmp_path / "hf"


def predictor_of(folder: Path) -> Predictor:
    found = model_folder.read(folder)
    encoding = tokenizer.Encoding(tokenizer_files.load_of_model(folder))
    return Predictor(found.model(), encoding, found.max_length)


@pytest.fixture
def roberta(tmp_path: Path) -> Predictor:
    return predictor_of(exported(tmp_path, "roberta"))


# ---------------------------------------------------------------- against transformers
@pytest.mark.parametrize("name", KINDS)
def test_masks_are_filled_as_transformers_does(name: str, tmp_path: Path) -> None:
    """Tokens and probabilities of a plain AutoModelForMaskedLM over one text at a time, no padding."""
    library = pytest.importorskip("transformers")
    library.logging.disable_progress_bar()
    library.logging.set_verbosity_error()  # the NSP head is not used
    folder = exported(tmp_path, name)
    peer = library.AutoModelForMaskedLM.from_pretrained(folder).eval()
    tokens = library.AutoTokenizer.from_pretrained(folder)
    ours = predictor_of(folder)
    texts = [text.format(m=tokens.mask_token) for text in MASKED]
    found = ours.fill_mask(texts, 7)
    assert [len(masks) for masks in found] == [1, 1, 4, 1, 1]
    for text, masks in zip(texts, found, strict=True):
        if "</s>" in text and name != "bert":
            continue  # there, a literal </s> is the special token
        batch = tokens(text, return_tensors="pt")
        with torch.no_grad():
            shares = peer(**batch).logits[batch["input_ids"] == tokens.mask_token_id].softmax(1)
        best = shares.topk(7)
        assert [[c.id for c in mask] for mask in masks] == best.indices.tolist()
        likely = torch.tensor([[c.probability for c in mask] for mask in masks])
        torch.testing.assert_close(likely, best.values, rtol=1e-5, atol=1e-6)
    for mask in found[2]:
        for token, id_, _ in mask:
            theirs = tokens.decode([id_]).removeprefix("##")
            assert token.strip() == theirs.strip()
    generic = [text.format(m="<mask>") for text in MASKED]
    assert ours.fill_mask(generic, 7) == found, "<mask> is understood whatever the tokenizer calls it"


@pytest.mark.parametrize("name", KINDS)
def test_vectors_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    library = pytest.importorskip("transformers")
    library.logging.disable_progress_bar()
    library.logging.set_verbosity_error()
    folder = exported(tmp_path, name)
    peer = library.AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
    batch = library.AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = peer(**batch).last_hidden_state
    real = batch["attention_mask"][..., None]
    ours = predictor_of(folder)
    for pooling, expected in (("bos", hidden[:, 0]), ("mean", (hidden * real).sum(1) / real.sum(1))):
        vectors, cut = ours.embed(TEXTS, pooling)
        assert vectors.dtype == np.float32 and not cut.any()
        torch.testing.assert_close(torch.from_numpy(vectors), expected, rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------- by itself
def test_neither_company_nor_cuts_of_the_work_change_a_result(
    roberta: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [text.format(m="<mask>") for text in MASKED]
    together, vectors = roberta.fill_mask(texts, 3), {p: roberta.embed(TEXTS, p).vectors for p in ("bos", "mean")}
    alone = [roberta.fill_mask([text], 3)[0] for text in texts]
    monkeypatch.setattr(predictor, "BATCH_TOKENS", 30)
    monkeypatch.setattr(predictor, "LOGIT_ROWS", 3)
    for other in (alone, roberta.fill_mask(texts, 3)):
        for a, b in zip(together, other, strict=True):
            for ours, theirs in zip(a, b, strict=True):
                assert [c[:2] for c in ours] == [c[:2] for c in theirs]
                assert [c.probability for c in ours] == pytest.approx([c.probability for c in theirs], rel=1e-5)
    for pooling, expected in vectors.items():
        one_by_one = np.concatenate([roberta.embed([text], pooling).vectors for text in TEXTS])
        np.testing.assert_allclose(one_by_one, expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(roberta.embed(TEXTS, pooling).vectors, expected, rtol=1e-5, atol=1e-5)


def test_a_mask_takes_the_space_before_it_and_other_special_tokens_are_text(roberta: Predictor) -> None:
    encoding = roberta.encoding
    a, b, special = encoding.encode_batch(["a", " b", " [MASK] <s> b"])
    ends = (encoding.bos_id, encoding.eos_id)
    assert roberta._encode_masked("a \t <mask> b", 1) == [ends[0], *a, encoding.mask_id, *b, ends[1]]
    assert roberta._encode_masked("<mask> [MASK] <s> b", 1) == [ends[0], encoding.mask_id, *special, ends[1]]
    assert encoding.mask_id not in special and not {*special} & {*ends}
    plain, filled = roberta.embed(["a <mask>", "a"], "bos").vectors
    assert not np.allclose(plain, filled)


def test_all_of_the_vocabulary_sums_to_one_and_descends(roberta: Predictor) -> None:
    [[mask]] = roberta.fill_mask(["the <mask>"], 10**6)
    shares = [c.probability for c in mask]
    assert len(mask) == len({c.id for c in mask}) == roberta.encoding.vocab_size
    assert sum(shares) == pytest.approx(1, abs=1e-5) and shares == sorted(shares, reverse=True)


def test_a_text_without_a_mask_or_too_long_is_named_and_an_empty_one_passes(roberta: Predictor) -> None:
    assert roberta.fill_mask(["", " \t", "<mask>"], 1)[:2] == [[], []]
    with pytest.raises(ConfigError, match="text 12 has no <mask>: no mask here"):
        roberta.fill_mask(["<mask>", "", "no mask here"], 1, first=10)
    word = "x" if len(roberta.encoding.encode_batch(["xx"])[0]) == 2 else ""
    assert word and len(roberta.fill_mask([word * (LENGTH - 3) + "<mask>"], 1)[0]) == 1, "the longest that fits"
    with pytest.raises(ConfigError, match=f"text 1 has {LENGTH + 1} tokens; the model reads {LENGTH} at most"):
        roberta.fill_mask([word * (LENGTH - 2) + "<mask>"], 1)


def test_longer_texts_are_cut_and_counted(roberta: Predictor) -> None:
    fits = "x" * (LENGTH - 2)
    vectors, cut = roberta.embed([fits, fits + "the end", fits + " another", ""], "mean")
    assert cut.tolist() == [False, True, True, False] and np.isfinite(vectors).all()
    np.testing.assert_allclose(vectors[1:3], vectors[[0, 0]], atol=1e-6)


def test_a_tokenizer_of_another_model_is_refused_and_rows_without_a_token_spell_nothing(tmp_path: Path) -> None:
    folder = exported(tmp_path, "bert")
    found, encoding = model_folder.read(folder), tokenizer.Encoding(tokenizer_files.load_of_model(folder))
    size = encoding.vocab_size
    with pytest.raises(ConfigError, match=f"{size} ids and the model {size - 1}"):
        Predictor(PretrainingModel(CONFIG, size - 1, LENGTH, 0, False, 0), encoding, LENGTH)
    wider = Predictor(PretrainingModel(CONFIG, size + 3, LENGTH, 0, False, 0), encoding, LENGTH)
    [[mask]] = wider.fill_mask(["the [MASK]"], 100)
    assert {c.id for c in mask if not c.token} == {size, size + 1, size + 2} and found.token_types == 2


@pytest.mark.parametrize(
    ("there", "means"),
    [
        ("cpu", {"auto": "cpu", "cpu": "cpu", "gpu": None, "cuda": None, "mps": None}),
        ("cuda", {"auto": "cuda", "cpu": "cpu", "gpu": "cuda", "cuda": "cuda", "mps": None}),
        ("mps", {"auto": "mps", "cpu": "cpu", "gpu": "mps", "cuda": None, "mps": "mps"}),
    ],
)
def test_an_accelerator_is_a_device_that_is_there(
    there: str, means: dict[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there == "cuda")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: there == "mps")
    allowed = "auto, cpu" if there == "cpu" else f"auto, {there}, cpu"
    for accelerator, device in means.items():
        assert on_cuda(accelerator) == (device == "cuda")
        if device is not None:
            assert device_of(accelerator) == device
            continue
        with pytest.raises(
            ConfigError, match=rf"^trainer\.accelerator={accelerator} is not there\. Allowed: {allowed}\.$"
        ):
            device_of(accelerator)


def test_cosines_by_hand() -> None:
    a = np.array([[3, 4], [1, 0], [0, 0]], np.float32)
    b = np.array([[4, 3], [-2, 0]], np.float32)
    np.testing.assert_allclose(cosine_similarities(a, b), [[24 / 25, -3 / 5], [4 / 5, -1], [0, 0]], rtol=1e-6)
    vectors = np.array([[1, 0], [0, 1], [9, 1], [1, 5]], np.float32)
    index, cosine = nearest(vectors, rows_at_once=3)
    assert index.tolist() == [2, 3, 0, 1]
    np.testing.assert_allclose(cosine, [9 / 82**0.5, 5 / 26**0.5, 9 / 82**0.5, 5 / 26**0.5], rtol=1e-6)


def test_what_a_terminal_would_obey_is_not_shown() -> None:
    assert printable("a\x1b[2J\nb", 20) == "a\\x1b[2J b" and printable("abcdef", 4) == "abc…"


# ---------------------------------------------------------------- files
def read_all(path: Path) -> list[str]:
    return [text for block in prediction_files.blocks(PredictConfig(file=str(path))) for text in block]


def test_lines_end_at_line_feeds_only_and_come_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "texts"
    path.write_bytes("\ufeffa\r\n\nb\u2028c\x0cd\n é".encode())
    assert read_all(path) == ["a", "", "b\u2028c\x0cd", " é"]
    monkeypatch.setattr(prediction_files, "BLOCK", 3)
    assert [len(block) for block in prediction_files.blocks(PredictConfig(file=str(path)))] == [3, 1]


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "is empty"), (b"a\nb\xff\n", r"line 2 is not UTF-8 \(invalid start byte\)")]
)
def test_files_with_nothing_or_broken_text_are_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "texts").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_all(tmp_path / "texts")


def test_broken_text_on_the_command_line_is_one_line() -> None:
    with pytest.raises(ConfigError, match="not UTF-8"):
        list(prediction_files.blocks(PredictConfig(text="a\udcff")))


def test_rows_in_blocks_make_the_array_that_numpy_would_write(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).random((1003, 7), np.float32)
    with prediction_files.writer(str(tmp_path / "x.npy")) as out:
        for start in (0, 1, 9, 999):
            end = {0: 1, 1: 9, 9: 999, 999: 1003}[start]
            out([{"vector": row} for row in rows[start:end]])
    np.save(tmp_path / "y.npy", rows)
    assert (tmp_path / "x.npy").read_bytes() == (tmp_path / "y.npy").read_bytes()


@pytest.mark.parametrize("name", ["x.npy", "x.jsonl"])
def test_an_error_on_the_way_leaves_what_was_there(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("before")
    with pytest.raises(KeyboardInterrupt), prediction_files.writer(str(tmp_path / name)) as out:
        out([{"vector": np.ones(3, np.float32)}])
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == [name] and (tmp_path / name).read_text() == "before"


# ---------------------------------------------------------------- the command
@pytest.fixture
def elsewhere(small_source: None, tmp_path: Path) -> Path:  # noqa: F811 (a fixture's name is its request)
    return tmp_path


@pytest.mark.parametrize("input_format", ["segment_pair", "full_sentences"])
def test_a_run_and_its_export_predict_the_same(
    input_format: str, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    science = [f"input_format={input_format}", *SHORT]
    masked = "predict.text=the <mask>, [it's ${n}] \\ 'i' \\"
    assert main.main(["predict", *science, masked]) == 2
    said = capsys.readouterr().err
    assert "is not complete: roberta-lab pretrain input_format=" in said and "predict.text" not in said
    assert main.main(["pretrain", *science]) == 0 and main.main(["export", *science, "export.path=hf"]) == 0
    [page], [examples] = Path("outputs").glob("pretrain/*/index.html"), Path("outputs").glob("pretrain/*/examples.json")
    first = json.loads(examples.read_text())["fill_mask"][0]
    assert (
        first["text"].replace("<", "&lt;").replace(">", "&gt;") in page.read_text()
        and Path("outputs/index.html").is_file()
    )
    (elsewhere / "texts").write_text("Return the value.\n\nIt is the way of all ways.\n", encoding="utf-8")
    capsys.readouterr()
    shown_by = []
    for start in (science, ["pretrained.path=hf", "trainer.accelerator=cpu"]):
        assert main.main(["predict", *start, masked, "predict.top_k=4"]) == 0
        shown_by.append(capsys.readouterr().out)
        embed = ["predict.what=embed", "predict.file=texts", "predict.pooling=mean"]
        for output in ("a/v.npy", "a/v.jsonl"):
            assert main.main(["predict", *start, *embed, f"predict.output={output}"]) == 0
        shown_by[-1] += capsys.readouterr().out
    assert shown_by[0] == shown_by[1] and shown_by[0].count("\n") == 1 + 4 + 2 * (4 + 1)
    assert shown_by[0].startswith("1  the <mask>, [it's ${n}] \\ 'i' \\\n")
    records = [json.loads(line) for line in (elsewhere / "a" / "v.jsonl").read_text(encoding="utf-8").splitlines()]
    vectors = np.load(elsewhere / "a" / "v.npy")
    assert vectors.shape == (3, 16) and vectors.dtype == np.float32, "a row per line, an empty one too"
    np.testing.assert_array_equal(np.array([r["vector"] for r in records], np.float32), vectors)
    assert [(r["number"], r["text"]) for r in records] == [(1, "Return the value."), (2, ""), (3, "It is the way of all ways.")]  # fmt: skip


def test_a_folder_fills_masks_from_standard_input_block_by_block(
    elsewhere: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = exported(elsewhere, "bert")
    command = ["predict", f"pretrained.path={folder}", "predict.file=-", "trainer.accelerator=cpu"]
    monkeypatch.setattr(prediction_files, "BLOCK", 2)

    def typed(text: str, *more: str) -> int:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        return main.main([*command, *more])

    assert typed("the <mask> sat\n\nthe [MASK] on <mask>\n", "predict.output=out.jsonl", "predict.top_k=2") == 0
    records = [json.loads(line) for line in (elsewhere / "out.jsonl").read_text().splitlines()]
    assert [[len(mask) for mask in r["masks"]] for r in records] == [[2], [], [2, 2]]
    assert set(records[0]["masks"][0][0]) == {"token", "id", "probability"}
    assert not (elsewhere / "outputs").exists(), "no corpus was prepared"
    before = (elsewhere / "out.jsonl").read_bytes()
    capsys.readouterr()
    assert typed("the <mask>\nthe <mask>\nnone\n", "predict.output=out.jsonl") == 2
    assert capsys.readouterr().err == "roberta-lab: text 3 has no <mask>: none\n"
    assert (elsewhere / "out.jsonl").read_bytes() == before
    assert typed("the\ncat\nsat\n" * 5, "predict.what=embed") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 15 and all("1.0000" in line for line in lines), "of many texts, the nearest other one"
    assert typed("a\n" + "a " * 90, "predict.what=embed", "predict.output=v.jsonl") == 0
    assert "1 of 2 texts were cut to 40 tokens" in capsys.readouterr().err
    figure = ["predict.what=embed", "predict.output=v.npy", "predict.figure=new folder/map.svg"]
    capsys.readouterr()
    assert typed("the cat\nsat\n" * 8, *figure) == 0
    assert capsys.readouterr().out == "v.npy\nnew folder/map.svg\n", (
        "of many texts nothing else is printed beside a file"
    )
    assert (elsewhere / "new folder" / "map.svg").read_text().count("<title>") == 16
    assert typed("one\n", *figure) == 2 and "Allowed: two or more" in capsys.readouterr().err
    assert typed("a\n" * 2001, *figure) == 2 and "Allowed: 2 to 2,000" in capsys.readouterr().err
    marks = [json.loads(line).get("truncated") for line in (elsewhere / "v.jsonl").read_text().splitlines()]
    assert marks == [None, True]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "predict.text or predict.file is missing"),
        (["predict.text=a <mask>", "predict.file=-"], "both set"),
        (["predict.text=a <mask>", "pretrained=none"], "pretrained=none: random weights predict nothing"),
        (["predict.text=a <mask>", "predict.what=embd"], "Did you mean 'embed'?"),
        (["predict.text=a <mask>", "predict.pooling=max"], "Allowed: bos, mean"),
        (["predict.text=a <mask>", "predict.top_k=0"], "predict.top_k=0"),
        (["predict.text=a <mask>", "predict.output=x.npy"], "for fill_mask, allowed is FILE.jsonl"),
        (["predict.text=a", "predict.what=embed", "predict.output=x"], "allowed is FILE.jsonl or FILE.npy"),
        (["predict.text=[1, b]"], "allowed is a text or a list of texts"),
        (["predict.text=a", "predict.what=embed", "predict.figure=map.gif"], "allowed is FILE.svg or FILE.png"),
        (["predict.text=a <mask>", "predict.figure=map.svg"], "Allowed: with predict.what=embed"),
        (
            ["predict.text=a", "predict.what=embed", "pretrained.path=x", "predict.figure=folder.svg"],
            "predict.figure=folder.svg is a folder",
        ),
        (["predict.file=nowhere"], "predict.file=nowhere is no file"),
        (["predict.file=here.jsonl", "predict.output=here.jsonl"], "is the file that is read"),
        (["predict.text=a", "predict.output=folder.jsonl"], "is a folder"),
        (["predict.text=a", "pretrained.path=nowhere"], "nowhere: there is no config.json"),
        (["predict.text=a", "trainer.accelerator=abacus", "pretrained.path=x"], "trainer.accelerator=abacus"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_made(
    arguments: list[str], message: str, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (elsewhere / "here.jsonl").write_text("a\n")
    for name in ("folder.jsonl", "folder.svg"):
        (elsewhere / name).mkdir()
    assert main.main(["predict", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err and err.count("\n") == 1
    assert {p.name for p in elsewhere.iterdir()} == {"here.jsonl", "folder.jsonl", "folder.svg"}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("a <mask>, b: (c) = d", "a <mask>, b: (c) = d"),
        ("'it''s", "'it''s"),
        ('"quoted, as Hydra\'s"', "quoted, as Hydra's"),
        ('["one, <mask>", two]', ["one, <mask>", "two"]),
        ("[MASK] is no list", "[MASK] is no list"),
        ("\\${x} \\\\' ${y", "\\${x} \\\\' ${y"),
        ("12", "12"),
        ("true", "true"),
        ("null", None),
        ("日本 \\n", "日本 \\n"),
    ],
)
def test_running_text_needs_no_quotes_of_hydra(typed: str, meant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    monkeypatch.setattr(launched.Task, "__call__", lambda self, cfg: found.append(compose.build(cfg)))
    assert main.main(["predict", f"predict.text={typed}"]) == 0
    assert [config.predict.text for config in found] == [meant]
