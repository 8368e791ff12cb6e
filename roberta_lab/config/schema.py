"""The schema of a run: every key a user can set, with its type.

*Science*, which is here, changes the result and is hashed into the run's id; `circumstance` does not (devices, paths).
"""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from roberta_lab.config import circumstance, cluster_circumstance
from roberta_lab.config.later_keys import later
from roberta_lab.config.ranges import (
    BY_NAME,
    EACH_NAME,
    above_zero,
    at_least,
    below_one,
    between,
    name,
    one_of,
    path,
    path_or_url,
    share,
)

DTYPES = ("fp32", "bf16", "fp16")
# What memory sets a limit to; a published model that is read may be larger than one that is made here.
LONGEST_INPUT = 8192  # tokens: the position table grows with it, and attention with its square
MAX_VOCABULARY = 2**22  # ids, of which each is a row of a table
MAX_CLASSES = 100_000  # of a task
SOURCE_KINDS = ("pydoc", "text", "jsonl", "csv", "parquet", "gutenberg", "wikiextractor", "hub")


@dataclass
class ModelConfig:
    """BERT's encoder (Devlin et al. 2019); sizes as in RoBERTa, Table 9."""

    layers: int = between(1, 1024)
    hidden: int = between(1, 65_536)
    heads: int = between(1, 65_536)
    ffn: int = between(1, 262_144)
    dropout: float = below_one(0.1)
    attention_dropout: float = below_one(0.1)
    layer_norm_eps: float = above_zero(1e-5)
    init_std: float = above_zero(0.02)


@dataclass
class TokenizerConfig:
    """A text encoding (RoBERTa, Section 4.4), trained on the data mix in use or published."""

    kind: str = MISSING
    vocab_size: int = between(1, MAX_VOCABULARY)  # of a tokenizer that is trained; a published one has its own
    path: str = path("")  # a folder with published files (roberta_lab/data/tokenizer_files.py), in place of training
    train_characters: int | None = at_least(
        1, 100_000_000, null="all of it"
    )  # of the mix, in documents drawn at random; None: all of it


@dataclass
class HubConfig:
    """A dataset of the Hugging Face hub, at one commit (roberta_lab/data/corpus/sources/hub.py)."""

    path: str = MISSING  # OWNER/NAME
    revision: str | None = None  # a commit, all 40 digits of it
    subset: str | None = None  # the name of a configuration of the dataset, where it has several
    split: str = "train"
    text_field: str = "text"
    id_field: str | None = None  # None: the file's number and the position in it
    title_field: str | None = None
    size: str = ""  # what to expect


@dataclass
class SourceConfig:
    """A source of documents: where its files lie and how they are read (roberta_lab/data/corpus/sources/files.py)."""

    kind: str = one_of(*SOURCE_KINDS)  # pydoc is embedded and has no path
    # a file, a folder (all files of the kind in it, recursively) or a glob; also by a URL, s3://BUCKET/FOLDER
    path: str = path_or_url("")
    hub: HubConfig | None = None  # read in place of files when kind is hub
    repeats: float | None = above_zero(None)  # times that each document is read in a pass; None: once
    weight: float | None = above_zero(
        None
    )  # in place of `repeats`: share of a pass's tokens, in proportion to other weights
    text_field: str = "text"
    id_field: str | None = None  # None: the file's relative path and the position in it
    title_field: str | None = None
    # of text: None (a file is a document) | blank_line | line | the line between two
    document_separator: str | None = None
    min_characters: int | None = at_least(1, None)
    max_characters: int | None = at_least(1, None)
    stands_for: str = ""  # the paper's corpus in whose place it is read
    licence: str = ""


@dataclass
class DataMixConfig:
    """The sources of text, and how much of it pretraining reads."""

    sources: dict[str, Any] = field(
        default_factory=dict, metadata=BY_NAME
    )  # name -> SourceConfig, typed when the config is built
    deduplicate: bool = True  # keep only the first of documents with the same text
    held_out_share: float = below_one(0.1)
    train_tokens: int | None = at_least(1, None)  # None: everything outside the held-out documents
    validation_tokens: int = at_least(1, 65536)
    # whose held-out text makes the common set (data/common_set.py); [] is all of them
    common_sources: list[str] = field(default_factory=list, metadata={**EACH_NAME, "neutral": []})


@dataclass
class InputFormatConfig:
    """The rule by which sentences become model inputs (RoBERTa, Section 4.2)."""

    name: str = MISSING
    max_length: int = between(
        8, LONGEST_INPUT, 512, why="the position table grows with it, and attention with its square"
    )
    # of formats of short inputs, what a batch holds: real_tokens of a batch of the format that they are compared with, or
    # max_length, as many as batch_size.sequences full inputs
    matched_to: str = later("max_length", one_of("real_tokens", "max_length"), default="real_tokens")


@dataclass
class MaskingConfig:
    """The choice of the tokens that are predicted, and of what the model sees in their place (RoBERTa, Section 4.1)."""

    name: str = MISSING
    num_patterns: int = between(1, 1_000_000, 10)  # read by `static` only
    selection: str = "exact"  # exact | bernoulli (Hugging Face) | fairseq (specials count and may be selected)
    whole_words: bool = False  # the older name of positions=whole_words
    mask_prob: float = share(0.15)
    mask_share: float = between(0, 1, 0.8)
    random_share: float = between(0, 1, 0.1)
    positions: str = later("uniform")  # a rule of axes/mask_positions.py: uniform | whole_words | span
    span_p: float = later(0.2, share())  # of span: the parameter of the geometric distribution of lengths, in words
    max_span: int = later(10, between(1, LONGEST_INPUT))  # of span: the longest span, in words


@dataclass
class NspConfig:
    """Prediction of how two texts belong together: `auto` is on exactly when the input format yields pairs."""

    mode: str = one_of("auto", "on", "off")
    pairs: str = later("random")  # a rule of axes/pairs.py for the other half: random (BERT) | swapped (ALBERT)
    weight: float = later(1.0, above_zero())  # of its loss beside that of MLM
    # pairs are drawn anew in each of so many copies of the data, copy = epoch mod copies (BERT: 10); 1: once for a run
    copies: int = later(1, at_least(1), default=10)


@dataclass
class BatchSizeConfig:
    """One optimizer step, over all ranks and micro-batches (RoBERTa, Section 4.3)."""

    sequences: int = between(1, 1_048_576)
    steps: int = between(1, 1_000_000_000)
    peak_lr: float = above_zero()


@dataclass
class OptimizerConfig:
    """The optimizer of pretraining, and the length of its warmup; finetuning takes beta1 and eps for its AdamW."""

    beta1: float = below_one(0.9)
    beta2: float = below_one(0.999)
    eps: float = above_zero(1e-6)
    weight_decay: float = at_least(0, 0.01)
    warmup_steps: int = at_least(0)
    name: str = later("adamw")  # a line of OPTIMIZERS in model/optimizer.py


@dataclass
class ScheduleConfig:
    """The learning rate of pretraining after its warmup."""

    name: str = later("linear")  # a line of SCHEDULES in model/schedule.py


@dataclass
class ObjectiveConfig:
    """What pretraining predicts: the terms of its loss."""

    name: str = later("mlm")  # a line of OBJECTIVES in model/objectives/__init__.py


@dataclass
class PrecisionConfig:
    """The arithmetic of the forward and backward pass; weights and Adam's state stay in float32."""

    dtype: str = one_of(*DTYPES)


@dataclass
class PretrainedConfig:
    """The weights that finetuning and prediction start from."""

    # run: that the overrides address, or the folder at `path` | none: random weights
    start: str = one_of("run", "none", default="run")
    path: str = path("")  # a Hugging Face folder of RoBERTa or BERT type, in place of a run


@dataclass
class TaskConfig:
    """One downstream task. `head` names the shape of its input and of its prediction."""

    name: str = name()
    family: str = MISSING  # the module under roberta_lab/tasks
    head: str = MISSING  # classification | regression | span | choice | tagging; mlm: scored without finetuning
    num_labels: int = between(0, MAX_CLASSES, 2)  # classes; 0: as many as the files have
    metric: str = MISSING  # the score that chooses the best epoch and that the table shows
    path: str = path("")  # a folder with the task's original files
    files: dict[str, str] = field(
        default_factory=dict, metadata=BY_NAME
    )  # split -> file there, or split of the hub's, of another name
    # what is read from which column: text_a, text_b, label, id; ner: word, label
    columns: dict[str, str] = field(default_factory=dict)
    hub: HubConfig | None = None  # a dataset of the Hugging Face hub, in place of files once its revision is given
    max_length: int = between(8, LONGEST_INPUT, 128)
    # of spans, tokens from one window to the next (128 of 512 in the paper)
    stride: int | None = at_least(1, None, null="a quarter of the input's length")
    max_answer_tokens: int = between(1, LONGEST_INPUT, 30)  # of spans, as in BERT's run_squad.py
    num_train: int | None = at_least(1, None, null="all")
    # of dev and what is scored beside it, then test is predicted for a submission only; of minimal pairs, of each paradigm
    num_dev: int | None = at_least(1, None, null="all")
    stands_for: str = ""  # the paper's task in whose column it is shown
    caution: str = ""  # what a reader of its scores must know; shown below the table


@dataclass
class FinetuneConfig:
    """A recipe of downstream training: RoBERTa's own or BERT's (RoBERTa, Sections 3.3 and 5, Table 10)."""

    seed: int = at_least(0, 1)
    batch: int = between(1, 65_536)
    lr: float = above_zero()
    epochs: int = between(1, 100_000)
    patience: int | None = at_least(
        0, None, null="all epochs"
    )  # epochs without a better dev score after which training stops; None: all epochs
    warmup_ratio: float = below_one()
    weight_decay: float = at_least(0)
    dropout: float = below_one()  # in place of the model's, on attention weights too
    beta2: float = below_one()  # of Adam; beta1 and eps are the optimizer's
    save_model: bool = False  # keep the best epoch's weights, for `init_from`, and as a folder that transformers loads
    submission: bool = False  # write the files that others score: GLUE's leaderboard, SQuAD's official scripts
    init_from: str | None = None  # a task (mnli) whose finetuned encoder of the same settings this one starts from
    # The next two change no result and are in no id.
    recipe: str = later("")  # whose procedure it is, for readers of tables
    # key -> list of numbers, of which `sweep.finetune_grid` takes the best
    grid: dict[str, Any] | None = later(None)  # noqa: RUF009 (None never changes)


@dataclass
class Config:
    """The root of the tree."""

    seed: int = at_least(0, 1)
    model: ModelConfig = MISSING
    tokenizer: TokenizerConfig = MISSING
    data_mix: DataMixConfig = MISSING
    input_format: InputFormatConfig = MISSING
    masking: MaskingConfig = MISSING
    nsp: NspConfig = MISSING
    batch_size: BatchSizeConfig = MISSING
    optimizer: OptimizerConfig = MISSING
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    precision: PrecisionConfig = MISSING
    pretrained: PretrainedConfig = MISSING
    task: TaskConfig = MISSING
    finetune: FinetuneConfig = MISSING
    scale: circumstance.ScaleConfig = MISSING
    trainer: circumstance.TrainerConfig = MISSING
    logger: circumstance.LoggerConfig = MISSING
    sweep: circumstance.SweepConfig | None = None
    paths: circumstance.PathsConfig = field(default_factory=circumstance.PathsConfig)
    prepare: circumstance.PrepareConfig = field(default_factory=circumstance.PrepareConfig)
    inspect: circumstance.InspectConfig = field(default_factory=circumstance.InspectConfig)
    export: circumstance.ExportConfig = field(default_factory=circumstance.ExportConfig)
    predict: circumstance.PredictConfig = field(default_factory=circumstance.PredictConfig)
    evaluate: circumstance.EvaluateConfig = field(default_factory=circumstance.EvaluateConfig)
    plan: circumstance.PlanConfig = field(default_factory=circumstance.PlanConfig)
    diff: circumstance.DiffConfig = field(default_factory=circumstance.DiffConfig)
    table: circumstance.TableConfig = field(default_factory=circumstance.TableConfig)
    prune: circumstance.PruneConfig = field(default_factory=circumstance.PruneConfig)
    reproduce: circumstance.ReproduceConfig = field(default_factory=circumstance.ReproduceConfig)
    slurm: cluster_circumstance.SlurmConfig = field(default_factory=cluster_circumstance.SlurmConfig)
    slurm_light: cluster_circumstance.SlurmConfig = field(
        default_factory=cluster_circumstance.SlurmConfig
    )  # of preparation and tables
