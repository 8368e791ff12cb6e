"""The common held-out set: the same text and the same words masked, whatever the format, the masks and the tokenizer."""

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from test_corpus import BPE, mix, write_articles

from roberta_lab.axes.tokenizer import Encoding, train_bytelevel_bpe, train_wordpiece
from roberta_lab.config import ConfigError, ModelConfig
from roberta_lab.data.common_set import CommonSet, CommonText, Word, common_text, masked_words
from roberta_lab.data.corpus.preparation import prepare
from roberta_lab.model import common_score
from roberta_lab.model.encoder import PretrainingModel
from roberta_lab.model.metrics import COMMON_BITS, COMMON_PPL

TEXTS = [
    f"The {word} of No.{i} isn't here, says Zoë (who came)! It was {word}ed in {1900 + i}.\nA second line, {word}."
    for i, word in enumerate(["stone", "letter", "window", "Überfall", "naïveté", "co-operation"] * 9)
]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> CommonText:
    folder = tmp_path_factory.mktemp("common")
    write_articles(folder / "a.jsonl", TEXTS)
    config = mix(folder / "a.jsonl", held_out_share=0.5, validation_tokens=400)
    return common_text(prepare(config, BPE, folder / "cache", progress=False).corpus, config)


ENCODINGS = {
    "bytes": Encoding(train_bytelevel_bpe(iter(TEXTS), 300)),
    "merged": Encoding(train_bytelevel_bpe(iter(TEXTS), 400)),
    "wordpiece": Encoding(train_wordpiece(TEXTS, 150)),
}


def masked_texts(common: CommonSet, encoding: Encoding) -> list[str]:
    """What is masked, run by run of masked places, without white space, lower-cased: WordPiece knows no capitals."""
    found = []
    for batch in common.batches():
        places, labels = batch["masked_positions"].tolist(), batch["masked_labels"].tolist()
        assert (batch["input_ids"][batch["masked_positions"]] == encoding.mask_id).all(), "all of a word is hidden"
        run: list[int] = []
        for n, (place, label) in enumerate(zip(places, labels, strict=True)):
            run.append(label)
            if n + 1 == len(places) or places[n + 1] != place + 1:
                found.append("".join(encoding.decode(run).replace("##", "").split()).lower())
                run = []
    return found


def plain(words: list[str]) -> str:
    """As WordPiece's normalizer leaves them: no capitals, no accents."""
    return "".join(words).lower().translate(str.maketrans("ëüïé", "euie"))


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("max_length", [16, 64])
def test_the_same_words_are_masked_under_every_tokenizer_and_length(
    text: CommonText, name: str, max_length: int
) -> None:
    encoding = ENCODINGS[name]
    common = CommonSet(text, encoding, max_length)
    masked = [w.text for document in text.documents for sentence in document for w in sentence if w.masked]
    assert plain(masked_texts(common, encoding)) == plain(masked)
    assert common.num_bytes == sum(len(w.encode()) for w in masked)
    seen = sum(len(batch["input_ids"]) for batch in common.batches())
    assert seen > sum(len(batch["masked_labels"]) for batch in common.batches()) * 4


def test_the_share_of_masked_words_is_that_of_the_paper_and_each_document_has_its_own() -> None:
    sentences = [" ".join(f"w{i}" for i in range(50))] * 400
    flags = np.array([[word.masked for word in sentence] for sentence in masked_words(sentences)])
    assert abs(flags.mean() - 0.15) < 5 * math.sqrt(0.15 * 0.85 / flags.size)
    assert len({tuple(row) for row in flags}) == 400, "places in the document count"
    other = masked_words([*sentences[:-1], "another end"])
    assert [w.masked for w in other[0]] != flags[0].tolist()


def test_the_digest_tells_texts_masks_and_lengths_apart(text: CommonText) -> None:
    encoding, first = ENCODINGS["merged"], text.documents[0]
    assert CommonSet(text, encoding, 32).digest == CommonSet(text, ENCODINGS["wordpiece"], 32).digest
    flipped = [[replace(first[0][0], masked=not first[0][0].masked), *first[0][1:]], *first[1:]]
    others = [CommonText((flipped, *text.documents[1:])), CommonText(text.documents[1:])]
    digests = {CommonSet(t, encoding, 32).digest for t in (text, *others)} | {CommonSet(text, encoding, 64).digest}
    assert len(digests) == 4


def test_documents_of_one_id_keep_their_own_texts(tmp_path: Path) -> None:
    """Ids that start anew in each file: each text is there once."""
    for name, texts in (("a", TEXTS[:20]), ("b", TEXTS[20:40])):
        lines = [json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(texts)]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    alone = mix(tmp_path / "*.jsonl", held_out_share=0.5)
    config = replace(alone, sources={"mine": replace(alone.sources["mine"], id_field="id")})
    found = common_text(prepare(config, BPE, tmp_path / "cache", progress=False, num_workers=1).corpus, config)
    said = [" ".join(word.text for sentence in document for word in sentence) for document in found.documents]
    assert len({*said}) == len(said) > 10


def test_common_sources_that_the_mix_does_not_have_are_refused(tmp_path: Path) -> None:
    write_articles(tmp_path / "a.jsonl", TEXTS)
    with pytest.raises(ConfigError, match=r"data_mix.common_sources=mines: .* Did you mean 'mine'\? Allowed: mine\."):
        prepare(mix(tmp_path / "a.jsonl", common_sources=["mines"]), BPE, tmp_path / "cache", progress=False)


def test_mixes_share_the_text_of_their_common_sources(tmp_path: Path) -> None:
    write_articles(tmp_path / "a.jsonl", TEXTS)
    write_articles(tmp_path / "b.jsonl", [f"Another source, number {i}. It says little." for i in range(40)])
    alone = mix(tmp_path / "a.jsonl", held_out_share=0.3, validation_tokens=200)
    second = replace(alone.sources["mine"], path=str(tmp_path / "b.jsonl"))
    both = replace(alone, sources={**alone.sources, "other": second})

    def digest(config: object) -> str:
        return common_text(
            prepare(config, BPE, tmp_path / "cache", progress=False, num_workers=1).corpus, config
        ).digest  # type: ignore[arg-type]

    assert digest(replace(both, common_sources=["mine"])) == digest(alone) != digest(both)


def test_a_model_without_any_idea_needs_the_bits_of_its_vocabulary(text: CommonText) -> None:
    """Zero weights give every token 1 / V: nats are masked tokens x ln V, perplexity is V under any format and mask."""
    for encoding in ENCODINGS.values():
        common, size = CommonSet(text, encoding, 32), encoding.vocab_size
        model = PretrainingModel(ModelConfig(1, 8, 2, 16), size, 32, token_types=2, nsp=True)
        torch.nn.init.zeros_(model.encoder.embeddings.tokens.weight)
        nats, masked = common_score.negative_log_likelihood(model, common.batches())
        figures = common_score.figures(nats, masked, common.num_bytes)
        assert nats == pytest.approx(masked * math.log(size), rel=1e-5) and figures[COMMON_PPL] == pytest.approx(
            size, rel=1e-4
        )
        assert figures[COMMON_BITS] == pytest.approx(masked * math.log2(size) / common.num_bytes, rel=1e-5)


def test_a_score_equals_a_slow_one_input_by_input(text: CommonText) -> None:
    """Padded rows through the whole output layer, and log-softmax in float64."""
    encoding = ENCODINGS["merged"]
    common = CommonSet(text, encoding, 32)
    torch.manual_seed(3)
    model = PretrainingModel(ModelConfig(1, 16, 2, 32, init_std=0.3), encoding.vocab_size, 32, 0, False).eval()
    total = 0.0
    for batch in common.batches():
        edges = batch["cu_seq_lens"].tolist()
        labels = dict(zip(batch["masked_positions"].tolist(), batch["masked_labels"].tolist(), strict=True))
        for start, end in pairwise(edges):
            with torch.no_grad():
                logits = model.mlm_logits(model.encoder(batch["input_ids"][None, start:end])[0]).double().log_softmax(1)
            total -= sum(float(logits[place - start, label]) for place, label in labels.items() if start <= place < end)
    assert common_score.negative_log_likelihood(model, common.batches())[0] == pytest.approx(total, rel=1e-5)


def test_a_common_text_without_a_masked_word_is_known_by_its_bytes(tmp_path: Path) -> None:
    """Of a source with one short document, held out or not: no run is scored on it."""
    write_articles(tmp_path / "a.jsonl", TEXTS)
    write_articles(tmp_path / "b.jsonl", ["A text of its own."])
    for share in (0.15, 0.01):
        alone = mix(tmp_path / "a.jsonl", held_out_share=share, validation_tokens=200)
        second = replace(alone.sources["mine"], path=str(tmp_path / "b.jsonl"))
        both = replace(alone, sources={**alone.sources, "other": second}, common_sources=["other"])
        corpus = prepare(both, BPE, tmp_path / "cache", progress=False, num_workers=1).corpus
        found = common_text(corpus, both)
        assert found.num_bytes == 0 and len(found.documents) == (share == 0.15)


def test_words_keep_their_places() -> None:
    assert masked_words(["One two", " three"])[1][0].text == "three" and Word("a", True) != Word("a", False)
