"""What W&B shows of a finished run beside numbers: its predictions, a confusion matrix, masks that it filled."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from roberta_lab.axes import tokenizer
from roberta_lab.axes.tokenizer import MASK
from roberta_lab.config import Config
from roberta_lab.data.common_set import common_text
from roberta_lab.data.corpus.preparation import Prepared
from roberta_lab.tasks import heads, metrics
from roberta_lab.tasks.items import TaskData, in_words, texts_of
from roberta_lab.tasks.result import predictions_file

if TYPE_CHECKING:
    from roberta_lab.model.predictor import Candidate

TOP_K = 5  # tokens for each mask
MOST_WORDS = 60  # of a sentence with a mask: longer ones are left out
MOST_CLASSES = 50  # of a confusion matrix that can be read


def predictions(config: Config, data: TaskData, run: Path) -> Mapping[str, object]:
    """Return W&B's table of the first dev items with what a finetuning run predicted, and the confusion matrix of all of dev."""
    import wandb

    task = replace(config.task, num_labels=config.task.num_labels or len(data.labels))
    labels = data.labels or tuple(map(str, range(task.num_labels)))
    lines = predictions_file(run, "dev").read_bytes().splitlines()  # of bytes: at line feeds only
    head, pairs = heads.load(task.head), metrics.matched(data.dev, [json.loads(line) for line in lines])
    right = head.right(head.rows(task, pairs))
    names = list(dict.fromkeys(name for item, _ in pairs for name in texts_of(item, head.fields)))
    table = wandb.Table(columns=["id", *names, "right answer", "prediction", "is right"])
    for i, (item, prediction) in enumerate(pairs[: config.logger.examples]):
        texts = texts_of(item, head.fields)
        said = [in_words(item, value, labels) for value in (item.gold, prediction["prediction"])]
        table.add_data(item.id, *map(texts.get, names), *said, None if right is None else bool(right[i]))
    found: dict[str, object] = {"predictions": table} if config.logger.examples else {}
    if task.head == "classification" and len(labels) <= MOST_CLASSES:
        gold, predicted = zip(*((item.gold, prediction["prediction"]) for item, prediction in pairs), strict=True)
        found["confusion_matrix"] = wandb.plot.confusion_matrix(
            y_true=[*gold], preds=[*predicted], class_names=[*labels], title=f"{task.name}: right class and prediction"
        )
    return found


def filled_masks(config: Config, prepared: Prepared, run: Path) -> Mapping[str, object]:
    """Return W&B's table of held-out sentences with a masked word each, and the tokens that a pretraining run put in its place."""
    import wandb

    from roberta_lab.model import checkpoint
    from roberta_lab.model.huggingface import model_folder
    from roberta_lab.model.objectives import objective_of
    from roberta_lab.model.predictor import Predictor

    if "mlm" not in objective_of(config).reads or not config.logger.examples:
        return {}
    encoding = tokenizer.load(prepared.tokenizer)
    saved = checkpoint.final(run, config.batch_size.steps)
    found = model_folder.Pretrained.from_checkpoint(config.model, saved, encoding.pad_id)
    predictor = Predictor(found.model(), encoding, found.max_length)
    fitting = (one for one in _masked(config, prepared) if predictor.fits(one[0]))
    chosen = list(itertools.islice(fitting, config.logger.examples))
    filled = predictor.fill_mask([text for text, _ in chosen], TOP_K)
    table = wandb.Table(columns=["text", "right word", *(f"guess {n}" for n in range(1, TOP_K + 1))])
    for (text, word), masks in zip(chosen, filled, strict=True):
        table.add_data(text, word, *(_guess(candidate) for candidate in masks[0]))
    return {"filled_masks": table}


def _guess(candidate: Candidate) -> str:
    return f"{candidate.token} {candidate.probability:.3f}"


def _masked(config: Config, prepared: Prepared) -> Iterator[tuple[str, str]]:
    """Yield sentences of the common held-out text with one `<mask>`, and the word in its place."""
    for document in common_text(prepared.corpus, config.data_mix).documents:
        for sentence in document:
            masked = next((i for i, word in enumerate(sentence) if word.masked), None)
            if masked is not None and len(sentence) <= MOST_WORDS:
                words = [word.text for word in sentence]
                yield " ".join([*words[:masked], MASK, *words[masked + 1 :]]), words[masked]
