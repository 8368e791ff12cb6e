"""What a finetuned model says of new text, whatever its head: the items' nouns in, names of classes out.

Items, features and answers are those of finetuning (`tasks.features`, `evaluation`), so dev's own texts get dev's own
predictions. Computed in float32 without dropout.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from roberta_lab.config import ConfigError, TaskConfig
from roberta_lab.data import tokenizer_files
from roberta_lab.data.prediction_files import TRUNCATED
from roberta_lab.model import checkpoint
from roberta_lab.model.encoder import POSITION_OFFSET
from roberta_lab.model.huggingface import model_folder
from roberta_lab.tasks import records, submission
from roberta_lab.tasks.evaluation import predict
from roberta_lab.tasks.feature_table import packed
from roberta_lab.tasks.features import Feature, PairFormat, generate
from roberta_lab.tasks.initial_weights import Start, encoder_weights
from roberta_lab.tasks.items import Choice, Classification, Item, Prediction, Tagging
from roberta_lab.tasks.task_model import TaskModel


class TaskPredictor:
    """The best epoch's model of a finetuning run that kept its weights, read from the run's folder alone.

    Raises: ConfigError when its files are not whole.
    """

    def __init__(self, folder: Path, task: TaskConfig, device: str = "cpu") -> None:
        try:
            saved = checkpoint.load(folder / submission.WEIGHTS)
        except checkpoint.CorruptCheckpoint as error:
            raise ConfigError(f"{error}; delete the run's result.json and finetune it again.") from None
        start = _start(folder / submission.MODEL, saved["weights"])
        self.model = TaskModel(start.encoder(0.0), saved["head"], saved["num_labels"], start.model)
        self.model.load_state_dict(saved["weights"], strict=True)
        self.model.eval().to(device)
        self.task, self.encoding = task, start.encoding
        self.labels: tuple[str, ...] = tuple(saved["labels"]) or tuple(map(str, range(saved["num_labels"])))
        self.is_pair: bool | None = saved.get("is_pair")
        self.pairs = PairFormat.of(task, start.max_length, start.paired)

    def predict(self, lines: list[str], first: int = 1) -> list[dict[str, Any]]:
        """A record for each line: its number, what was read, and what is predicted of it (`named`).

        Args:
            first: the number of the first line.

        Raises: ConfigError, which says which line, for one that is no item of the task.
        """
        head = self.task.head
        items = [records.item(head, line, number, self.is_pair) for number, line in enumerate(lines, first)]
        found, predictions = [], self.of_items(items)
        for number, (item, (prediction, is_cut)) in enumerate(zip(items, predictions, strict=True), first):
            fields = {
                name: value for name in ("id", *records.FIELDS[head]) if (value := getattr(item, name)) is not None
            }
            if item.id == str(number):
                del fields["id"]
            mark = {TRUNCATED: True} if is_cut else {}
            found.append({"number": number, **fields, **named(item, prediction, self.labels), **mark})
        return found

    @property
    def limit(self) -> str:
        """What is cut if it has more, for messages."""
        if self.task.head == "span":  # of a context nothing is: windows show all of it
            return f"{self.pairs.question_room} tokens of a question"
        words = " a word" if self.task.head == "tagging" else ""
        return f"{self.pairs.max_length - (2 if words else 0)} tokens{words}"

    def of_items(self, items: list[Item]) -> list[tuple[Prediction, bool]]:
        """As `evaluation.predict` has them, in the items' order, and whether the model saw less than all of the item.
        Items with as many candidates go together."""
        alike: dict[int, list[int]] = {}
        for i, item in enumerate(items):
            alike.setdefault(len(item.choices) if isinstance(item, Choice) else 1, []).append(i)
        found: dict[int, Prediction] = {}
        cut: set[int] = set()

        def noted(features: Iterator[Feature], numbers: list[int]) -> Iterator[Feature]:
            for feature in features:
                if feature.cut:
                    cut.add(numbers[feature.item])
                yield feature

        for numbers in alike.values():
            part = [items[i] for i in numbers]
            table = packed(noted(generate(self.task.head, part, self.encoding, self.pairs), numbers))
            most, pad_id = self.task.max_answer_tokens, self.encoding.pad_id
            found |= zip(numbers, predict(self.model, self.task.head, part, table, pad_id, most), strict=True)
        return [(found[i], i in cut) for i in range(len(items))]


def _start(model: Path, weights: dict[str, Tensor]) -> Start:
    """How the run's model reads: tokenizer and sizes of the folder beside its weights, and the weights' own."""
    own = encoder_weights(weights, "encoder.")
    sizes = [len(own.get(f"embeddings.{name}.weight", ())) for name in ("tokens", "positions", "token_types")]
    spec, longest = tokenizer_files.load_of_model(model), sizes[1] - POSITION_OFFSET
    return Start(model_folder.model_config(model), own, spec, sizes[0], longest, sizes[2])


def named(item: Item, prediction: Prediction, labels: tuple[str, ...]) -> dict[str, Any]:
    """A prediction in words: the class's name, a number, a text, the chosen candidate, or the words' classes.

    Beside it `probabilities` of the classes or candidates, of the words' classes `scores`, and what spans have.
    """
    chosen = prediction["prediction"]
    if isinstance(item, Classification):
        shares = _softmax(prediction["logits"])
        return {"prediction": labels[chosen], "probabilities": dict(zip(labels, shares, strict=True))}
    if isinstance(item, Choice):
        return {"prediction": item.choices[chosen], "probabilities": _softmax(prediction["logits"])}
    if isinstance(item, Tagging):
        return {"prediction": [labels[number] for number in chosen], "scores": prediction["scores"]}
    return {name: value for name, value in prediction.items() if name != "id"}


def _softmax(logits: list[float]) -> list[float]:
    shares = np.exp(np.array(logits) - max(logits))
    return (shares / shares.sum()).tolist()
