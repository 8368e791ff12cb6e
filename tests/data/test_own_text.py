"""Own text is read whole, what is cut is said, and lines without full stops stay apart."""

import re
from pathlib import Path

import numpy as np
import pytest
from composed_jobs import config

from roberta_lab.axes import tokenizer
from roberta_lab.data import token_store
from roberta_lab.data.corpus.preparation import prepared_for
from roberta_lab.data.corpus.tokens import cut_of

pytestmark = pytest.mark.usefixtures("composing")


@pytest.mark.parametrize("scale", ["smoke", "mini", "laptop", "paper"])
def test_own_text_is_read_whole_at_every_scale_and_the_stand_in_is_cut(scale: str) -> None:
    own = config("data_mix=own", "data_mix.own.path=x", f"scale={scale}").data_mix
    more = config(
        "data_mix=own", "data_mix.own.path=x", "data_mix.more={kind: csv, path: y}", f"scale={scale}"
    ).data_mix
    assert own.train_tokens is None and more.train_tokens is None
    assert (
        config("data_mix=own", "data_mix.own.path=x", f"scale={scale}", "data_mix.train_tokens=7").data_mix.train_tokens
        == 7
    )
    cut = {"smoke": 41_320, "mini": 12_800_000, "laptop": 1_350_000, "paper": None}[scale]
    for mix in ("pydoc", "books_wiki", "stories"):
        assert config(f"data_mix={mix}", f"scale={scale}").data_mix.train_tokens == cut


def test_a_cut_is_said_with_how_much_of_how_much(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("".join(f"Line {i} of this text says {i * i}.\n" for i in range(400)))
    own = ["data_mix=own", f"data_mix.own.path={tmp_path / 'a.txt'}", "data_mix.own.document_separator=line", "tokenizer.vocab_size=300"]  # fmt: skip
    words = [*own, f"paths.outputs={tmp_path}", "prepare.workers=1"]
    prepared = prepared_for(config(*words))
    train, held_out = (token_store.open_store(prepared.store / split).num_tokens for split in ("train", "validation"))
    assert cut_of(prepared.store, config(*words).data_mix) == ""
    cut = config(*words, "data_mix.train_tokens=100", "data_mix.validation_tokens=50").data_mix
    found = re.fullmatch(r"trains on (\d+) of ([\d,]+) tokens \(data_mix\.train_tokens\), and is scored on (\d+) of ([\d,]+) held-out tokens \(data_mix\.validation_tokens\)", cut_of(prepared.store, cut))  # fmt: skip
    assert found is not None
    read, there, scored, of = (int(number.replace(",", "")) for number in found.groups())
    assert (there, of) == (train, held_out) and 100 <= read < 130 and 50 <= scored < 80
    capsys.readouterr()
    prepared_for(config(*words, "tokenizer.train_characters=500"))
    assert re.search(r"tokenizer: of 500 of [\d,]+ characters \(tokenizer\.train_characters\)", capsys.readouterr().err)


@pytest.mark.parametrize(("kind", "size"), [("wordpiece_30k", 60), ("bytelevel_bpe_50k", 300)])
def test_the_last_word_of_a_line_and_the_first_of_the_next_are_two_words(kind: str, size: int, tmp_path: Path) -> None:
    """Lists, headings and verse have no full stops: of the tokens of a document, whole words are those of its lines."""
    texts = [
        "\n".join(f"{draw} river\n{draw}\nmarket {draw}" for draw in ("stone", "paper", "apple")) for _ in range(30)
    ]
    for number, text in enumerate(texts):
        (tmp_path / f"d{number}.txt").write_text(f"{text}\nletter {number}")
    own = ["data_mix=own", f"data_mix.own.path={tmp_path}", f"tokenizer={kind}", f"tokenizer.vocab_size={size}"]
    prepared = prepared_for(config(*own, f"paths.outputs={tmp_path / 'out'}", "prepare.workers=1"))
    encoding, store = tokenizer.load(prepared.tokenizer), token_store.open_store(prepared.store / "train")
    words = texts[0].split()
    end = store.document_ends[0]
    first = store.shards[0][: store.sentence_lengths[:end].sum()]
    starts = np.flatnonzero(~encoding.vocabulary.continues_word[first])
    starts = starts[starts > 0]
    found = ["".join(map(encoding.spelled, part.tolist())).strip() for part in np.split(first, starts)]
    assert found[: len(words)] == words
