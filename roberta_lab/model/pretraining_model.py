"""The encoder with its two pretraining heads: masked language modelling and next-sentence prediction."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from roberta_lab.config import ModelConfig
from roberta_lab.model.encoder import PAD_ID, Encoder, initialize


class PretrainingModel(nn.Module):
    """The encoder with BERT's heads (Devlin et al. 2019, Section 3.1): the MLM head and, with `nsp`, the NSP head.

    MLM: LayerNorm(GELU(dense(h))), then the matrix of the token embeddings and a bias. NSP: tanh(dense(h)), two classes.
    """

    def __init__(
        self,
        config: ModelConfig,
        vocab_size: int,
        max_positions: int,
        token_types: int,
        nsp: bool,
        pad_id: int = PAD_ID,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(config, vocab_size, max_positions, token_types, pad_id)
        self.mlm_dense = nn.Linear(config.hidden, config.hidden)
        self.mlm_norm = nn.LayerNorm(config.hidden, eps=config.layer_norm_eps)
        self.mlm_bias = nn.Parameter(torch.zeros(vocab_size))
        self.nsp_pooler = nn.Linear(config.hidden, config.hidden) if nsp else None
        self.nsp_classifier = nn.Linear(config.hidden, 2) if nsp else None
        for head in (self.mlm_dense, self.mlm_norm, self.nsp_pooler, self.nsp_classifier):
            if head is not None:
                initialize(head, config.init_std)

    def mlm_features(self, hidden: Tensor) -> Tensor:
        """Return what the output layer reads, (M, H), from the hidden states at masked positions, (M, H)."""
        features: Tensor = self.mlm_norm(F.gelu(self.mlm_dense(hidden)))
        return features

    @property
    def output_layer(self) -> tuple[Tensor, Tensor]:
        """Return the matrix, (V, H), tied to the token embeddings, and the bias, (V,)."""
        return self.encoder.embeddings.tokens.weight, self.mlm_bias

    def mlm_logits(self, hidden: Tensor) -> Tensor:
        """Return logits over the vocabulary, (M, V), from the hidden states at masked positions, (M, H)."""
        return F.linear(self.mlm_features(hidden), *self.output_layer)

    def nsp_logits(self, first: Tensor) -> Tensor:
        """Return logits of the classes 0 (is next) and 1 (is random), (B, 2), from the hidden states of `<s>`, (B, H)."""
        assert self.nsp_pooler is not None and self.nsp_classifier is not None
        logits: Tensor = self.nsp_classifier(torch.tanh(self.nsp_pooler(first)))
        return logits
