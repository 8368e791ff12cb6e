"""`predict`: apply a model to texts: fill `<mask>` or embed (pretrained model), or predict labels (finetuned model)."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from roberta_lab.config import Config, ConfigError
from roberta_lab.config.console import say
from roberta_lab.config.formatting import visible
from roberta_lab.config.paths import user_path
from roberta_lab.data import prediction_files
from roberta_lab.data.corpus.preparation import prepared_for
from roberta_lab.data.prediction_files import Record
from roberta_lab.data.storage import Json, write
from roberta_lab.runs import identity, results, run_folder
from roberta_lab.runs.command_line import typed
from roberta_lab.runs.jobs import Job, pretrained_run
from roberta_lab.runs.overrides import assign, without

if TYPE_CHECKING:
    from roberta_lab.model.predictor import Predictor
    from roberta_lab.tasks.predictor import TaskPredictor

Predict = Callable[[list[str], int], list[Record]]  # texts, number of the first -> a record for each
MATRIX = 10  # up to so many texts, all similarities are printed; for more, only each text's nearest neighbour
WIDTH = 100  # characters of a text that are printed beside its similarities or its prediction


def main(job: Job) -> Json:
    """Print the predictions, or write them to `predict.output`."""
    config = job.config
    is_task = config.predict.what == "task"
    if config.pretrained.start != "run" and not is_task:
        allowed = "Allowed: pretrained=run, or pretrained.path=FOLDER."
        raise ConfigError(f"pretrained={config.pretrained.start}: random weights predict nothing. {allowed}")
    prediction_files.check(config.predict)
    if is_task:
        shown = _predict_task(config, _task_predictor(job))
    else:
        shown = (_fill_mask if config.predict.what == "fill_mask" else _embed)(config, _predictor(job))
    output, kept, num_texts = config.predict.output, list[Json](), 0
    for record in shown:
        num_texts += 1
        if job.as_json and not output:
            kept.append(record)
    files = {name: file for name, file in (("file", output), ("figure", config.predict.figure)) if file}
    for file in files.values():
        print(file)
    sys.stdout.flush()  # `predict | head` breaks the pipe: raise that here, where the caller expects it
    return {"texts": num_texts, **files, **({} if output else {"predictions": kept})}


def _predictor(job: Job) -> Predictor:
    """Return the model of `pretrained.path`, or of the run that the overrides address."""
    config = job.config
    path = user_path(config.pretrained.path)
    if not config.pretrained.path:
        source = pretrained_run(job)
        prepared = prepared_for(config)
        run_folder.check_data(source, prepared.fingerprints())
    from roberta_lab.axes import tokenizer
    from roberta_lab.data import tokenizer_files  # torch: only when there is work
    from roberta_lab.model import checkpoint
    from roberta_lab.model.huggingface import model_folder
    from roberta_lab.model.objectives import objective_of
    from roberta_lab.model.predictor import Predictor

    if not config.pretrained.path and config.predict.what == "fill_mask" and "mlm" not in objective_of(config).reads:
        allowed = "Allowed: predict.what=embed, or a task it is finetuned for."
        raise ConfigError(f"objective={config.objective.name} trains no head that fills masks. {allowed}")
    device = _device(config)
    if config.pretrained.path:
        found = model_folder.read(path, heads=config.predict.what == "fill_mask")
        if found.note:
            say(f"pretrained.path={config.pretrained.path}: {found.note}")
        encoding = tokenizer.Encoding(tokenizer_files.load_of_model(path))
    else:
        encoding = tokenizer.load(prepared.tokenizer)
        saved = checkpoint.final(source, config.batch_size.steps)
        found = model_folder.Pretrained.from_checkpoint(config.model, saved, encoding.pad_id)
    return Predictor(found.model(), encoding, found.max_length, device)


def _task_predictor(job: Job) -> TaskPredictor:
    """Return the model of the finetuning run that the overrides address. Raises ConfigError with the command that makes it."""
    config, folder = job.config, identity.directory(job.config, "finetune")
    if not results.is_complete(folder) or not run_folder.has_model(folder):
        kept = without(job.overrides, "predict", "finetune.save_model")
        command = typed("finetune", [*kept, assign("finetune.save_model", True)])
        raise ConfigError(f"the finetuned run {folder} is not there with its weights: {command}")
    from roberta_lab.tasks.predictor import TaskPredictor

    return TaskPredictor(folder, config.task, _device(config))


def _device(config: Config) -> str:
    """Return torch's name for `trainer.accelerator`, and set torch's number of threads to `trainer.threads`."""
    import torch

    from roberta_lab.training.devices import device_of

    if config.trainer.threads is not None:
        torch.set_num_threads(config.trainer.threads)
    return device_of(config.trainer.accelerator)


def _written(config: Config, predict: Predict, limit: str) -> Iterator[Record]:
    """Predict block by block under a progress bar; write each record to `predict.output`, and yield it.

    `limit` is the model's longest input. Texts are numbered from 1.
    """
    prints_to_screen = sys.stdout.isatty() and not config.predict.output  # then without the bar
    hidden, every = prints_to_screen or not config.trainer.progress, 0.2 if sys.stderr.isatty() else 10.0
    num_texts = num_cut = 0
    with (
        tqdm(unit="text", delay=2, mininterval=every, disable=hidden, desc=config.predict.what) as bar,
        prediction_files.writer(config.predict.output) as write,
    ):
        for texts in prediction_files.blocks(config.predict):
            records = predict(texts, num_texts + 1)
            write(records)
            num_texts += len(texts)
            num_cut += sum(prediction_files.TRUNCATED in record for record in records)
            yield from records
            bar.update(len(texts))
    if num_cut:
        say(f"{num_cut:,} of {num_texts:,} texts were cut to {limit}")


def _predict_task(config: Config, predictor: TaskPredictor) -> Iterator[Record]:
    """Print or write, and yield, what is predicted of each text."""
    for record in _written(config, predictor.predict, predictor.kind.limit(predictor.pairs)):
        if not config.predict.output:
            _show_prediction(record)
        yield record


def _fill_mask(config: Config, predictor: Predictor) -> Iterator[Record]:
    """Print or write, and yield, the likeliest tokens for each mask in the texts."""

    def predict(texts: list[str], first: int) -> list[Record]:
        found = predictor.fill_mask(texts, config.predict.top_k, first)
        return [
            {"number": n, "text": text, "masks": [[c._asdict() for c in mask] for mask in masks]}
            for n, (text, masks) in enumerate(zip(texts, found, strict=True), first)
        ]

    for record in _written(config, predict, f"{predictor.max_length} tokens"):
        if not config.predict.output:
            _show_masks(record)
        yield record


def _show_masks(record: Record) -> None:
    """Print a text, and the candidates of each of its masks with their probabilities."""
    from roberta_lab.model.predictor import printable

    masks = record["masks"]
    if masks:
        print(f"{record['number']}  {printable(record['text'])}")
    for which, candidates in enumerate(masks, 1):
        if len(masks) > 1:
            print(f"   mask {which}")
        for candidate in candidates:
            print(f"   {candidate['probability']:8.4f}  {visible(json.dumps(candidate['token'], ensure_ascii=False))}")


def _embed(config: Config, predictor: Predictor) -> Iterator[Record]:
    """Write the vectors of the texts, and yield them as lists. Print similarities, with `predict.output` only of few texts; draw
    them where `predict.figure` asks for it.
    """
    from roberta_lab.model.predictor import printable

    kept: list[np.ndarray] = []
    heads: list[str] = []
    figure = config.predict.figure

    def predict(texts: list[str], first: int) -> list[Record]:
        vectors, cut = predictor.embed(texts, config.predict.pooling)
        return [
            {"number": n, "text": text, "vector": vector} | ({prediction_files.TRUNCATED: True} if is_cut else {})
            for n, (text, vector, is_cut) in enumerate(zip(texts, vectors, cut, strict=True), first)
        ]

    num_texts = 0
    for record in _written(config, predict, f"{predictor.max_length} tokens"):
        num_texts = record["number"]
        if figure or not config.predict.output or num_texts <= MATRIX:
            if figure:
                _check_drawn(figure, num_texts)
            kept.append(record["vector"])
            heads.append(printable(record["text"], WIDTH))
        yield {**record, "vector": record["vector"].tolist()}
    if not config.predict.output or num_texts <= MATRIX:
        _show_similarities(np.stack(kept), heads)
    if figure:
        _draw(figure, kept, heads)


def _check_drawn(figure: str, num_texts: int) -> None:
    """Raise ConfigError for more texts than a figure can show, before their vectors fill the memory."""
    from roberta_lab.reports.figures.similarity import MOST_TEXTS

    if num_texts > MOST_TEXTS:
        raise ConfigError(
            f"predict.figure={figure}: there are more than {MOST_TEXTS:,} texts. Allowed: 2 to {MOST_TEXTS:,}."
        )


def _draw(figure: str, vectors: list[np.ndarray], texts: list[str]) -> None:
    """Write the figure of the vectors into a folder that is made if it is missing. Raises ConfigError for one text alone."""
    from roberta_lab.reports.figures.similarity import picture

    if len(texts) < 2:
        raise ConfigError(f"predict.figure={figure}: one text has none to be compared with. Allowed: two or more.")
    path = user_path(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, picture(np.stack(vectors), texts, path.suffix.removeprefix(".")))


def _show_similarities(vectors: np.ndarray, heads: list[str]) -> None:
    """Print cosine similarities: all pairs of few texts; for more than `MATRIX`, the nearest other text of each."""
    from roberta_lab.model.predictor import cosine_similarities, nearest

    if len(heads) <= MATRIX:
        table = cosine_similarities(vectors, vectors)
        print("    " + "".join(f"{n:>8}" for n in range(1, len(heads) + 1)))
        for number, (row, head) in enumerate(zip(table, heads, strict=True), 1):
            print(f"{number:>4}" + "".join(f"{cosine:8.4f}" for cosine in row) + f"  {head}")
        return
    for number, (other, cosine, head) in enumerate(zip(*nearest(vectors), heads, strict=True), 1):
        print(f"{number:>6}  nearest {other + 1:>6}  {cosine:.4f}  {head}")


def _show_prediction(record: Record) -> None:
    """Print a line: the prediction, its probability if it has one, and the beginning of the text."""
    from roberta_lab.model.predictor import printable

    said, shares = record["prediction"], record.get("probabilities")
    if isinstance(said, list) and "words" in record:
        said = " ".join(w if tag == "O" else f"{w}[{tag}]" for w, tag in zip(record["words"], said, strict=True))
        print(f"{record['number']}  {printable(said)}")
        return
    said = ", ".join(map(str, said)) if isinstance(said, list) else said
    likely = f"  {max(shares.values() if isinstance(shares, dict) else shares):.4f}" if shares else ""
    said = f"{said:.4f}" if isinstance(said, float) else printable(said) or "(no answer)"
    texts = [record[name] for name in ("text_a", "text_b", "question", "text") if name in record]
    print(f"{record['number']}  {said}{likely}  {printable(' | '.join(texts), WIDTH)}")
