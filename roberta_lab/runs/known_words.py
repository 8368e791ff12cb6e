"""Words that people bring from other programs, with the keys of this one: `lr`, `max_steps`, `--seed=1`."""

import dataclasses
import re
from collections.abc import Iterator

from roberta_lab.config import Config, ConfigError, nearest

_RATE = "The peak learning rate of pretraining is batch_size.peak_lr, that of finetuning finetune.lr"
_STEPS = "Pretraining ends after batch_size.steps steps, finetuning after finetune.epochs epochs"
_BATCH = "The sequences of a step are batch_size.sequences in pretraining, finetune.batch in finetuning"
_MICRO = (
    "What a device takes at a time is trainer.micro_batch_size in pretraining, from which the number of accumulated ones "
    "follows; finetuning takes finetune.batch whole"
)
_LENGTH = "The longest input is input_format.max_length in pretraining, task.max_length in finetuning"
_DATA = "Own text is data_mix=own data_mix.own.path=FOLDER, own labels task=text_classification task.path=FOLDER"
_RESUME = "Nothing to type: the same command goes on from the last checkpoint, and skips what is complete"
_WARMUP = "Warmup is optimizer.warmup_steps in pretraining, finetune.warmup_ratio in finetuning"
_START = "Pretrained weights are pretrained.path=FOLDER, random ones pretrained=none"
_DTYPE = "The arithmetic is precision=fp32, precision=bf16 or precision=fp16"
_MEANINGS = {
    _RATE: "lr learning_rate peak_lr max_lr base_lr peak_learning_rate",
    _STEPS: "steps max_steps num_steps train_steps max_train_steps total_steps iterations max_update updates "
    "epochs max_epochs num_epochs train_epochs num_train_epochs",
    _BATCH: "batch bsz bs train_batch_size global_batch_size total_batch_size sequences max_sentences",
    _MICRO: "micro_batch micro_batch_size per_device_batch_size per_device_train_batch_size per_gpu_train_batch_size "
    "grad_accum accumulate_grad_batches gradient_accumulation_steps accumulation update_freq",
    _LENGTH: "max_length max_len max_seq_len max_seq_length seq_len seq_length sequence_length block_size "
    "tokens_per_sample max_position_embeddings",
    _DATA: "data dataset data_path data_dir train_file train_data corpus corpus_path text texts",
    _RESUME: "resume resume_from resume_from_checkpoint ckpt_path checkpoint restart auto_resume",
    _WARMUP: "warmup warmup_steps warmup_ratio num_warmup_steps warmup_updates warmup_proportion",
    _START: "pretrained_path model_name_or_path model_path init_checkpoint from_pretrained",
    _DTYPE: "fp16 bf16 amp half mixed_precision dtype",
    "The processes of a run are trainer.devices, with trainer=ddp": "gpus num_gpus ngpus n_gpu nproc devices world_size",
    "Where runs lie is paths.outputs": "output output_dir out_dir out outdir save_dir save_path root_dir run_dir log_dir",
    "Where prepared text lies is paths.cache": "cache cache_dir",
    "Dropout is model.dropout in pretraining, finetune.dropout in finetuning": "dropout hidden_dropout_prob",
    "Weight decay is optimizer.weight_decay in pretraining, finetune.weight_decay in finetuning": "weight_decay wd",
    "Adam's settings are optimizer.beta1, optimizer.beta2 and optimizer.eps": "adam_beta1 adam_beta2 adam_epsilon betas",
    "The share of masked tokens is masking.mask_prob": "mlm_probability mlm_prob mask_prob masking_rate mask_ratio",
    "The size of a vocabulary that is trained is tokenizer.vocab_size": "vocab_size vocab",
    "Processes that make batches are trainer.workers": "num_workers dataloader_num_workers workers",
    "Runs that go side by side are trainer.jobs": "jobs n_jobs parallel num_jobs",
    "W&B's project is logger.project, and logger.wandb=off leaves W&B out": "project wandb_project wandb report_to "
    "use_wandb",
    "The number of layers, their width, heads and inner width are model.layers, model.hidden, model.heads, model.ffn": (
        "num_layers layers num_hidden_layers n_layer hidden hidden_size n_embd num_attention_heads heads n_head "
        "intermediate_size ffn"
    ),
    "Checkpoints come every trainer.checkpoint_every_steps steps": "save_steps checkpoint_every save_interval",
    "Held-out text is scored trainer.num_validations times a run": "eval_steps eval_every validation_every val_interval",
    "The seed is seed, that of finetuning finetune.seed": "random_seed seed_everything manual_seed rng_seed",
    "The format of inputs is the group input_format": "format",
    "Masking is the group masking": "mask mlm",
    "A run without training is roberta-lab plan (what it would cost) or roberta-lab inspect (what it would read)": (
        "dry_run dryrun debug fast_dev_run"
    ),
}
_MEANING = {word: meaning for meaning, words in _MEANINGS.items() for word in words.split()}
# of a group that is given a number, as the keys of other programs are: the key that takes it
_NUMBERS = {
    "batch_size": "batch_size.sequences",
    "masking": "masking.mask_prob",
    "input_format": "input_format.max_length",
}
_COMMANDS = {  # that other programs have -> the one that is meant
    **dict.fromkeys(("list", "ls", "runs", "ps", "info", "show", "queue", "jobs", "squeue"), "status"),
    **dict.fromkeys(("run", "sweep", "all", "resume", "start", "submit", "sbatch"), "reproduce"),
    **dict.fromkeys(("stop", "kill", "scancel", "abort"), "cancel"),
    **dict.fromkeys(("clean", "clear", "gc", "rm", "delete"), "prune"),
    **dict.fromkeys(("train", "fit"), "pretrain"),
    **dict.fromkeys(("eval", "test", "score"), "evaluate"),
    **dict.fromkeys(("compare",), "diff"),
    **dict.fromkeys(("tables", "report", "results"), "table"),
    **dict.fromkeys(("preprocess", "tokenize", "data"), "prepare"),
    **dict.fromkeys(("embed", "fill_mask", "infer", "inference"), "predict"),
    **dict.fromkeys(("estimate", "cost"), "plan"),
}
_FLAGS = {  # of Hydra, which a command hands on
    *("-c", "--cfg", "-i", "--info", "-m", "--multirun", "-r", "--run", "--resolve", "--hydra-help", "-sc"),
    *("-cd", "--config-dir", "-p", "--package", "--shell-completion"),
}
_WITH_VALUE = {"-c", "--cfg", "-i", "--info", "-p", "--package", "-sc", "--shell-completion"}
_OPTION = re.compile(r"--?([A-Za-z][\w./-]*)(=.*)?", re.DOTALL)


def meaning(key: str) -> str:
    """Return the sentence that answers a word which is no key, with a blank before it; empty for a word nobody brings."""
    found = _MEANING.get(key.rpartition(".")[2].lower().replace("-", "_"))
    return f" {found}." if found else ""


def command(name: str, known: list[str]) -> str:
    """Return the hint at the command that is meant, with a blank before it; empty where none is like it."""
    meant = _COMMANDS.get(name)
    return f" Did you mean '{meant}'?" if meant in known else nearest(name, known)


def of_number(group: str, option: str) -> str:
    """Return the sentence that answers a number in place of an option; empty where no key of the group takes one."""
    is_number = re.fullmatch(r"[\d.]+(e-?\d+)?", option) is not None
    return f" A number goes to {_NUMBERS[group]}={option}." if is_number and group in _NUMBERS else ""


def split_flags(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return Hydra's flags with their values, which may be words of their own (`--cfg job`), and the overrides."""
    flags, words = list[str](), list[str]()
    for before, word in zip(["", *arguments], arguments, strict=False):
        is_value = before in _WITH_VALUE and "=" not in word
        (flags if word.startswith("-") or is_value else words).append(word)
    return flags, words


def without_dashes(arguments: list[str]) -> list[str]:
    """Return the arguments with `--key=value` as `key=value`, which is how sweeps of W&B start a program.

    Raises ConfigError for a flag that there is not.
    """
    return [*_without_dashes(arguments)]


def _without_dashes(arguments: list[str]) -> Iterator[str]:
    for number, word in enumerate(arguments):
        found = _OPTION.fullmatch(word)
        if found is None or word.partition("=")[0] in _FLAGS:
            yield word
        elif found[2] is not None and word.startswith("--"):
            yield found[1].replace("-", "_") + found[2]
        else:
            following = arguments[number + 1 : number + 2] if found[2] is None else [found[2].removeprefix("=")]
            key = found[1].replace("-", "_")
            value = following[0] if following and "=" not in following[0] else "VALUE"
            said = meaning(key) or (
                f" Write {key}={value}."
                if key.split(".")[0] in {field.name for field in dataclasses.fields(Config)}
                else ""
            )
            flags = sorted(flag for flag in _FLAGS if flag.startswith("--"))
            hint = "" if said else nearest(word, flags)
            raise ConfigError(f"{word}: no such flag.{said}{hint} Allowed: key=value, and {', '.join(flags)}.")
