"""Minimal pairs against a plain loop over transformers: pairs per second, and whether the likelihoods are the same.

    python benchmarks/blimp.py [--path BLIMP] [--pairs 200] [--seconds 20] [--threads 2] [--word l2r]

The loop is what one writes first: `RobertaForMaskedLM` of the exported folder, a forward pass for each token with that token
masked, of the loop's own tokenizer. It scores a few of the pairs, since it is slow. Both take the same weights, random ones, and
the same threads. Without --path, pairs are made up of words of the embedded corpus, as long as BLiMP's.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
import yaml
from side_by_side import Work, alternate, compared, one_thread, setting
from tokenizers import Tokenizer
from transformers import AutoModelForMaskedLM, AutoTokenizer

from roberta_lab.axes.tokenizer import train_bytelevel_bpe
from roberta_lab.config import EvaluateConfig, ModelConfig, TaskConfig
from roberta_lab.data.corpus.sources import pydoc
from roberta_lab.model.encoder import PretrainingModel
from roberta_lab.model.huggingface import model_folder
from roberta_lab.runs.options import CONF
from roberta_lab.tasks.zero_shot import minimal_pairs, pseudo_likelihood
from roberta_lab.tasks.zero_shot.masked_model import MaskedModel
from roberta_lab.tasks.zero_shot.minimal_pairs import Pair, Pairs

MODELS = {"tiny": 2048, "mini": 16384, "mini, 50K pieces": 50265}  # option of `model`, with the vocabulary of its scale
LENGTH = 128


def texts() -> list[str]:
    """The documentation of the embedded corpus."""
    return [one.text for one in pydoc.docstrings(0, 1)]


def made_up(corpus: list[str], number: int) -> Pairs:
    """Pairs that differ in the order of two words, of six to eleven words."""
    draw, words = np.random.default_rng(0), np.array(" ".join(corpus[:500]).split())
    found = []
    for i in range(number):
        good = draw.choice(words, draw.integers(6, 12)).tolist()
        bad = [*good[1::-1], *good[2:]]
        found.append(Pair(str(i), " ".join(good), " ".join(bad), f"p{i % 10}", "", Path("made up"), i))
    return Pairs(found)


def exported(folder: Path, name: str, corpus: list[str]) -> Path:
    """A model with random weights, as a folder that transformers loads."""
    tokenizer: Tokenizer = train_bytelevel_bpe(iter(corpus), MODELS[name])
    (folder / "tokenizer").mkdir()
    tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))
    option = CONF / "model" / f"{name.partition(',')[0]}.yaml"
    config = ModelConfig(**yaml.safe_load(option.read_text(encoding="utf-8")))
    torch.manual_seed(0)
    model = PretrainingModel(config, MODELS[name], LENGTH, 0, nsp=False)
    model_folder.write(folder / "model", model.state_dict(), config, folder / "tokenizer", "", {})
    return folder / "model"


class Loop:
    """The plain loop."""

    def __init__(self, folder: Path) -> None:
        self.model = AutoModelForMaskedLM.from_pretrained(folder).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    @torch.inference_mode()
    def __call__(self, text: str, within_word: str) -> float:
        inputs = self.tokenizer(text, return_tensors="pt")
        ids, words = inputs["input_ids"], inputs.word_ids()
        total = 0.0
        for place in range(1, ids.shape[1] - 1):
            masked = ids.clone()
            masked[0, place] = self.tokenizer.mask_token_id
            for later in range(place + 1, ids.shape[1] - 1):
                if within_word == "l2r" and words[later] == words[place]:
                    masked[0, later] = self.tokenizer.mask_token_id
            logits = self.model(input_ids=masked, attention_mask=inputs["attention_mask"]).logits
            total += logits[0, place].log_softmax(-1)[ids[0, place]].item()
        return total


def side_by_side(name: str, pairs: Pairs, few: Pairs, folder: Path, options: argparse.Namespace) -> str:
    """The rates of one model, and the largest difference of a likelihood."""
    loop, model, config = Loop(folder), MaskedModel.from_folder(str(folder)), EvaluateConfig(options.word)
    theirs: list[float] = []

    def slow() -> None:
        theirs[:] = [loop(text, options.word) for text in few.texts]

    works = [
        Work(f"{name}: loop over transformers", slow, len(few)),
        Work(f"{name}: roberta_lab", lambda: pairs.measure(model, config, lambda done, total: None), len(pairs)),
    ]
    rates = compared("pairs", alternate(works, options.seconds))
    sentences = pseudo_likelihood.encode(model.encoding, few.texts, options.word)
    ours = pseudo_likelihood.pseudo_log_likelihoods(model, sentences)
    difference, tokens = np.abs(ours - theirs).max(), sentences.lengths.mean()
    return (
        f"{rates}\n\nLargest difference of {len(ours)} likelihoods: {difference:.1e}; {tokens:.1f} tokens a sentence."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", help="BLiMP's folder")
    parser.add_argument(
        "--pairs", type=int, default=200, help="that roberta_lab scores in a turn; the loop scores a tenth"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="for each line of a table")
    parser.add_argument("--threads", type=int, default=1, help="of torch, for both")
    parser.add_argument("--word", default="original", choices=[*pseudo_likelihood.WORD])
    options = parser.parse_args()
    one_thread()
    torch.set_num_threads(options.threads)
    corpus = texts()
    if options.path:
        task = TaskConfig("blimp", "minimal_pairs", "mlm", metric="accuracy", path=options.path)
        every = minimal_pairs.read(task).pairs
    else:
        every = made_up(corpus, options.pairs).pairs
    drawn = np.random.default_rng(0).permutation(len(every))[: options.pairs]
    pairs = Pairs([every[i] for i in drawn])
    few = Pairs(pairs.pairs[: max(1, len(pairs) // 10)])
    for name in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            print(side_by_side(name, pairs, few, exported(Path(folder), name, corpus), options), end="\n\n")
    used = "one thread" if options.threads == 1 else f"{options.threads} threads"
    print(setting("torch", "transformers", "tokenizers").replace("one thread", used))


if __name__ == "__main__":
    main()
