"""The examples of a pretraining run's page: masks where the common set has them, filled as the model's own logits say."""

import torch

from roberta_lab.axes.tokenizer import Encoding, train_bytelevel_bpe
from roberta_lab.config import ModelConfig
from roberta_lab.data.common_set import CommonText, masked_words
from roberta_lab.model.encoder import PretrainingModel
from roberta_lab.training.fill_mask import NUM_EXAMPLES, TOP_K, WORDS, filled

TEXTS = [
    f"the cat {i} sat on the mat and the dog ran to the {word} at home" for i, word in enumerate(["log", "sea"] * 30)
]
LENGTH = 64


def test_each_sentence_has_one_mask_and_the_likeliest_tokens_of_a_plain_pass() -> None:
    encoding = Encoding(train_bytelevel_bpe(iter(TEXTS), 330))
    text = CommonText(tuple(masked_words([first, f"short {i}", second]) for i, (first, second) in enumerate(zip(TEXTS[:8], TEXTS[30:], strict=False))))  # fmt: skip
    torch.manual_seed(1)
    config = ModelConfig(layers=1, hidden=16, heads=2, ffn=32, dropout=0.1, attention_dropout=0.1)
    model = PretrainingModel(config, encoding.vocab_size, LENGTH, 0, False, encoding.pad_id)
    found = filled(model, encoding, LENGTH, text)
    assert (
        len(found) == NUM_EXAMPLES
        and len({(str(example["text"]), str(example["word"])) for example in found}) == NUM_EXAMPLES
    )
    sentences = {" ".join(word.text for word in sentence): sentence for document in text.documents for sentence in document}  # fmt: skip
    for example in found:
        words = str(example["text"]).split()
        place = words.index("<mask>")
        whole = [*words[:place], str(example["word"]), *words[place + 1 :]]
        assert words.count("<mask>") == 1 and WORDS[0] <= len(words) <= WORDS[1]
        assert sentences[" ".join(whole)][place].masked, "masked where the common set is"
        before, after = " ".join(words[:place]), " ".join(["", *words[place + 1 :]])
        first, rest = encoding.encode_batch([before, after])
        ids = torch.tensor([[encoding.bos_id, *first, encoding.mask_id, *rest, encoding.eos_id]])
        with torch.no_grad():
            shares = model.mlm_logits(model.encoder(ids, None)[0, 1 + len(first)][None]).softmax(1)[0]
        best = shares.topk(TOP_K)
        candidates = example["candidates"]
        assert isinstance(candidates, list) and [token for token, _ in candidates] == [encoding.spelled(i).strip() for i in best.indices.tolist()]  # fmt: skip
        assert torch.allclose(torch.tensor([share for _, share in candidates]), best.values, atol=1e-6)


def test_a_text_without_words_of_one_token_or_of_the_right_length_gives_none() -> None:
    encoding = Encoding(train_bytelevel_bpe(iter(TEXTS), 330))
    model = PretrainingModel(ModelConfig(layers=1, hidden=16, heads=2, ffn=32), encoding.vocab_size, LENGTH, 0, False, encoding.pad_id)  # fmt: skip
    assert filled(model, encoding, LENGTH, CommonText((masked_words(["too short", "a " * 40]),))) == []
