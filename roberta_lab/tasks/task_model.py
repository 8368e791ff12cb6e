"""The encoder with the head of a task on it (RoBERTa, Sections 3.3 and 5; Table 10)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from roberta_lab.config import ModelConfig
from roberta_lab.model.encoder import Encoder, initialize
from roberta_lab.tasks import heads


class Classifier(nn.Module):
    """RoBERTa's classification head on `<s>`: dropout, dense, tanh, dropout, linear. (S, T, H) -> (S, num_outputs)."""

    def __init__(self, hidden: int, num_outputs: int, dropout: float) -> None:
        super().__init__()
        self.dense, self.out = nn.Linear(hidden, hidden), nn.Linear(hidden, num_outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.out(self.dropout(torch.tanh(self.dense(self.dropout(hidden[:, 0])))))


class TaskModel(nn.Module):
    """The encoder with the layers of a head. Batches are those of `FeatureTable.batch`.

    Args:
        head: a name that `heads.load` knows.
    """

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
