"""`inspect`: show training examples as the model reads them, and statistics of an epoch. Use it to check new data."""

import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from roberta_lab.axes import blocks, tokenizer
from roberta_lab.axes.batch_size import batch_plan, micro_batch_size
from roberta_lab.axes.data_mix import tokens_by_source, training_documents
from roberta_lab.axes.epochs import Epochs, epochs_of
from roberta_lab.axes.examples import Vocabulary, gather
from roberta_lab.axes.input_format import fewest_documents
from roberta_lab.axes.masking import masked_rows
from roberta_lab.axes.sentence_store import TokenStore
from roberta_lab.config import Config
from roberta_lab.data import token_store
from roberta_lab.data.corpus.folders import counts_of, manifest_of
from roberta_lab.data.corpus.preparation import prepared_for
from roberta_lab.data.corpus.tokens import cut_of
from roberta_lab.data.inspection import decoded, statistics
from roberta_lab.data.inspection.statistics import batch_statistics
from roberta_lab.data.plan_counts import KeptCounts
from roberta_lab.data.storage import Json, write
from roberta_lab.reports.page import inspection as report
from roberta_lab.runs import identity
from roberta_lab.runs.jobs import Job


def main(job: Job) -> Json:
    """Show the first examples of epoch `inspect.epoch`, masked as in pretraining; write a page with the whole epoch."""
    config = job.config
    prepared = prepared_for(config)
    encoding = tokenizer.load(prepared.tokenizer)
    store = training_documents(
        token_store.open_store(prepared.store / "train"), config.data_mix, fewest_documents(config.input_format)
    )
    plans = epochs_of(store, config, KeptCounts(store, Path(config.paths.cache), config.trainer.progress))
    plan = plans.plan(config.inspect.epoch)
    numbers = np.arange(min(config.inspect.examples, plan.num_examples))
    rows = gather(store, plan, numbers, encoding.vocabulary)
    epochs = np.full_like(numbers, config.inspect.epoch)
    seen, labels = masked_rows(rows, numbers, epochs, config.masking, config.seed, encoding.vocabulary)
    examples = decoded.decoded(encoding, rows, numbers, seen, labels, config.nsp.pairs)
    if cut := cut_of(prepared.store, config.data_mix):
        print(f"a run {cut}")
    title = f"{config.input_format.name}, {config.masking.name} masking, epoch {config.inspect.epoch}"
    print(f"{title}: {decoded.legend()}" if examples else title)
    for example in examples:
        print(f"\n{decoded.painted(example)}")
    manifests = {folder.parent.name: report.manifest_lines(manifest_of(folder)) for folder in prepared}
    for name, lines in manifests.items():
        print("\n".join([f"\nprepared {name}", *report.lines_text(lines)]))
    shares = tokens_by_source(store)
    found: dict[str, Json] = {
        "epoch": config.inspect.epoch,
        "examples": [{"title": e.title, "tokens": [token._asdict() for token in e.tokens]} for e in examples],
        "prepared": {path.parent.name: {"directory": str(path), "counts": counts_of(path)} for path in prepared},
        "tokens_of_a_pass": shares,
    }
    if len(shares) > 1:
        print("\na pass reads")
        for name, number in shares.items():
            print(f"  {name}  {number:,} tokens, {number / store.num_tokens:.1%}")
    if config.inspect.statistics:
        counted = _counted(config, store, plans, encoding.vocabulary)
        run_id = identity.directory(config, "pretrain").name
        frequent = tuple((encoding.spelled(token), number) for token, number in counted.rows.most_frequent)
        page = report.Page(title, run_id, report.settings(config), manifests, counted, frequent, examples)
        file = Path(config.paths.outputs) / "inspect" / run_id / "index.html"
        file.parent.mkdir(parents=True, exist_ok=True)
        write(file, report.html(page))
        print(f"\n{report.text(counted)}\n\n{file}")
        found |= {"statistics": asdict(counted), "page": str(file)}
    sys.stdout.flush()  # `inspect | head` breaks the pipe: raise that here, where the caller expects it
    return found


def _counted(config: Config, store: TokenStore, plans: Epochs, vocabulary: Vocabulary) -> statistics.EpochStatistics:
    """Return the statistics of the epoch, or of its first `inspect.max_examples` examples; of a large corpus, of its first block."""
    plan, first_block = plans.plan(config.inspect.epoch), next(blocks.stores(store))
    number = min(config.inspect.max_examples or plan.num_examples, plan.num_examples)
    epoch, size = config.inspect.epoch, micro_batch_size(config.batch_size.sequences, config.trainer)
    planned = statistics.plan_statistics(first_block, plan, number, config.input_format.max_length, config.nsp.pairs)
    return statistics.EpochStatistics(
        epoch,
        replace(planned, num_planned=plans.size(epoch)[0], counts=plans.totals(epoch)),
        statistics.row_statistics(
            store, plan, number, epoch, config.masking, config.seed, vocabulary, config.trainer.progress
        ),
        batch_statistics(batch_plan(plans, store, config), config.batch_size.steps, size, config.trainer.world_size),
    )
