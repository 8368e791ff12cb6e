"""Count a whole epoch: lengths, documents, NSP labels, batches, padding, and masked tokens.

Lengths, spans and labels are read from the plan. Masks are counted on rows that are gathered and masked as in training. They
are compared with expectations that are computed here, without the code of `masking`, so that its faults show.
"""

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from roberta_lab.axes.batch_size import BatchPlan
from roberta_lab.axes.examples import IGNORED, Plan, Rows, Vocabulary, gather
from roberta_lab.axes.masking import masked_rows, positions_of
from roberta_lab.axes.rng import hashed
from roberta_lab.axes.sentence_store import SentenceStore
from roberta_lab.config import MaskingConfig
from roberta_lab.data.inspection.shares import Bin, Share, binned, binomial

BLOCK_TOKENS = 1 << 18  # rows are gathered and masked in blocks of at most so many tokens: 2 MB an array
MOST_FREQUENT = 10
MOST_STEPS, MOST_PASSES = 200, 4000  # padding is measured on the first batches of an epoch


@dataclass(frozen=True)
class PlanStatistics:
    """Statistics of the plan's first examples; they need no tokens."""

    num_examples: int
    num_planned: int  # examples of the whole epoch
    tokens: int  # with special tokens, without padding
    text_tokens: int
    shortest: int
    median: float
    longest: int
    full: Share  # inputs of max_length tokens
    too_long: int  # longer inputs: must be 0
    histogram: tuple[Bin, ...]
    covered: Share  # tokens of the corpus that are in an input
    documents: dict[int, int]  # documents that an input holds -> inputs
    crossings: int  # borders of documents inside inputs
    pairs: str  # the rule of pairs (`nsp.pairs`)
    random_pairs: Share | None  # of label 1
    mislabelled: int  # pairs whose label contradicts the documents of A and B: must be 0
    counts: dict[str, int]  # of the whole corpus, from the format


@dataclass(frozen=True)
class RowStatistics:
    """Statistics of the rows as the model sees them, and of their labels."""

    selected: Share  # of the tokens that may be selected
    kinds: dict[str, Share]  # of the selected: masked, random, kept; a random draw of the token itself counts as kept
    specials_selected: Share
    by_position: tuple[Bin, ...]
    faults: dict[str, int]  # must all be 0
    duplicates: int  # inputs that equal an earlier one
    unknown: int  # text tokens with the id of a special token: <unk>
    pieces: Share  # of the vocabulary: ids that occur in the text
    most_frequent: tuple[tuple[int, int], ...]  # (id, occurrences)


@dataclass(frozen=True)
class BatchStatistics:
    """Statistics of the first steps of training."""

    num_steps: int  # that the rest is measured on
    steps_per_epoch: float
    run: tuple[int, float]  # steps of the whole run, and how many epochs they are
    inputs: tuple[int, float, int]  # of a step: fewest, mean, most
    tokens: tuple[int, float, int]
    padding: Share  # of the positions that a model would compute that pads inputs to the longest of their micro-batch


@dataclass(frozen=True)
class EpochStatistics:
    """The statistics that `roberta-lab inspect` shows with its examples."""

    epoch: int
    plan: PlanStatistics
    rows: RowStatistics
    batches: BatchStatistics


# ---------------------------------------------------------------- from the plan
def plan_statistics(
    store: SentenceStore, plan: Plan, num_examples: int, max_length: int, pairs: str = "random"
) -> PlanStatistics:
    """Return the statistics of the first `num_examples` of the plan, 1 or more."""
    ends = plan.example_ends[:num_examples]
    starts = plan.spans_start[: ends[-1]]
    stops = starts + plan.spans_length[: ends[-1]]
    lengths = plan.lengths[:num_examples]
    corpus = _covered(store.sentence_starts, store.sentence_starts + store.sentence_lengths)
    documents, borders = _documents_of(store, starts, stops, ends)
    random = None if plan.next_sentence_label is None else plan.next_sentence_label[:num_examples] == 1
    return PlanStatistics(
        num_examples=num_examples,
        num_planned=plan.num_examples,
        tokens=int(lengths.sum(dtype=np.int64)),
        text_tokens=int(plan.num_text_tokens[:num_examples].sum()),
        shortest=int(lengths.min()),
        median=float(np.median(lengths)),
        longest=int(lengths.max()),
        full=Share(int((lengths == max_length).sum()), num_examples),
        too_long=int((lengths > max_length).sum()),
        histogram=binned(np.bincount(lengths, minlength=max_length + 1)[1:], num_examples),
        covered=Share(_covered(starts, stops), corpus),
        documents=dict(sorted(Counter((1 + borders).tolist()).items())),
        crossings=int(borders.sum()),
        pairs=pairs,
        random_pairs=None if random is None else Share(int(random.sum()), num_examples),
        mislabelled=0 if random is None else _mislabelled(random, documents, starts, stops, pairs),
        counts=plan.counts,
    )


def _documents_of(
    store: SentenceStore, starts: np.ndarray, stops: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the document of each span's first token (M,), and the number of document borders in each example (N,).

    Documents are looked up in the store, so a span that goes on into the next document counts as crossing too.
    """
    firsts = np.concatenate([[0], store.document_ends[:-1]])
    # sorted, each once: a document that a mix repeats is the same document at the same place
    document_starts = np.unique(np.asarray(store.sentence_starts)[firsts[firsts < store.document_ends]])
    first = np.searchsorted(document_starts, starts, side="right")
    last = np.searchsorted(document_starts, stops - 1, side="right")
    changes = first[1:] != last[:-1]
    changes[ends[:-1] - 1] = False  # between two examples
    crossed = np.concatenate([[0], np.cumsum((last - first) + np.append(changes, False))])
    return first, np.diff(crossed[ends], prepend=0)


def _covered(starts: np.ndarray, stops: np.ndarray) -> int:
    """Return the number of tokens in the union of the spans."""
    order = np.argsort(starts, kind="stable")
    starts, reach = starts[order], np.maximum.accumulate(stops[order])
    return int(np.maximum(reach - np.maximum(starts, np.append(starts[:1], reach[:-1])), 0).sum())


def _mislabelled(random: np.ndarray, documents: np.ndarray, starts: np.ndarray, stops: np.ndarray, pairs: str) -> int:
    """Count the pairs whose label is wrong.

    With label 0, B follows A in its document; with label 1, B is of another document (`random`), or A follows B (`swapped`).
    """
    same = documents[0::2] == documents[1::2]
    follows = same & (starts[1::2] >= stops[0::2])
    wrong = ~(same & (starts[0::2] >= stops[1::2])) if pairs == "swapped" else same
    return int(np.where(random, wrong, ~follows).sum())


# ---------------------------------------------------------------- from rows
def row_statistics(
    store: SentenceStore,
    plan: Plan,
    num_examples: int,
    epoch: int,
    masking: MaskingConfig,
    seed: int,
    vocabulary: Vocabulary,
    progress: bool = False,
) -> RowStatistics:
    """Gather and mask the first `num_examples` of the plan, 1 or more, in blocks, and count every token."""
    longest = int(plan.lengths[:num_examples].max())
    size = max(1, BLOCK_TOKENS // longest)
    totals: Counter[str] = Counter()
    pieces = np.zeros(vocabulary.size, np.int64)
    positions = np.zeros((2, longest), np.int64)  # where a token was selected, and where one could be
    sizes = np.zeros(longest + 1, np.int64)  # the number of rows by their tokens that may be selected
    digests = np.empty(num_examples, np.uint64)
    with tqdm(total=num_examples, unit="input", desc="statistics", leave=False, disable=not progress) as bar:
        for first in range(0, num_examples, size):
            examples = np.arange(first, min(first + size, num_examples))
            rows = gather(store, plan, examples, vocabulary)
            seen, labels = masked_rows(rows, examples, np.full_like(examples, epoch), masking, seed, vocabulary)
            may = _selectable(rows, masking)
            sizes += np.bincount(may.sum(axis=1), minlength=longest + 1)
            totals.update(_counted(rows, seen, labels, may, vocabulary))
            positions[:, : labels.shape[1]] += (((labels != IGNORED) & may).sum(axis=0), may.sum(axis=0))
            pieces += np.bincount(rows.input_ids[~rows.special_mask], minlength=vocabulary.size)
            digests[examples] = _digests(rows)
            bar.update(len(examples))
    rule = positions_of(masking)
    rate = masking.mask_prob if rule.is_exact else None  # else only a bound is known
    frequent = np.argsort(-pieces, kind="stable")[:MOST_FREQUENT]
    return RowStatistics(
        selected=Share(totals["selected"], totals["selectable"], rate, _variance(sizes, masking)),
        kinds=_kinds(totals, masking, vocabulary),
        specials_selected=Share(totals["specials selected"], totals["specials"]),
        by_position=binned(positions[0], positions[1], rate if rule.is_uniform else None),
        faults={name: totals[name] for name in FAULTS if name != "specials selected" or masking.selection != "fairseq"},
        duplicates=len(digests) - len(np.unique(digests)),
        unknown=int(pieces[list(vocabulary.special_ids)].sum()),
        pieces=Share(int((pieces > 0).sum()), vocabulary.size),
        most_frequent=tuple((int(i), int(pieces[i])) for i in frequent if pieces[i]),
    )


def _kinds(totals: Counter[str], masking: MaskingConfig, vocabulary: Vocabulary) -> dict[str, Share]:
    num_text_ids = vocabulary.size - len(set(vocabulary.special_ids))
    by_chance = masking.random_share / num_text_ids  # a random draw that hits the token itself
    asked = {
        "masked": masking.mask_share,
        "random": masking.random_share - by_chance,
        "kept": 1 - masking.mask_share - masking.random_share + by_chance,
    }
    # no interval is known for the number of tokens where several are replaced alike
    if not positions_of(masking).draws_by_token:
        return {kind: Share(totals[kind], totals["selected"]) for kind in asked}
    return {kind: binomial(totals[kind], totals["selected"], share) for kind, share in asked.items()}


FAULTS = (
    "specials selected",
    "padding selected",
    "tokens changed but not selected",
    "labels other than the token",
    "special tokens drawn at random",
)


def _selectable(rows: Rows, masking: MaskingConfig) -> np.ndarray:
    """Return where tokens may be selected, (B, T) bool: text; with fairseq's selection `<s>` and `</s>` too."""
    inside = np.arange(rows.input_ids.shape[1]) < rows.lengths[:, None]
    return inside if masking.selection == "fairseq" else ~rows.special_mask


def _variance(sizes: np.ndarray, masking: MaskingConfig) -> float:
    """Return the variance of the number of selected tokens. `exact` and `fairseq` round it in each row; `bernoulli` draws."""
    expected = masking.mask_prob * np.arange(len(sizes))  # of a row
    if masking.selection == "bernoulli":
        return float((sizes * expected).sum() * (1 - masking.mask_prob))
    rest = np.modf(expected)[0]
    return float((sizes * rest * (1 - rest)).sum())


def _counted(
    rows: Rows, seen: np.ndarray, labels: np.ndarray, may: np.ndarray, vocabulary: Vocabulary
) -> dict[str, int]:
    """Return the counts of one block. Labels tell what is selected; what the model sees there tells the kind."""
    original, chosen = rows.input_ids, labels != IGNORED
    inside = np.arange(original.shape[1]) < rows.lengths[:, None]
    specials = rows.special_mask & inside
    masked = chosen & (seen == vocabulary.mask_id)
    kept = chosen & ~masked & (seen == original)
    random = chosen & ~masked & ~kept
    masks = {
        "selectable": may,
        "selected": chosen,
        "masked": masked,
        "kept": kept,
        "random": random,
        "specials": specials,
        "specials selected": chosen & specials,
        "padding selected": chosen & ~inside,
        "tokens changed but not selected": ~chosen & (seen != original),
        "labels other than the token": chosen & (labels != original),
        "special tokens drawn at random": random & np.isin(seen, vocabulary.special_ids),
    }
    return {name: int(np.count_nonzero(mask)) for name, mask in masks.items()}


def _digests(rows: Rows) -> np.ndarray:
    """Return 64 bits for the ids of each row without padding, equal for equal rows. (B,) uint64."""
    columns = np.arange(rows.input_ids.shape[1])
    words = hashed(0, columns[None, :], rows.input_ids)
    words[columns >= rows.lengths[:, None]] = 0
    return words.sum(axis=1, dtype=np.uint64)


# ---------------------------------------------------------------- from batches
def batch_statistics(batches: BatchPlan, run_steps: int, micro_batch_size: int, world_size: int = 1) -> BatchStatistics:
    """Cut the first epoch's batches, or the first steps of a long one, as training does; measure padding to each longest input."""

    def lengths_of(examples: np.ndarray, epochs: np.ndarray) -> np.ndarray:
        plan, places = batches.plans.view(examples, epochs)
        return plan.lengths[places]

    passes = batches.passes(micro_batch_size, world_size)
    steps_per_epoch = 1 / batches.epochs(1)
    num_steps = min(math.ceil(steps_per_epoch), MOST_STEPS, max(1, MOST_PASSES // (passes * world_size)))
    inputs, tokens, positions = [], [], 0
    for step in range(num_steps):
        lengths = lengths_of(*batches.batch(step))
        inputs.append(len(lengths))
        tokens.append(int(lengths.sum(dtype=np.int64)))
        for index in range(passes):
            for rank in range(world_size):
                lengths = lengths_of(*batches.micro_batch(step, index, micro_batch_size, rank, world_size))
                positions += len(lengths) * int(lengths.max())
    padding = Share(positions - sum(tokens), positions)
    run = run_steps, batches.epochs(run_steps)
    of_inputs, of_tokens = ((min(each), sum(each) / len(each), max(each)) for each in (inputs, tokens))
    return BatchStatistics(num_steps, steps_per_epoch, run, of_inputs, of_tokens, padding)
