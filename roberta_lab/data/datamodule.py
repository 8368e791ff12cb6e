"""Make the batches of a run: plan -> batch -> gather -> mask -> tensors, in a LightningDataModule.

The position in the data is the number of micro-batches so far; the loader derives everything from it.
"""

from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Self, TypeAlias, cast

import lightning.pytorch as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from roberta_lab.axes import blocks, input_format
from roberta_lab.axes.batch_size import ALONE, Rank, batch_plan, micro_batch_size
from roberta_lab.axes.epochs import Counting, Epochs, count_all, epochs_of
from roberta_lab.axes.examples import IGNORED, Rows, Vocabulary, gather
from roberta_lab.axes.masking import masked_rows, num_maskable, num_masked, positions_of
from roberta_lab.axes.rng import hashed, stream_key
from roberta_lab.axes.sentence_store import SentenceStore
from roberta_lab.config import Config, MaskingConfig
from roberta_lab.data.batch import Batch
from roberta_lab.data.position_loader import PositionLoader, leave_signals_to_the_run
from roberta_lab.data.static_shapes import Shape, filled, shape_of

if TYPE_CHECKING:
    from roberta_lab.data.common_set import CommonSet

WORKERS_BESIDE_A_GPU = 4
VALIDATION_BATCH = 32  # sequences; the same for every run, so that sums are taken in the same order
VALIDATION_SEED = 0  # one fixed pattern for every run, whatever it trains on, so that perplexities compare
VALIDATION_MASKING = MaskingConfig("static")  # the paper's 15%, 80/10/10


# rows, what the model sees of them, labels, vocabulary -> what the batch holds beside them: arrays (B,), or (B, T)
Fields: TypeAlias = Callable[[Rows, np.ndarray, np.ndarray, Vocabulary], dict[str, np.ndarray]]


def no_fields(rows: Rows, seen: np.ndarray, labels: np.ndarray, vocabulary: Vocabulary) -> dict[str, np.ndarray]:
    """Return nothing: MLM and NSP need no more than every batch holds."""
    return {}


def example_keys(examples: np.ndarray, epochs: np.ndarray, seed: int) -> np.ndarray:
    """Return a word for each (seed, example, epoch), (B,) uint64: what is drawn from it is the same however a step is cut."""
    return hashed(stream_key(seed, "fields"), examples, epochs)


def to_batch(rows: Rows, masked: np.ndarray, labels: np.ndarray) -> dict[str, Tensor]:
    """Return tensors under Hugging Face's keys. Without padding there is no attention_mask: attention is faster then."""
    width = masked.shape[1]
    batch = {
        "input_ids": torch.from_numpy(masked),
        "labels": torch.from_numpy(labels),
        "token_type_ids": torch.from_numpy(rows.token_type_ids),
    }
    if (rows.lengths < width).any():
        batch["attention_mask"] = torch.from_numpy(np.arange(width) < rows.lengths[:, None])
    if rows.next_sentence_label is not None:
        batch["next_sentence_label"] = torch.from_numpy(rows.next_sentence_label)
    return batch


def pack(batch: dict[str, Tensor], max_length: int, fields: Mapping[str, np.ndarray] | None = None) -> Batch:
    """Return the batch without padding, under the keys of a packed `Batch`; max_length is that of any input of the run.

    `fields` are what an objective adds: arrays (B,), or (B, T) of which padding is taken out too.
    """
    ids, labels = batch["input_ids"], batch["labels"]
    real = batch.get("attention_mask", torch.ones_like(ids, dtype=torch.bool))
    lengths = real.sum(1)
    labels = labels[real]
    masked = (labels != IGNORED).nonzero().squeeze(1)
    packed: Batch = {
        "input_ids": ids[real],
        "position_ids": torch.arange(ids.shape[1]).expand_as(ids)[real],
        "cu_seq_lens": torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]).int(),
        "max_length": max_length,
        "masked_positions": masked,
        "masked_labels": labels[masked],
    }
    if "token_type_ids" in batch:
        packed["token_type_ids"] = batch["token_type_ids"][real]
    if "next_sentence_label" in batch:
        packed["next_sentence_label"] = batch["next_sentence_label"]
    if fields:
        tensors = {name: torch.from_numpy(array) for name, array in fields.items()}
        packed["fields"] = {name: t[real] if t.shape == real.shape else t for name, t in tensors.items()}
    return packed


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Return the batch on a device, with the fields of an objective. Copies from pinned memory run beside the computation."""

    def moved(values: Mapping[str, object]) -> dict[str, object]:
        return {k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in values.items()}

    there = moved(batch)
    if "fields" in batch:
        there["fields"] = moved(batch["fields"])
    return cast(Batch, there)


class MicroBatches(Dataset[Batch]):
    """The micro-batches of one rank, each a pure function of its number, with the counts of its whole step."""

    def __init__(
        self,
        store: SentenceStore,
        plans: Epochs,
        config: Config,
        vocabulary: Vocabulary,
        rank: Rank = ALONE,
        fields: Fields = no_fields,
    ) -> None:
        self.store, self.plans, self.config, self.vocabulary = store, plans, config, vocabulary
        self.fields = fields
        self.batches = batch_plan(plans, store, config)
        self.batches.epochs(
            config.batch_size.steps
        )  # all copies that the run reaches are counted now, not amid its steps
        self.size = micro_batch_size(config.batch_size.sequences, config.trainer)
        self.rank = rank
        self.per_step = self.batches.passes(self.size, rank.world_size)
        self._counts: dict[int, tuple[int, int, int]] = {}  # of the current step
        self.shape: Shape | None = None  # of all micro-batches; None: as large as their inputs

    def cut_into(self, size: int) -> Self:
        """Return the same steps in micro-batches of another size."""
        other = copy(self)
        other.size, other.per_step = size, self.batches.passes(size, self.rank.world_size)
        other.shape = None
        return other

    def __len__(self) -> int:
        return self.config.batch_size.steps * self.per_step

    def __getitem__(self, i: int) -> Batch:
        step, index = divmod(i, self.per_step)
        examples, epochs = self.batches.micro_batch(step, index, self.size, *self.rank)
        plan, places = self.plans.view(examples, epochs)
        by_length = np.argsort(plan.lengths[places], kind="stable")  # attention is faster so
        examples, epochs = examples[by_length], epochs[by_length]
        rows, masked, labels = self._masked(examples, epochs)
        keyed = replace(rows, keys=example_keys(examples, epochs, self.config.seed))
        fields = self.fields(keyed, masked, labels, self.vocabulary)
        batch = pack(to_batch(rows, masked, labels), self.config.input_format.max_length, fields)
        batch["batch_masked"], batch["batch_sequences"], batch["batch_tokens"] = self.counts(step)
        batch["num_tokens"] = int(rows.lengths.sum())
        batch["position"] = i * self.rank.world_size + self.rank.number  # the share's place among those of all ranks
        return batch if self.shape is None else filled(batch, self.shape, self.vocabulary.pad_id)

    def counts(self, step: int) -> tuple[int, int, int]:
        """Return the masked tokens, sequences and tokens of a whole step, by which its losses are divided."""
        if step not in self._counts:
            examples, epochs = self.batches.batch(step)
            masking, seed = self.config.masking, self.config.seed
            plan, places = self.plans.view(examples, epochs)
            if positions_of(masking).is_exact:
                masked = num_masked(num_maskable(plan, places, masking), examples, epochs, masking, seed).sum()
            else:  # only choosing shows how many there are
                masked = (self._masked(examples, epochs)[2] != IGNORED).sum()
            self._counts = {step: (int(masked), len(examples), int(plan.lengths[places].sum(dtype=np.int64)))}
        return self._counts[step]

    def _masked(self, examples: np.ndarray, epochs: np.ndarray) -> tuple[Rows, np.ndarray, np.ndarray]:
        plan, places = self.plans.view(examples, epochs)
        rows = gather(self.store, plan, places, self.vocabulary)
        return rows, *masked_rows(rows, examples, epochs, self.config.masking, self.config.seed, self.vocabulary)


class PretrainingData(L.LightningDataModule):
    """The training and validation data of one run, from the token stores of its data mix."""

    def __init__(
        self,
        config: Config,
        train: SentenceStore,
        validation: SentenceStore,
        vocabulary: Vocabulary,
        rank: Rank = ALONE,
        fields: Fields = no_fields,
        make_common: "Callable[[], CommonSet | None] | None" = None,
        has_fixed_shapes: bool = False,
        counting: Counting = count_all,
    ) -> None:
        super().__init__()
        self.config, self.vocabulary, self.validation_store, self.fields = config, vocabulary, validation, fields
        self._make_common = make_common
        key = stream_key(VALIDATION_SEED, "validation")
        self.validation_plan = input_format.plan(validation, config.input_format, key, config.nsp.pairs)
        plans = epochs_of(train, config, counting)
        self.micro_batches = MicroBatches(train, plans, config, vocabulary, rank, fields)
        if has_fixed_shapes:
            self.micro_batches.shape = shape_of(self.micro_batches)

    @cached_property
    def common(self) -> "CommonSet | None":
        """Return the common held-out set, made when it is first asked for; None where no word is masked, and for data in memory."""
        return None if self._make_common is None else self._make_common()

    @property
    def accumulation(self) -> int:
        """Return the number of micro-batches per optimizer step."""
        return self.micro_batches.per_step

    def train_dataloader(self) -> PositionLoader:
        assert self.trainer is not None
        start = self.trainer.global_step * self.accumulation
        workers = self.config.trainer.workers
        on_gpu = self.trainer.strategy.root_device.type == "cuda"
        if workers is None:
            workers = WORKERS_BESIDE_A_GPU if on_gpu else 0
        return PositionLoader(
            self.micro_batches,
            batch_size=None,
            sampler=range(start, len(self.micro_batches)),
            num_workers=workers,
            pin_memory=on_gpu,
            worker_init_fn=leave_signals_to_the_run,
            generator=torch.Generator().manual_seed(0),
            persistent_workers=workers > 0,
        )

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Return the batch on a device."""
        return to_device(batch, device)

    def validation_batches(self, rank: Rank = ALONE) -> Iterator[Batch]:
        """Yield the held-out examples in order, with their one fixed pattern. Several ranks take the batches in turn."""
        size = VALIDATION_BATCH
        for start in range(rank.number * size, self.validation_plan.num_examples, rank.world_size * size):
            examples = np.arange(start, min(start + size, self.validation_plan.num_examples))
            rows = gather(self.validation_store, self.validation_plan, examples, self.vocabulary)
            epochs = np.zeros_like(examples)
            masked, labels = masked_rows(rows, examples, epochs, VALIDATION_MASKING, VALIDATION_SEED, self.vocabulary)
            keyed = replace(rows, keys=example_keys(examples, epochs, VALIDATION_SEED))
            fields = self.fields(keyed, masked, labels, self.vocabulary)
            yield pack(to_batch(rows, masked, labels), self.config.input_format.max_length, fields)

    def num_bytes(self, batch: Batch) -> int:
        """Return the bytes of the text that a batch masks; 0 when the vocabulary does not know them."""
        lengths = self.vocabulary.num_bytes
        return 0 if lengths is None else int(lengths[batch["masked_labels"].numpy()].sum())

    def unigram_perplexity(self) -> float:
        """Return the perplexity of validation under the training text's unigram frequencies (add-one smoothed)."""
        counts = np.ones(self.vocabulary.size)
        for some in blocks.stores(self.micro_batches.store):
            tokens = some.gather_tokens(some.sentence_starts, some.sentence_lengths)
            counts += np.bincount(tokens, minlength=self.vocabulary.size)
        log_share = np.log(counts / counts.sum())
        labels = torch.cat([batch["masked_labels"] for batch in self.validation_batches()])
        return float(np.exp(-log_share[labels.numpy()].mean()))
