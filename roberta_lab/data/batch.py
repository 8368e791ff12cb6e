"""The names and types of what a batch holds, on its way from the data to the model."""

from typing import TypedDict

from torch import Tensor


class Batch(TypedDict, total=False):
    """A dictionary with Hugging Face's keys, padded (B, T) or packed: real tokens of all inputs joined end to end, (N,)."""

    input_ids: Tensor  # int64 (B, T) or (N,)
    token_type_ids: Tensor  # int64, as input_ids
    next_sentence_label: Tensor  # int64 (B,), formats of pairs only

    # padded
    labels: Tensor  # int64 (B, T), examples.IGNORED where nothing is predicted
    attention_mask: Tensor  # bool (B, T), True on real tokens; absent when there is no padding

    # packed
    position_ids: Tensor  # int64 (N,), the place of each token in its input
    cu_seq_lens: Tensor  # int32 (B + 1,), where each input starts, and the end of the last
    max_length: int  # of any input of the run
    masked_positions: Tensor  # int64 (M,), places among the N tokens
    masked_labels: Tensor  # int64 (M,)
    fields: dict[str, Tensor]  # what the terms of an objective add, (N,) or (B,)

    # a micro-batch of pretraining
    batch_masked: int  # masked tokens of the whole step, over all ranks
    batch_sequences: int  # inputs of the whole step, over all ranks
    batch_tokens: int  # real tokens of the whole step, over all ranks
    num_tokens: int  # real tokens of this micro-batch
    num_inputs: int  # in a fixed shape alone: real inputs, which come first
    num_masked: int  # in a fixed shape alone: masked tokens that are real, which come first
    position: int  # number of this micro-batch among those of all ranks and steps
