"""BERT in plain torch (Devlin et al. 2019, Section 3; RoBERTa, Section 2): the encoder and its two pretraining heads.

LayerNorm comes after each residual sum, positions are learned and begin at row pad + 1 = 2, GELU is exact. Nothing need be
computed for padding: `Encoder.hidden_states` takes the real tokens of a batch.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from roberta_lab.axes.rng import stream_key
from roberta_lab.config import ModelConfig
from roberta_lab.model.attention import Attention, Packed, Padded, takes_joined

PAD_ID = 1  # RoBERTa's; a published tokenizer may have another
POSITION_OFFSET = 2  # RoBERTa's first position, pad + 1


class Embeddings(nn.Module):
    """LayerNorm(token + position + token type embeddings). Only formats of pairs have token types."""

    def __init__(self, config: ModelConfig, vocab_size: int, max_positions: int, token_types: int, pad_id: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, config.hidden, padding_idx=pad_id)
        self.positions = nn.Embedding(max_positions + POSITION_OFFSET, config.hidden)
        self.token_types = nn.Embedding(token_types, config.hidden) if token_types else None
        self.norm = nn.LayerNorm(config.hidden, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, input_ids: Tensor, position_ids: Tensor | None, token_type_ids: Tensor | None) -> Tensor:
        """Return float (..., H) for ids int64 (B, T) at positions 0 to T - 1, or (N,), each at its own position."""
        if position_ids is None:
            positions = self.positions.weight[POSITION_OFFSET : POSITION_OFFSET + input_ids.shape[1]]
        else:
            positions = self.positions(position_ids + POSITION_OFFSET)
        x = self.tokens(input_ids) + positions
        if self.token_types is not None:
            x = x + (self.token_types.weight[0] if token_type_ids is None else self.token_types(token_type_ids))
        embedded: Tensor = self.dropout(self.norm(x))
        return embedded


class Layer(nn.Module):
    """One layer (Vaswani et al. 2017, Section 3.1; ffn(x) = W2 GELU(W1 x), Devlin et al. 2019).

    y = LayerNorm(x + dropout(attention(x))), then LayerNorm(y + dropout(ffn(y))).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.attention_dropout = config.attention_dropout
        self.qkv = nn.Linear(config.hidden, 3 * config.hidden)
        self.attention_out = nn.Linear(config.hidden, config.hidden)
        self.attention_norm = nn.LayerNorm(config.hidden, eps=config.layer_norm_eps)
        self.ffn_in = nn.Linear(config.hidden, config.ffn)
        self.ffn_out = nn.Linear(config.ffn, config.hidden)
        self.ffn_norm = nn.LayerNorm(config.hidden, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, attention: Attention) -> Tensor:
        """Return hidden states of the shape of `x`, (..., H)."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(-3)
        context = attention(query, key, value, self.attention_dropout if self.training else 0.0)
        return self._after(x, context)

    def at(self, x: Tensor, places: Tensor) -> Tensor:
        """Return the hidden states at one place of each row, (B, H), of rows (B, T, H) without padding; places int64 (B,).

        Only keys and values are computed for all places: a fraction of the work of `forward`, where nothing else is read.
        """
        own, hidden = x[torch.arange(len(x), device=x.device), places], x.shape[-1]
        query = F.linear(own, self.qkv.weight[:hidden], self.qkv.bias[:hidden]).unflatten(-1, (self.heads, -1))
        both = F.linear(x, self.qkv.weight[hidden:], self.qkv.bias[hidden:])
        key, value = both.unflatten(-1, (2, self.heads, -1)).unbind(-3)
        context = Padded(None)(query[:, None], key, value, self.attention_dropout if self.training else 0.0)
        return self._after(own, context[:, 0])

    def _after(self, x: Tensor, context: Tensor) -> Tensor:
        """Return what the layer makes of its input and of the contexts that attention gave, (..., A, D)."""
        x = self.attention_norm(x + self.dropout(self.attention_out(context.flatten(-2))))
        x = self.ffn_norm(x + self.dropout(self.ffn_out(F.gelu(self.ffn_in(x)))))
        return x


class Layers(nn.ModuleList):
    """Layers one after the other: those of the encoder, or of an objective's head. Training compiles and checkpoints all."""

    checkpointing = False  # save memory: compute each layer a second time, in the backward pass

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(Layer(config) for _ in range(config.layers))

    def forward(self, x: Tensor, attention: Attention) -> Tensor:
        """Return hidden states of the shape of `x`, (..., H)."""
        for layer in self:
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(layer, x, attention, use_reentrant=False)
            else:
                x = layer(x, attention)
        return x

    def at(self, x: Tensor, places: Tensor) -> Tensor:
        """Return what the last layer makes of one place of each row, (B, H), as `Layer.at` does."""
        *before, last = self
        for layer in before:
            x = layer(x, Padded(None))
        assert isinstance(last, Layer)
        return last.at(x, places)


class Encoder(nn.Module):
    """The embeddings and layers, for padded rows (`forward`) or inputs joined end to end (`hidden_states`)."""

    compiled: Callable[[Tensor, Tensor | None, Tensor | None, Attention], Tensor] | None = None

    def __init__(
        self, config: ModelConfig, vocab_size: int, max_positions: int, token_types: int = 0, pad_id: int = PAD_ID
    ) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config, vocab_size, max_positions, token_types, pad_id)
        self.layers = Layers(config)
        initialize(self, config.init_std)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """Return hidden states, float (B, T, H), of padded rows: ids int64 (B, T), token types 0 by default.

        The mask is bool (B, T), True on real tokens, and None when there is no padding, which is faster.
        """
        mask = None if attention_mask is None else attention_mask.bool()
        if mask is not None and takes_joined(self.config, input_ids.device):
            return self._joined(input_ids, mask, token_type_ids)
        return self._run(input_ids, None, token_type_ids, Padded(None if mask is None else mask[:, None, None, :]))

    def _joined(self, input_ids: Tensor, mask: Tensor, token_type_ids: Tensor | None) -> Tensor:
        """Return the hidden states of padded rows, (B, T, H), zeros on padding, for which nothing is computed."""
        places = mask.flatten().nonzero().squeeze(1)
        ends = F.pad(mask.sum(1).cumsum(0), (1, 0)).int()
        columns = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
        types = None if token_type_ids is None else token_type_ids.flatten()[places]
        ids = input_ids.flatten()[places]
        hidden = self._run(ids, columns.flatten()[places], types, Packed(ends, mask.shape[1]))
        rows = hidden.new_zeros(mask.numel(), hidden.shape[-1]).index_copy(0, places, hidden)
        return rows.view(*mask.shape, -1)

    def hidden_states(
        self, input_ids: Tensor, position_ids: Tensor | None, token_type_ids: Tensor | None, attention: Attention
    ) -> Tensor:
        """Return hidden states of the shape of the ids, float (..., H): rows (B, T), or the tokens of all inputs, (N,).

        All ids are int64. Positions are those in a row where None. Batches of the fixed shape are taken by compiled code, if there is any.
        """
        compiled = self.compiled if isinstance(attention, Packed) and attention.has_fixed_shape else None
        return (compiled or self._run)(input_ids, position_ids, token_type_ids, attention)

    def _run(
        self, input_ids: Tensor, position_ids: Tensor | None, token_type_ids: Tensor | None, attention: Attention
    ) -> Tensor:
        hidden: Tensor = self.layers(self.embeddings(input_ids, position_ids, token_type_ids), attention)
        return hidden

    def compile_for_one_shape(self, **options: Any) -> None:
        """Compile embeddings and layers as one, for packed batches of one shape; another shape is compiled anew.

        Options are those of torch.compile.
        """
        self.compiled = torch.compile(self._run, dynamic=False, **options)

    def at(self, input_ids: Tensor, places: Tensor) -> Tensor:
        """Return the hidden states at one place of each row, float (B, H).

        Rows are ids int64 (B, T) without padding, of token type 0; places int64 (B,). The last layer is computed there alone.
        """
        found: Tensor = self.layers.at(self.embeddings(input_ids, None, None), places)
        return found


class PretrainingModel(nn.Module):
    """The encoder with BERT's heads (Devlin et al. 2019, Section 3.1): the MLM head and, with `nsp`, the NSP head.

    MLM: LayerNorm(GELU(dense(h))), then the matrix of the token embeddings and a bias. NSP: tanh(dense(h)), two classes.
    `heads` are those of another objective (model/objective.py), which exported folders leave out.
    """

    def __init__(
        self,
        config: ModelConfig,
        vocab_size: int,
        max_positions: int,
        token_types: int,
        nsp: bool,
        pad_id: int = PAD_ID,
        heads: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(config, vocab_size, max_positions, token_types, pad_id)
        self.mlm_dense = nn.Linear(config.hidden, config.hidden)
        self.mlm_norm = nn.LayerNorm(config.hidden, eps=config.layer_norm_eps)
        self.mlm_bias = nn.Parameter(torch.zeros(vocab_size))
        self.nsp_pooler = nn.Linear(config.hidden, config.hidden) if nsp else None
        self.nsp_classifier = nn.Linear(config.hidden, 2) if nsp else None
        self.heads = nn.ModuleDict(heads)
        for head in (self.mlm_dense, self.mlm_norm, self.nsp_pooler, self.nsp_classifier, self.heads):
            if head is not None:
                initialize(head, config.init_std)

    def freeze_heads(self, trained: Collection[str]) -> None:
        """Take the own heads, mlm and nsp, that are not among the trained ones out of training: no step computes gradients
        of them, and DDP would wait for those."""
        for name, parameter in self.named_parameters():
            if (head := name.partition("_")[0]) in ("mlm", "nsp"):
                parameter.requires_grad_(head in trained)

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


def initialize(module: nn.Module, std: float, key: int | None = None) -> None:
    """Initialize as BERT: N(0, std) for matrices, zeros for biases and rows that no input reads, ones for LayerNorm.

    With a key, each matrix has draws of its own, keyed by its name in the module. So a model with one part more, token types
    or a head, starts from the same weights in all others. None: all are drawn in turn from torch's global generator.
    """
    for name, part in module.named_modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            draw = None if key is None else torch.Generator().manual_seed(stream_key(key, name) >> 1)
            nn.init.normal_(part.weight, std=std, generator=draw)
        if isinstance(part, nn.Linear):
            nn.init.zeros_(part.bias)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Embedding) and part.padding_idx is not None:
                part.weight[part.padding_idx].zero_()
            elif isinstance(part, Embeddings):  # zeros, so that a layout without these rows loses nothing
                part.positions.weight[:POSITION_OFFSET].zero_()
