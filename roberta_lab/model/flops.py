"""Parameters of a model and FLOPs of its training, computed from the config's numbers alone: no weights, no torch.

Model FLOPs count the matrix products only, a multiply and an add as two (Chowdhery et al. 2022, Appendix B). Forward, for one
input of length T, of which a share m is predicted, with L layers, hidden size H, feed-forward size F, vocabulary V, where each
token attends to A tokens (A = T without packing):

    queries, keys, values, output   L x 2 T (3 H H + H H)
    attention scores and context    L x 2 T (A H + A H)
    feed-forward                    L x 2 T (H F + F H)
    MLM head, dense                 2 m T H H
    output layer                    2 m T H V
    NSP head                        2 (H H + 2 H)

The backward pass has two products for each of these, for the gradients of its two inputs, so training costs three times the
forward pass. What is computed twice to save memory (activation checkpointing, flash attention's scores) does not count.
"""

from dataclasses import dataclass

from roberta_lab.config import ModelConfig

UNREAD_POSITIONS = 2  # RoBERTa's position table begins with two rows that no input reads
FORWARD_AND_BACKWARD = 3  # times the forward pass


@dataclass(frozen=True)
class Parameters:
    """Number of parameters by part. The output layer shares the token embeddings, so it has a bias only."""

    token_embeddings: int
    other_embeddings: int  # positions, token types, LayerNorm
    layers: int
    mlm_head: int
    nsp_head: int

    @property
    def encoder(self) -> int:
        """Return the number that finetuning starts from."""
        return self.token_embeddings + self.other_embeddings + self.layers

    @property
    def total(self) -> int:
        return self.encoder + self.mlm_head + self.nsp_head


@dataclass(frozen=True)
class Flops:
    """FLOPs of the forward pass of one input, by part."""

    projections: float  # queries, keys, values, output of attention
    attention: float  # scores and context
    ffn: float
    mlm_dense: float
    output_layer: float
    nsp_head: float

    @property
    def encoder(self) -> float:
        return self.projections + self.attention + self.ffn

    @property
    def total(self) -> float:
        return self.encoder + (self.mlm_dense + self.output_layer + self.nsp_head)

    @property
    def training(self) -> float:
        """Return the FLOPs of the forward and backward pass."""
        return FORWARD_AND_BACKWARD * self.total


def parameters(model: ModelConfig, vocab_size: int, max_length: int, token_types: int, nsp: bool) -> Parameters:
    """Return the number of parameters of a PretrainingModel for inputs of up to `max_length` tokens."""
    h, norm = model.hidden, 2 * model.hidden
    attention = h * 3 * h + 3 * h + h * h + h + norm
    ffn = h * model.ffn + model.ffn + model.ffn * h + h + norm
    return Parameters(
        token_embeddings=vocab_size * h,
        other_embeddings=(max_length + UNREAD_POSITIONS + token_types) * h + norm,
        layers=model.layers * (attention + ffn),
        mlm_head=h * h + h + norm + vocab_size,
        nsp_head=(h * h + h + 2 * h + 2) if nsp else 0,
    )


def forward_flops(
    model: ModelConfig,
    vocab_size: int,
    length: float,
    nsp: bool,
    masked_share: float = 0.15,
    attended: float | None = None,
) -> Flops:
    """Return the FLOPs of the forward pass of one input of `length` tokens (formula above).

    Args:
        masked_share: positions at which logits are computed, as a share of the length; 1.0 for the usual BERT head.
        attended: tokens that a token attends to, on average. None: all of the input; packed inputs see fewer.
    """
    h, masked = model.hidden, masked_share * length
    seen = length if attended is None else attended
    return Flops(
        projections=model.layers * 2 * length * 4 * h * h,
        attention=model.layers * 2 * length * 2 * seen * h,
        ffn=model.layers * 2 * length * 2 * h * model.ffn,
        mlm_dense=2 * masked * h * h,
        output_layer=2 * masked * h * vocab_size,
        nsp_head=2 * (h * h + 2 * h) if nsp else 0,
    )
