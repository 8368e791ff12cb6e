"""Predictions of a finetuned model on new text, in words: items come in, names of classes go out.

Items, features and answers are those of finetuning (`tasks.features`, `task_model`), so dev's own texts get dev's own
predictions. Computed in float32 without dropout.
"""

from pathlib import Path
from typing import Any

from roberta_lab.config import TaskConfig
from roberta_lab.data import tokenizer_files, verified
from roberta_lab.data.prediction_files import TRUNCATED
from roberta_lab.model import checkpoint
from roberta_lab.model.encoder import POSITION_OFFSET
from roberta_lab.model.huggingface import model_folder
from roberta_lab.tasks import heads, records
from roberta_lab.tasks.feature_table import packed
from roberta_lab.tasks.features import PairFormat, generate
from roberta_lab.tasks.initial_model import InitialModel, encoder_weights
from roberta_lab.tasks.items import Item, Prediction
from roberta_lab.tasks.result import MODEL_FOLDER, WEIGHTS_FILE
from roberta_lab.tasks.task_model import TaskModel, predict


class TaskPredictor:
    """The best epoch's model of a finetuning run that kept its weights. Raises Damaged when its files are not whole."""

    def __init__(self, folder: Path, task: TaskConfig, device: str = "cpu") -> None:
        saved = checkpoint.load(folder / WEIGHTS_FILE)
        verified.check_folder(folder)
        weights, model = encoder_weights(saved["weights"], "encoder."), folder / MODEL_FOLDER
        sizes = [len(weights.get(f"embeddings.{name}.weight", ())) for name in ("tokens", "positions", "token_types")]
        spec, longest = tokenizer_files.load_of_model(model), sizes[1] - POSITION_OFFSET
        start = InitialModel(model_folder.model_config(model), weights, spec, sizes[0], longest, sizes[2])
        self.model = TaskModel(start.encoder(0.0), saved["head"], saved["num_labels"], start.model)
        self.model.load_state_dict(saved["weights"], strict=True)
        self.model.eval().to(device)
        self.task, self.kind, self.encoding = task, heads.load(task.head), start.encoding
        self.labels: tuple[str, ...] = tuple(saved["labels"]) or tuple(map(str, range(saved["num_labels"])))
        self.is_pair: bool | None = saved.get("is_pair")
        self.pairs = PairFormat.for_task(task, start.max_length, start.paired)

    def predict(self, lines: list[str], first: int = 1) -> list[dict[str, Any]]:
        """Return a record for each line, counted from `first`: its number, what was read, and what is predicted of it.

        Raises: ConfigError, which says which line, for one that is no item of the task.
        """
        items = [records.item(self.task.head, line, number, self.is_pair) for number, line in enumerate(lines, first)]
        alike: dict[int, list[int]] = {}  # those with as many candidates go together
        for i, item in enumerate(items):
            alike.setdefault(self.kind.width(item), []).append(i)
        found: dict[int, dict[str, Any]] = {}
        for numbers in alike.values():
            part = [items[i] for i in numbers]
            features = list(generate(self.task.head, part, self.encoding, self.pairs))
            predictions = predict(self.model, self.task, part, packed(features), self.encoding.pad_id)
            cut = {numbers[feature.item] for feature in features if feature.cut}
            for i, prediction in zip(numbers, predictions, strict=True):
                found[i] = self._record(first + i, items[i], prediction, i in cut)
        return [found[i] for i in range(len(items))]

    def _record(self, number: int, item: Item, prediction: Prediction, is_cut: bool) -> dict[str, Any]:
        """Return a line's record; `is_cut` is whether the model saw less than all of it."""
        names = self.kind.fields if item.id == str(number) else ("id", *self.kind.fields)
        fields = {name: value for name in names if (value := getattr(item, name)) is not None}
        mark = {TRUNCATED: True} if is_cut else {}
        return {"number": number, **fields, **self.kind.named(item, prediction, self.labels), **mark}
