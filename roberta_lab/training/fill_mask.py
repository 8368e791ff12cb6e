"""Examples of what a trained run fills in for a mask, in sentences of the common held-out text: for its page."""

from collections.abc import Iterator
from itertools import islice

from roberta_lab.axes.tokenizer import MASK, Encoding
from roberta_lab.data.common_set import CommonText
from roberta_lab.data.storage import Json
from roberta_lab.model.encoder import PretrainingModel
from roberta_lab.model.predictor import Predictor

NUM_EXAMPLES, TOP_K = 12, 5
WORDS = 6, 30  # of a sentence: enough to say something, and to be read at a glance


def filled(model: PretrainingModel, encoding: Encoding, max_length: int, text: CommonText) -> list[dict[str, Json]]:
    """Return up to NUM_EXAMPLES sentences with one `<mask>`, the word that stood there, and the TOP_K likeliest tokens.

    The masked words are those of the common set that are one token; each document gives one sentence before any gives two.
    """
    chosen = list(islice(_in_turn(text, encoding, max_length), NUM_EXAMPLES))
    found = Predictor(model, encoding, max_length).fill_mask([masked for masked, _ in chosen], TOP_K)
    return [
        {"text": masked, "word": word, "candidates": [[c.token.strip(), c.probability] for c in candidates]}
        for (masked, word), [candidates] in zip(chosen, found, strict=True)
    ]


def _in_turn(text: CommonText, encoding: Encoding, max_length: int) -> Iterator[tuple[str, str]]:
    """Yield masked sentences with their word, one of each document, then a second one of each, and so on."""
    documents = [_sentences(text, number, encoding, max_length) for number in range(len(text.documents))]
    while documents:
        still = []
        for sentences in documents:
            if (first := next(sentences, None)) is not None:
                yield first
                still.append(sentences)
        documents = still


def _sentences(text: CommonText, number: int, encoding: Encoding, max_length: int) -> Iterator[tuple[str, str]]:
    """Yield the sentences of a document that have a masked word of one token, with that word alone masked."""
    masks = {MASK, encoding.spelled(encoding.mask_id)}
    for sentence in text.documents[number]:
        words = [word.text for word in sentence]
        if not WORDS[0] <= len(words) <= WORDS[1] or any(mask in " ".join(words) for mask in masks):
            continue
        for place, word in enumerate(sentence):
            masked = " ".join([*words[:place], MASK, *words[place + 1 :]])
            whole = encoding.encode_batch([f" {word.text}", masked]) if word.masked else [[], []]
            if len(whole[0]) == 1 and len(whole[1]) + 2 <= max_length:
                yield masked, word.text
                break
