"""`export`: write a complete pretraining run as a folder that Hugging Face's libraries load, with a model card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from roberta_lab.axes.nsp import nsp_is_on
from roberta_lab.config import Config
from roberta_lab.config.formatting import compact
from roberta_lab.data.corpus.preparation import prepared_for
from roberta_lab.data.storage import read_json
from roberta_lab.runs import identity, run_folder
from roberta_lab.runs.jobs import Job, pretrained_run


def main(job: Job) -> None:
    """Write the final weights and the tokenizer of the run that the overrides address."""
    config, source = job.config, pretrained_run(job)
    prepared = prepared_for(config)
    run_folder.check_data(source, prepared.fingerprints())
    from roberta_lab.model import checkpoint
    from roberta_lab.model.huggingface import model_folder  # torch: only when there is work

    weights = model_folder.model_weights(checkpoint.final(source, config.batch_size.steps))
    result = read_json(source / "result.json")
    facts = {"run_id": source.name, "science": identity.science(config), "result": result}
    folder = Path(config.export.path or Path(config.paths.outputs) / "export" / source.name)
    kind = model_folder.write(
        folder, weights, config.model, prepared.tokenizer, card(config, source.name, result), facts
    )
    print(f"{job.label}: of {kind} type, {folder}")


def card(config: Config, run_id: str, result: Mapping[str, Any]) -> str:
    """Return the folder's README.md: how to load the model, what it was trained on, and its result (`result.json`)."""
    loader = "AutoModelForPreTraining" if nsp_is_on(config) else "AutoModelForMaskedLM"
    science = "\n".join(f"| {key} | {value} |" for key, value in _science(config).items())
    figures = "\n".join(f"| {key} | {compact(value)} |" for key, value in _figures(result).items())
    return f"""---
library_name: transformers
tags: [masked-lm, roberta_lab]
---
# {result["label"]}

A masked language model, pretrained by roberta_lab for an ablation of RoBERTa (Liu et al. 2019). Run `{run_id}`,
scale `{config.scale.name}`. What it was trained on and for how long is below: at a small scale it serves comparisons, not use.

    from transformers import {loader}, AutoTokenizer

    model = {loader}.from_pretrained(FOLDER)
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)

## Data

{_data(config)}

## Science

| setting | value |
|---|---|
{science}

`roberta_lab.json` has every value; equal values make the same run.

## Result

Perplexity is that of masked tokens of held-out documents, with fixed masks; beside it, that of a model that knows token frequencies only.

| figure | value |
|---|---|
{figures}
"""


def _science(config: Config) -> dict[str, str]:
    """Return the settings that the card shows, by name."""
    model, batch, masking = config.model, config.batch_size, config.masking
    return {
        "model": f"{model.layers} layers, {model.hidden} hidden, {model.heads} heads, {model.ffn} feed-forward",
        "input": f"{config.input_format.name}, {config.input_format.max_length} tokens at most",
        "next-sentence prediction": "on" if nsp_is_on(config) else "off",
        "masking": f"{masking.name}, {masking.mask_prob:.0%} of the tokens",
        "tokenizer": config.tokenizer.kind + (", published" if config.tokenizer.path else ", trained on the data"),
        "batch": f"{batch.sequences:,} sequences, {batch.steps:,} steps, peak learning rate {batch.peak_lr:g}",
        "precision, seed": f"{config.precision.dtype}, {config.seed}",
    }


def _data(config: Config) -> str:
    """Return a line per data source: what was read, which data of the paper it replaces, and its terms of use."""
    lines = []
    for name, source in config.data_mix.sources.items():
        what = source.hub.path if source.kind == "hub" and source.hub else source.kind
        stands = f", in place of {source.stands_for}" if source.stands_for else ""
        terms = f"; terms: {source.licence}" if source.licence else ""
        lines.append(f"- {name} ({what}{stands}{terms})")
    return "\n".join(lines)


def _figures(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of a result that the card shows, by the name that it shows."""
    names = {
        "parameters": "parameters",
        "steps": "steps",
        "tokens_seen": "tokens seen",
        "epochs": "epochs",
        "val/ppl": "held-out perplexity",
        "unigram_ppl": "perplexity of token frequencies",
        "val/nsp_acc": "held-out NSP accuracy",
        "seconds": "seconds",
    }
    return {name: result[key] for key, name in names.items() if key in result}
