"""One pretraining run, from its newest checkpoint to its result, on one process or several."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import lightning.pytorch as L
from tqdm import tqdm

from roberta_lab.axes import tokenizer
from roberta_lab.axes.batch_size import Rank, accumulation, micro_batch_size
from roberta_lab.axes.data_mix import training_documents
from roberta_lab.axes.input_format import fewest_documents
from roberta_lab.config import Config, Damaged, stopping
from roberta_lab.data import local_copy, pool, token_store
from roberta_lab.data.common_set import CommonSet, common_text
from roberta_lab.data.corpus.preparation import Prepared
from roberta_lab.data.datamodule import PretrainingData
from roberta_lab.data.plan_counts import KeptCounts
from roberta_lab.data.verified import remember
from roberta_lab.model import checkpoint
from roberta_lab.model.metrics import COMMON_BITS, COMMON_PPL
from roberta_lab.model.objectives import objective_of
from roberta_lab.training import devices, gpu_code, micro_batch, noise, ranks
from roberta_lab.training.fill_mask import filled
from roberta_lab.training.module import PretrainingModule
from roberta_lab.training.perf import PerfLog
from roberta_lab.training.rows import EXAMPLES, Cut, NoRows, PretrainingResult, Row, RowLog
from roberta_lab.training.step_end import Score, StepEnd
from roberta_lab.training.trainer import build_trainer, fit, threads


def pretrain(
    config: Config,
    prepared: Prepared,
    directory: Path,
    rows: RowLog,
    label: str,
    note_cut: Callable[[Cut], None] = lambda cut: None,
    score: Score | None = None,
    speed: PerfLog | None = None,
) -> PretrainingResult:
    """Train in `directory` from its newest whole checkpoint to the end, and return the run's result.

    This process writes everything; with several devices it is rank 0, and the others only train. `label` is the name of the
    run in the progress bar. `note_cut` is called once, before the first step, with the cut that is really used. `score` gives a
    task's figures as training goes on; `speed` keeps how fast that is.

    Raises: Stopped after a signal, when the step it fell in is finished and saved; RankDied; NonFinite.
    """
    devices.check(config.trainer)
    noise.check(config)
    if config.trainer.micro_batch_size == "auto":
        encoding = tokenizer.load(prepared.tokenizer)
        size, pad_id = encoding.vocab_size, encoding.pad_id
        config = micro_batch.resolve_auto(config, size, lambda: PretrainingModule(config, size, pad_id).model)
    checkpoint.remove_unfinished(directory / "checkpoints")
    newest = resume(directory / "checkpoints", rows)
    start = checkpoint.step_of(newest) if newest else 0
    if start:
        print(f"{label}: goes on from step {start:,}")
    note_cut(cut_of(config, start))
    job = config, prepared, directory, newest
    others = ranks.start(config.trainer, directory, train, *job, NoRows(), None)
    with progress_bar(config, start, label) as bar, others as rank:
        module, data = train(rank, *job, rows, bar, score, speed)
    rows.flush()
    result = _result(module, data, rows.read())
    write_examples(directory, config, prepared, module)
    return result


def resume(checkpoints: Path, rows: RowLog) -> Path | None:
    """Return the newest whole checkpoint whose rows are whole too, and resume the log there; None: the run starts anew.

    Checkpoints after it are set aside.
    """
    newest = None
    for path, saved in checkpoint.whole(checkpoints):
        try:
            rows.resume(checkpoint.step_of(path), checkpoint.rows_of(saved))
        except Damaged as damage:
            print(f"{damage} Not going on from {path.name}.", flush=True)
        else:
            newest = path
            break
    else:
        rows.resume(0, b"")
    checkpoint.set_aside(checkpoints, newest)
    return newest


def write_examples(directory: Path, config: Config, prepared: Prepared, module: PretrainingModule) -> None:
    """Write `examples.json` for the run's page: what the model fills in for masks; nothing where it learned none."""
    text = common_text(prepared.corpus, config.data_mix)
    if "mlm" in objective_of(config).reads and text.num_bytes:
        encoding = tokenizer.load(prepared.tokenizer)
        found = filled(module.model, encoding, config.input_format.max_length, text)
        remember(directory / EXAMPLES, {"fill_mask": found})


def cut_of(config: Config, start: int) -> Cut:
    """Return how this process cuts the steps after the first `start`; `auto` is resolved before."""
    sequences, trainer = config.batch_size.sequences, config.trainer
    size = micro_batch_size(sequences, trainer)
    passes = accumulation(sequences, trainer.world_size, size)
    compiled, deterministic = gpu_code.is_compiled(config), gpu_code.is_deterministic(trainer)
    device = devices.device_name(trainer.accelerator)
    return Cut(start, size, trainer.world_size, passes, device, compiled, deterministic)


def train(
    rank: Rank,
    config: Config,
    prepared: Prepared,
    directory: Path,
    newest: Path | None,
    rows: RowLog,
    bar: tqdm | None,
    score: Score | None = None,
    speed: PerfLog | None = None,
) -> tuple[PretrainingModule, PretrainingData]:
    """Train one rank's part of a run, from a checkpoint to the end or to a stop, which raises Stopped."""
    encoding = tokenizer.load(prepared.tokenizer)
    tokens = local_copy.of(prepared.store, config.paths.local)
    stores = [token_store.open_store(tokens / split) for split in ("train", "validation")]
    num_threads = config.trainer.threads or ranks.threads_of(config.trainer)
    with threads(num_threads), gpu_code.kernels(config):
        at_least = fewest_documents(config.input_format)
        documents = training_documents(stores[0], config.data_mix, at_least)
        held_out = stores[1].select(config.data_mix.validation_tokens, at_least)
        module = PretrainingModule(config, encoding.vocab_size, encoding.pad_id)

        def common() -> CommonSet | None:
            text = common_text(prepared.corpus, config.data_mix)
            return CommonSet(text, encoding, config.input_format.max_length) if text.num_bytes else None

        fixed = gpu_code.has_fixed_shapes(config, module.objective)
        fields = module.objective.fields
        counting = KeptCounts(documents, Path(config.paths.cache), config.trainer.progress and rank.number == 0)
        data = PretrainingData(config, documents, held_out, encoding.vocabulary, rank, fields, common, fixed, counting)
        if (shape := data.micro_batches.shape) is not None and rank.number == 0:
            print(f"micro-batches of {shape}", flush=True)
        module.is_graph = gpu_code.compile_model(module.model, config, fixed, encoding.vocab_size)
        step_end = StepEnd(config, data, rows, directory / "checkpoints", bar, score, speed)
        with stopping.finishing():
            fit(build_pretraining_trainer(config, data, step_end, directory), module, datamodule=data, ckpt_path=newest)
            if step_end.stop_asked:
                stopping.stop(stopping.asked() or signal.SIGINT)
    return module, data


def build_pretraining_trainer(config: Config, data: PretrainingData, step_end: StepEnd, directory: Path) -> L.Trainer:
    """Return a Trainer for one epoch, which is all the micro-batches of the run."""
    options = {"accumulate_grad_batches": data.accumulation, "max_steps": config.batch_size.steps, "max_epochs": 1}
    return build_trainer(config, directory, data.micro_batches.rank, callbacks=[step_end], **options)


def _result(module: PretrainingModule, data: PretrainingData, rows: list[Row]) -> PretrainingResult:
    validation = [row for row in rows if any(name.startswith("val/") for name in row)][-1]
    common = {name: validation.get(name) for name in (COMMON_BITS, COMMON_PPL)}
    return PretrainingResult(
        steps=validation.step,
        tokens_seen=module.tokens_seen,
        epochs=data.micro_batches.batches.epochs(validation.step),
        unigram_ppl=data.unigram_perplexity(),
        parameters=sum(p.numel() for p in module.parameters()),
        plan=data.micro_batches.plans.totals(0),
        metrics={name: value for name, value in validation.items() if name.startswith("val/") and name not in common},
        num_skipped=module.num_skipped,
        declared=module.objective.declared,
        common_bits_per_byte=common[COMMON_BITS],
        common_perplexity=common[COMMON_PPL],
        common_text=data.common.digest if common[COMMON_BITS] is not None and data.common is not None else "",
    )


def progress_bar(config: Config, start: int, label: str) -> tqdm:
    """Return a bar over optimizer steps; in a file, or beside other runs, it is a line every ten seconds."""
    every = 0.2 if sys.stderr.isatty() and not pool.is_one() else 10.0
    steps, hidden = config.batch_size.steps, not config.trainer.progress
    return tqdm(desc=label, initial=start, total=steps, unit="step", mininterval=every, disable=hidden)
