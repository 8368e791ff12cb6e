"""What the jobs of a cluster ask for, which is no part of a run's id."""

from dataclasses import dataclass, field

from roberta_lab.config.ranges import EACH_SLURM_LINE, SLURM_TIME, SLURM_WORD, between


@dataclass
class SlurmConfig:
    """What one job asks SLURM for; null: what the cluster gives without being asked."""

    partition: str | None = field(default=None, metadata=SLURM_WORD)
    account: str | None = field(default=None, metadata=SLURM_WORD)
    constraint: str | None = field(default=None, metadata=SLURM_WORD)  # features of nodes, a100|h100
    time: str | None = field(default=None, metadata=SLURM_TIME)
    gpus: int = between(0, 64, 0)  # of a pretraining run; other jobs have one at most
    cpus: int | None = between(1, 1024, None, null="what the cluster gives")  # of a job, on each node
    memory: str | None = field(default=None, metadata=SLURM_WORD)  # of each node: 16G
    throttle: int | None = between(1, 100_000, None, null="all")  # jobs of one array at the same time
    # before the time limit a run is told to save and asks for another turn; SLURM may be up to a minute early
    signal_seconds: int = between(1, 65_535, 120)
    lines: list[str] = field(default_factory=list, metadata=EACH_SLURM_LINE)  # more options of sbatch: --qos=long
