"""The encoder with the head of a task on it, and its predictions (RoBERTa, Sections 3.3 and 5; Table 10)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from roberta_lab.config import ModelConfig, TaskConfig
from roberta_lab.model.encoder import Encoder, initialize
from roberta_lab.tasks import heads
from roberta_lab.tasks.feature_table import FeatureTable
from roberta_lab.tasks.items import Item, Predictions

TOKENS = 8192  # of a batch that is predicted, padding counted in


class Classifier(nn.Module):
    """RoBERTa's classification head on `<s>`: dropout, dense, tanh, dropout, linear. (S, T, H) -> (S, num_outputs)."""

    def __init__(self, hidden: int, num_outputs: int, dropout: float) -> None:
        super().__init__()
        self.dense, self.out = nn.Linear(hidden, hidden), nn.Linear(hidden, num_outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.out(self.dropout(torch.tanh(self.dense(self.dropout(hidden[:, 0])))))


class TaskModel(nn.Module):
    """The encoder with the layers of a head, a name that `heads.load` knows. Batches are those of `FeatureTable.batch`."""

    def __init__(self, encoder: Encoder, head: str, num_labels: int, config: ModelConfig) -> None:
        super().__init__()
        self.encoder, self.kind = encoder, heads.load(head)
        self.head = nn.ModuleDict(self.kind.layers(config.hidden, num_labels, config.dropout))
        initialize(self.head, config.init_std)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        hidden = self.encoder(batch["input_ids"], batch.get("attention_mask"), batch["token_type_ids"])
        return self.kind.outputs(self.head, hidden, batch)

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the mean loss of a batch, ()."""
        return self.kind.loss(self(batch), batch)


# ---------------------------------------------------------------- predictions
def batches_of(table: FeatureTable, tokens: int = TOKENS) -> Iterator[np.ndarray]:
    """Yield features in batches of about so many tokens, the longest first: little padding, and memory runs out at once or never."""
    order = np.argsort(-table.longest, kind="stable")
    while len(order):
        size = max(1, tokens // int(table.longest[order[0]] * table.lengths.shape[1]))
        yield order[:size]
        order = order[size:]


@torch.no_grad()
def predict(
    model: TaskModel,
    task: TaskConfig,
    items: Sequence[Item],
    table: FeatureTable,
    pad_id: int,
    precision: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Predictions:
    """Return one prediction for each item, in the items' order; the model computes without dropout inside `precision()`."""
    device, was_training = next(model.parameters()).device, model.training

    def outputs() -> Iterator[tuple[np.ndarray, dict[str, Tensor], dict[str, Tensor]]]:
        for rows in batches_of(table):
            batch = {name: torch.from_numpy(array).to(device) for name, array in table.batch(rows, pad_id).items()}
            with precision():
                found = model(batch)
            yield rows, batch, found

    model.eval()
    predictions = model.kind.decode(task, items, table, outputs())
    model.train(was_training)
    return predictions
