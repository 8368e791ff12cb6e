"""What stands on the encoder, one class for each head of a task: outputs, loss (RoBERTa, Sections 3.3 and 5; Table 10).

`forward(hidden, batch)` takes hidden states (S, T, H) and the batch, and returns named outputs; `loss(outputs, batch)` is
a mean over the batch. Batches are those of `tasks.feature_table`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from roberta_lab.axes.examples import IGNORED
from roberta_lab.config import ModelConfig
from roberta_lab.model.encoder import Encoder, initialize

Batch = dict[str, Tensor]
Outputs = dict[str, Tensor]


class Classifier(nn.Module):
    """RoBERTa's classification head on `<s>`: dropout, dense, tanh, dropout, linear. (S, T, H) -> (S, num_outputs)."""

    def __init__(self, hidden: int, num_outputs: int, dropout: float) -> None:
        super().__init__()
        self.dense, self.out = nn.Linear(hidden, hidden), nn.Linear(hidden, num_outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.out(self.dropout(torch.tanh(self.dense(self.dropout(hidden[:, 0])))))


class Classification(nn.Module):
    """`logits` (S, C)."""

    def __init__(self, hidden: int, num_labels: int, dropout: float) -> None:
        super().__init__()
        self.classifier = Classifier(hidden, num_labels, dropout)

    def forward(self, hidden: Tensor, batch: Batch) -> Outputs:
        return {"logits": self.classifier(hidden)}

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Cross-entropy."""
        return F.cross_entropy(outputs["logits"].float(), batch["target"][:, 0].long())


class Regression(Classification):
    """`logits` (S, 1), the score."""

    def __init__(self, hidden: int, num_labels: int, dropout: float) -> None:
        super().__init__(hidden, 1, dropout)

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Mean squared error."""
        return F.mse_loss(outputs["logits"][:, 0].float(), batch["target"][:, 0].float())


class Choice(Classification):
    """`logits` (B, candidates): a linear score of each input, softmax over an item's (Section 5.3)."""

    def __init__(self, hidden: int, num_labels: int, dropout: float) -> None:
        super().__init__(hidden, 1, dropout)

    def forward(self, hidden: Tensor, batch: Batch) -> Outputs:
        return {"logits": self.classifier(hidden).view(len(batch["target"]), -1)}


class Ends(nn.Module):
    """`ends` (B, T, 2), logits of an answer's first and last token, where there always is an answer (SQuAD 1.1).

    Windows without it point at `<s>` (BERT), so that the probabilities of spans of several windows compare.
    """

    def __init__(self, hidden: int, num_labels: int, dropout: float) -> None:
        super().__init__()
        self.ends = nn.Linear(hidden, 2)

    def forward(self, hidden: Tensor, batch: Batch) -> Outputs:
        return {"ends": self.ends(hidden)}

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Cross-entropy of both ends."""
        logits = outputs["ends"].float().masked_fill(~self.allowed(batch)[:, :, None], -math.inf)
        return F.cross_entropy(logits, batch["target"][:, :2].long())

    def allowed(self, batch: Batch) -> Tensor:
        """bool (B, T): what can be an end, the context and `<s>`."""
        allowed = batch["context"].clone()
        allowed[:, 0] = True
        return allowed

    def log_probabilities(self, outputs: Outputs, batch: Batch) -> Tensor:
        """float32 (B, T, 2), of each token being first, last."""
        logits = outputs["ends"].float().masked_fill(~self.allowed(batch)[:, :, None], -math.inf)
        return logits.log_softmax(1)


class AnswerableEnds(Ends):
    """Beside `ends`, `answerable` (B,): log-odds that the window has an answer, trained jointly (SQuAD 2.0, Section 5.2)."""

    def __init__(self, hidden: int, num_labels: int, dropout: float) -> None:
        super().__init__(hidden, num_labels, dropout)
        self.classifier = Classifier(hidden, 1, dropout)

    def forward(self, hidden: Tensor, batch: Batch) -> Outputs:
        return {**super().forward(hidden, batch), "answerable": self.classifier(hidden)[:, 0]}

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Cross-entropy of both ends in windows that hold the answer, plus that of answerability in all of them."""
        target = batch["target"]
        answerable = F.binary_cross_entropy_with_logits(outputs["answerable"].float(), target[:, 2].float())
        held = target[:, 2] == 1
        if not held.any():
            return answerable
        return answerable + super().loss(
            {"ends": outputs["ends"][held]}, {"target": target[held], "context": batch["context"][held]}
        )

    def allowed(self, batch: Batch) -> Tensor:
        """bool (B, T): the context; of a window without one, everything, for a softmax needs something."""
        context = batch["context"]
        return context | ~context.any(1, keepdim=True)


class Tagging(nn.Module):
    """`tags` (B, T, C): dropout, linear on each token; only words' first pieces have labels."""

    def __init__(self, hidden: int, num_labels: int, dropout: float) -> None:
        super().__init__()
        self.dropout, self.out = nn.Dropout(dropout), nn.Linear(hidden, num_labels)

    def forward(self, hidden: Tensor, batch: Batch) -> Outputs:
        return {"tags": self.out(self.dropout(hidden))}

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Cross-entropy, a mean over the words of the batch."""
        tags, labels = outputs["tags"].float(), batch["labels"]
        total = F.cross_entropy(tags.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum")
        return total / (labels != IGNORED).sum().clamp(min=1)


HEADS: dict[str, Callable[[int, int, float], nn.Module]] = {
    "classification": Classification,
    "regression": Regression,
    "choice": Choice,
    "span": Ends,
    "span with answerability": AnswerableEnds,
    "tagging": Tagging,
}


class TaskModel(nn.Module):
    """The encoder with the head of a task."""

    def __init__(self, encoder: Encoder, head: str, num_labels: int, config: ModelConfig) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = HEADS[head](config.hidden, num_labels, config.dropout)
        initialize(self.head, config.init_std)

    def forward(self, batch: Batch) -> Outputs:
        hidden = self.encoder(batch["input_ids"], batch.get("attention_mask"), batch["token_type_ids"])
        return self.head(hidden, batch)

    def loss(self, batch: Batch) -> Tensor:
        """The mean loss of a batch, ()."""
        return self.head.loss(self(batch), batch)
