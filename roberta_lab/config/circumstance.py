"""The half of the schema that is no part of a run's id: how a run is executed, where things lie, what commands show."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from roberta_lab.config.later_keys import later
from roberta_lab.config.ranges import (
    ANY_TEXT,
    BY_NAME,
    EACH_ABOVE_ZERO,
    EACH_NAME,
    LABEL,
    NAMED,
    SEED,
    above_zero,
    at_least,
    between,
    name,
    one_of,
    path,
    share,
)

# what each kind of prediction can be written to
FIGURES = (".svg", ".png")  # what `predict.figure` can be
PREDICTIONS = {"fill_mask": (".jsonl",), "embed": (".jsonl", ".npy"), "task": (".jsonl",)}


@dataclass
class ScaleConfig:
    """The divisors of the paper's numbers, and replacements for settings that are too large for the machine."""

    name: str = name()
    batch_divisor: int = at_least(1, 1)
    steps_divisor: int = at_least(1, 1)
    text_divisor: int = at_least(1, 1)  # of the training text that a scale gives each mix
    lr_factor: float = above_zero(1.0)
    largest_lr: float | None = above_zero(None, null="no limit")  # rates of large batches are cut to it
    # of sweeps that ask for them as ${scale.seeds}, ${scale.finetune_seeds} and ${scale.finetune_grid}
    seeds: list[int] = field(default_factory=lambda: [1], metadata=SEED)
    finetune_seeds: list[int] = field(default_factory=lambda: [1, 2, 3], metadata=SEED)
    finetune_grid: bool = False
    # override in a sweep file -> what replaces it: an override, or several with blanks between them
    stands_for: dict[str, str] = field(default_factory=dict)
    spreads: dict[str, float] = field(
        default_factory=dict, metadata=EACH_ABOVE_ZERO
    )  # of sweeps that state none (SweepConfig.spreads)
    leaves_out: list[str] = field(
        default_factory=list
    )  # tasks of sweeps that nothing this small learns, unless asked for, and held-out figures


@dataclass
class TrainerConfig:
    """The settings of a run's execution.

    None of them changes which examples a step sees, or its loss and gradient with dropout off, beyond 1e-5. With dropout on, the
    cut of a step (devices and micro-batch) decides which units are dropped, so it changes a run as another seed does.
    """

    accelerator: str = one_of("auto", "cpu", "gpu", "cuda", "mps", default="auto")
    devices: int = between(
        1, 4096, 1
    )  # processes of one pretraining run on each machine, with an accelerator each; other commands use one
    nodes: int = between(1, 4096, 1)  # machines of one pretraining run, whose processes srun or torchrun has started
    micro_batch_size: Any = None  # a number | None: the largest up to 32 that divides a rank's share | auto: that fits
    # set by a sweep: a number that divides the batches of all rows, and that micro-batches divide, so that rows share one cut
    common_batch: int | None = at_least(1, None, null="the run's own batch")
    workers: int | None = between(
        0, 1024, None, null="4 beside a GPU, else none"
    )  # processes that make batches ahead of time; None: 4 beside a GPU, else none
    # torch.compile, which takes the first steps a minute: true | false | auto: on GPUs, for runs that are long enough
    compile: Any = "auto"
    # kernels that repeat their bits, some of them slower: true | false | auto: yes. CPUs always do
    deterministic: Any = "auto"
    activation_checkpointing: bool = False  # less memory, a third more arithmetic: for large models
    threads: int | None = between(1, 4096, None, null="what torch decides")  # CPU threads of torch; None: torch decides
    jobs: int = between(1, 1024, 1)  # runs of a sweep that go side by side; on each GPU, where there are some
    checkpoint_every_steps: int = at_least(1, 500)
    num_validations: int = at_least(1, 10)
    # gradient noise (training/noise.py) is measured at every so many steps, each at the cost of a step
    noise_scale_every: int | None = at_least(1, None, null="never")
    # of pretraining, where a step's gradients are no numbers: end the run before the step, or leave the step out, which
    # makes another run of it, with an id of its own, from there on
    on_nonfinite: str = one_of("stop", "skip", default="stop")
    progress: bool = True

    @property
    def world_size(self) -> int:
        """Return the number of processes of a pretraining run, on all machines."""
        return self.nodes * self.devices


@dataclass
class LoggerConfig:
    """The settings of W&B, to which metrics go beside `metrics.jsonl`."""

    wandb: str = one_of("auto", "offline", "online", "off", default="auto")  # auto: online with a key, else offline
    project: str = "roberta_lab"
    entity: str | None = None  # a user or team; None: that of the key
    tags: list[str] = field(default_factory=list)  # beside those of the axes
    notes: str | None = None  # None: the question of the sweep
    every: int = at_least(1, 1)  # steps of training; validations are always logged
    examples: int = at_least(0, 50)  # predictions of a finished run that are shown
    system: bool = False  # use of processors, memory and disk as time goes on
    console: bool = False  # what the run prints
    git: bool = False  # the repository's address and the commit, as W&B finds them


@dataclass
class SizeConfig:
    """The columns and seeds that a sweep has at one scale; None: those of every scale."""

    tasks: list[str] | None = None
    seeds: list[int] | None = field(default=None, metadata=SEED)
    finetune_seeds: list[int] | None = field(default=None, metadata=SEED)
    spreads: dict[str, float] | None = field(default=None, metadata=EACH_ABOVE_ZERO)


@dataclass
class ClaimConfig:
    """A claim about two rows of a sweep, of the paper or of the question, as data that a table can judge."""

    row: str = MISSING
    over: str = MISSING  # the row that it is compared with; one that is only published too
    # no_worse: better, or worse by less than the margin; same: they differ by less than the margin
    direction: str = one_of("better", "no_worse", "same")
    columns: list[str] = field(default_factory=list)  # figures (mnli_m_acc) or tasks (mnli), each judged by itself
    margin: float | None = above_zero(None, null="that of sweep.margins")  # the smallest difference that matters
    source: str = ""  # where it is claimed


@dataclass
class SweepConfig:
    """A table of the paper, or a question: named rows, each a list of overrides, and the columns beside them."""

    name: str = name()
    title: str = MISSING
    question: str = MISSING
    base: list[str] = field(default_factory=list)  # overrides that every row shares
    rows: dict[str, list[str]] = field(default_factory=dict, metadata=NAMED)
    tasks: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=lambda: [1], metadata=SEED)
    finetune_seeds: list[int] = field(default_factory=lambda: [1], metadata=SEED)
    finetune_grid: bool = False  # every setting of each recipe's grid (finetune.grid); a cell shows the best one
    # by scale, in place of `tasks`, `seeds` and `finetune_seeds`, unless those are asked for
    at_scale: dict[str, SizeConfig] = field(default_factory=dict, metadata=BY_NAME)
    claims: list[ClaimConfig] = field(default_factory=list)
    margins: dict[str, float] = field(
        default_factory=dict, metadata=EACH_ABOVE_ZERO
    )  # by figure or task: the smallest difference that matters
    # by figure or task: the standard deviation of paired differences over seeds that was measured, for plans before any run
    spreads: dict[str, float] = field(default_factory=dict, metadata=EACH_ABOVE_ZERO)
    published: str | None = None  # key in reports/table/published.yaml
    reference: str | None = field(
        default=None, metadata={"allowed": LABEL}
    )  # the row that the others are compared with; None: the first
    only: list[str] | None = None  # some of the rows
    row: str | None = field(default=None, metadata={"allowed": LABEL})  # set by the sweeper in each job


@dataclass
class PathsConfig:
    """The folders of results and of prepared data, and one on a disk of the machine itself."""

    outputs: str = path("outputs")
    cache: str = path("${paths.outputs}/cache")
    # where training keeps a copy of the tokens that it reads (data/local_copy.py); empty: it reads those of the cache
    local: str = path("")


@dataclass
class PrepareConfig:
    """The settings of preparation; they do not change what is made of the text."""

    workers: int | None = between(1, 1024, None, null="one a core")  # processes
    # of SLURM that share the preparation of each data mix (reproduce.launch=slurm): two arrays of so many, and a job after each
    jobs: int = between(1, 10_000, 1)
    # what those jobs do. all: everything that is missing | corpus, tokens: pieces, while there are some that no other process
    # has | tokenizer: the corpus as a whole, and the tokenizer
    stage: str = one_of("all", "corpus", "tokenizer", "tokens", default="all")


@dataclass
class InspectConfig:
    """The options of `roberta-lab inspect`."""

    examples: int = at_least(0, 3)  # decoded in full; 0: statistics only
    epoch: int = at_least(0, 0)
    statistics: bool = True  # of the whole epoch, with an HTML page; false: a quick look
    max_examples: int | None = at_least(1, None)  # the statistics' first examples of the plan; None: all


@dataclass
class ExportConfig:
    """The options of `roberta-lab export`."""

    path: str = path("")  # a folder that is new, empty or an earlier export; empty: <paths.outputs>/export/<run id>


@dataclass
class PredictConfig:
    """The options of `roberta-lab predict`."""

    # fill_mask: tokens for each mask | embed: a vector per text | task: what a run was finetuned for
    what: str = one_of(*PREDICTIONS, default="fill_mask")
    text: Any = field(
        default=None, metadata=ANY_TEXT
    )  # a text or a list of texts; in fill_mask, <mask> in it is the mask token
    file: str = path("")  # in place of `text`: UTF-8, a text (of `task` also a JSON object) a line; -: standard input
    top_k: int = at_least(1, 5)  # tokens per mask
    # the vector of a text: the final hidden state of <s> (bos), or the mean over all tokens
    pooling: str = one_of("bos", "mean", default="bos")
    output: str = path("")  # a file to write as well: .jsonl, or .npy (embed only: float32, a row per text)
    figure: str = path("")  # of embed: a file, .svg or .png, with a map of the texts and their similarity


@dataclass
class EvaluateConfig:
    """How a task is scored without finetuning, and how often pretraining does that. No pretraining is changed by it."""

    # pseudo-log-likelihood: what is masked beside a token, in its word: nothing (original, Salazar et al. 2020) |
    # all that follows (l2r: PLL-word-l2r of Kauf and Ivanova 2023)
    within_word: str = later("original", one_of("original", "l2r"))
    every: int | None = at_least(1, None, null="never")  # steps of pretraining after which `task` is scored
    pairs: int | None = at_least(1, 50, null="all")  # of each paradigm, that pretraining scores


@dataclass
class PlanConfig:
    """The machine that `roberta-lab plan` reckons with; each scale has its own."""

    hardware: str = "cpu"  # v100 | a100 | h100 | h200 | cpu (model/hardware.py)
    devices: int = between(1, 1_000_000, 1)  # that a run is spread over; of a CPU, cores
    mfu: float | None = share(
        None
    )  # share of the peak FLOP/s that training reaches; None: what is stated for the hardware
    tokens_per_second: float | None = above_zero(None)  # of one device, measured; in place of the peak and the share
    # GB a second that a device sends to others while all do; None: the exchange of gradients is not reckoned in
    bandwidth: float | None = above_zero(None, null="not reckoned in")
    price_per_hour: float | None = at_least(0, None)  # of one device, in any currency
    output: str = path("")  # a Markdown file to write as well
    difference: float | None = above_zero(None, null="no question")  # how many seeds would see it in the column?
    column: str | None = None  # a figure or task of the table; None: that of the first claim
    spread: float | None = above_zero(
        None, null="what was measured or stated"
    )  # of the column's paired differences over seeds


@dataclass
class DiffConfig:
    """The options of `roberta-lab diff`; its first two words are `a` and `b`."""

    a: str = ""  # a run's id or folder | SWEEP/ROW | ROW with sweep=NAME | 'overrides in quotes'
    b: str = ""
    items: int = at_least(0, 20)  # of each direction in which predictions flip, that are shown
    output: str = path("")  # a folder for text, JSON and page; empty: <paths.outputs>/diffs/A--B


@dataclass
class TableConfig:
    """The options of `roberta-lab table`."""

    runs: list[str] = field(default_factory=list)  # ids or folders, in place of a sweep: rows are what they differ in
    replace: bool = False  # write over a table that has more complete runs


@dataclass
class PruneConfig:
    """The options of `roberta-lab prune`."""

    yes: bool = False  # remove it; else it is only said
    final: bool = False  # also the last checkpoint of complete runs, their weights


@dataclass
class ReproduceConfig:
    """The tables that `roberta-lab reproduce` makes and `plan` estimates."""

    sweeps: list[str] = field(
        default_factory=list, metadata=EACH_NAME
    )  # several tables; set by sweep=all and by sweep=[NAME,NAME]
    # pretraining seeds are added until half the width of the intervals is at most this, in the unit of the column
    until: float | None = above_zero(None, null="the seeds of the sweep")
    column: str | None = None  # a figure or task of the table; None: that of the first claim
    launch: str = one_of("here", "slurm", default="here")  # slurm: submit what is missing, and return at once
    most_seeds: int = between(2, 10_000, 20)
    hours: float | None = above_zero(None, null="no limit")  # of the clock: no seed is begun that would end later
