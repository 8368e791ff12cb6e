"""Submit what is missing as arrays of jobs that wait for one another in SLURM's queue: preparation, runs by kind, tables."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from roberta_lab.config import Config, ConfigError, SlurmConfig
from roberta_lab.config.formatting import counted
from roberta_lab.data import claims
from roberta_lab.data.storage import Json, digest
from roberta_lab.runs import data_checks, identity
from roberta_lab.runs.command_line import words
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.overrides import Override, assign, without, without_sweep
from roberta_lab.runs.slurm import queue, record, script
from roberta_lab.runs.slurm.record import Submitted
from roberta_lab.runs.slurm.script import Task

MOST = 1000  # jobs of one array, as many as SLURM allows unless it is told otherwise
# what jobs are not told
HERE_ONLY = (
    "reproduce",
    "slurm",
    "slurm_light",
    "hydra",
    "trainer.jobs",
    "trainer.progress",
    "prepare.jobs",
    "prepare.stage",
)


@dataclass
class Submission:
    """Jobs that are being submitted: which there are, and which run each of them makes."""

    config: Config
    folder: Path
    sweeps: tuple[str, ...]
    jobs: list[Submitted] = field(default_factory=list)

    def array(self, tasks: Sequence[Task], config: SlurmConfig, needs: Iterable[str]) -> list[str]:
        """Submit tasks of one kind as arrays, and note them. Returns the numbers of the arrays. Raises SlurmError."""
        kind, outputs, found = tasks[0].kind, Path(self.config.paths.outputs), []
        depends = [f"--dependency={','.join(needs)}"] if (needs := [*needs]) else []
        for start in range(0, len(tasks), MOST):
            part = tasks[start : start + MOST]
            file = self.folder / f"{kind}-{len(self.jobs)}.sh"
            file.touch(mode=0o700)  # its commands may name what is not for others
            file.write_text(script.text(f"roberta_lab: {kind} of {', '.join(self.sweeps) or 'runs'}", part, config))
            log = self.folder.resolve() / f"{kind}-%A_%a.log"
            number = queue.submit(file, [*script.options(part, config, log), *depends])
            self.jobs += [
                Submitted(
                    job=f"{number}_{i}",
                    kind=kind,
                    name=task.name,
                    run=task.folders[0].relative_to(outputs).as_posix() if task.is_run else "",
                    log=(self.folder / f"{kind}-{number}_{i}.log").relative_to(outputs).as_posix(),
                    sweeps=self.sweeps,
                    text=task.text,
                )
                for i, task in enumerate(part)
            ]
            record.write(self.folder, self.jobs)
            found.append(number)
        return found


def submit(
    config: Config, runs: Sequence[Job], user: Sequence[Override], tables: Sequence[str] = ()
) -> dict[str, Json]:
    """Submit the runs that are neither complete nor queued, what they need before, and the tables after them; say so.

    `user` are the overrides of the whole command without those that choose tables, `tables` the sweeps to be written. Nothing
    is waited for, and nothing is made here. Raises ConfigError where there is no SLURM, SlurmError, Damaged.
    """
    queue.expect_slurm()
    data_checks.expect_own_text(runs)
    outputs = Path(config.paths.outputs)
    _check(config)
    with _submitting(outputs) as known:
        before = record.of_runs(runs, known, outputs)
        alive = queue.queued(job.array for job in before.values())
        waiting = {path: job for path, job in before.items() if job.job in alive}
        complete = [run for run in runs if run.is_complete]
        left = [run for run in runs if run not in complete and run.path not in waiting]
        todo = [run for run in left if not claims.is_held(run.path)]
        sent: list[Submitted] = []
        if todo:
            new = Submission(config, record.new_folder(outputs), _sweeps(tables, todo))
            sent = _submitted(new, todo, user, tables, waiting)
    _say(sent)
    others = f", {len(left) - len(todo)} made by other processes" if len(left) > len(todo) else ""
    print(f"besides: {len(complete)} complete, {len(waiting)} queued before{others}")
    return {
        "submitted": [asdict(job) for job in sent],
        "complete": len(complete),
        "queued": len(waiting),
        "elsewhere": len(left) - len(todo),
    }


def submit_preparation(job: Job) -> dict[str, Json]:
    """Submit the preparation of a job's data unless it is queued, and say so. Nothing is waited for.

    Raises ConfigError where there is no SLURM, SlurmError, Damaged.
    """
    queue.expect_slurm()
    outputs = Path(job.config.paths.outputs)
    with _submitting(outputs) as known:
        last = [one for one in known if one.text == _text_of(job)]
        alive, sent = queue.queued(one.array for one in last), list[Submitted]()
        if not any(one.job in alive for one in last):
            new = Submission(job.config, record.new_folder(outputs), ())
            _prepare(new, [job])
            sent = new.jobs
    _say(sent)
    return {"submitted": [asdict(one) for one in sent]}


@contextmanager
def _submitting(outputs: Path) -> Iterator[list[Submitted]]:
    """Yield what was submitted before, while no other process submits. Raises Damaged."""
    (outputs / record.FOLDER).mkdir(parents=True, exist_ok=True)
    with claims.locked(outputs / record.FOLDER / ".submitting.json"):
        yield record.every(outputs)


def _submitted(
    new: Submission,
    todo: Sequence[Job],
    user: Sequence[Override],
    tables: Sequence[str],
    waiting: dict[Path, Submitted],
) -> list[Submitted]:
    """Submit all arrays in the order in which they wait for one another; return the jobs."""
    config, made_by = new.config, {path: job.array for path, job in waiting.items()}
    told = without(user, *HERE_ONLY)
    prepared = _prepare(new, todo)
    for batch in layers(todo):
        needed = sorted({made_by[path] for run in batch for path in run.needs if path in made_by})
        tasks = [
            Task(
                run.kind,
                run.name if run.row else run.label,
                (*words(_told(run, told)), "trainer.progress=false"),
                run.folders,
                nodes=run.config.trainer.nodes if run.kind == "pretrain" else 1,
                devices=run.config.trainer.devices,
            )
            for run in batch
        ]
        of_text = [prepared[mix]] if (mix := data_checks.mix_of(batch[0])) in prepared else []
        numbers = new.array(tasks, config.slurm, [*of_text, *(f"afterany:{number}" for number in needed)])
        for i, run in enumerate(batch):
            made_by[run.path] = numbers[i // MOST]
    if tables:
        shown = [
            Task("table", name, (*words([assign("sweep", name), *told]),), (new.folder,), is_run=False)
            for name in tables
        ]
        new.array(shown, config.slurm_light, [f"afterany:{number}" for number in sorted({*made_by.values()})])
    return new.jobs


def _told(run: Job, user: Sequence[Override]) -> list[Override]:
    """Return the overrides of a run's own command; of several values that the user gave for a key, those of the run."""
    own = {o.key_or_group: o for o in run.overrides}
    one = [own.get(o.key_or_group) if o.is_sweep_override() else o for o in user]
    return without(run.line([o for o in one if o is not None]), *HERE_ONLY)


def _prepare(new: Submission, todo: Sequence[Job]) -> dict[str, str]:
    """Submit the preparation of each data mix that the runs read; return by mix (`mix_of`) what those runs wait for.

    With `prepare.jobs`, so many share the units of the corpus, then its parts; one job after each makes a whole of them, and
    what the others have left. So no core waits while one process trains the tokenizer.
    """
    mixes: dict[str, Job] = {}
    for run in filter(data_checks.reads_mix, todo):
        mixes.setdefault(data_checks.mix_of(run), run)
    many, needs, ended = new.config.prepare.jobs, list[str](), list[str]()
    stages = (("corpus", many), ("tokenizer", 1), ("tokens", many), ("all", 1)) if many > 1 else (("all", 1),)
    for stage, number in stages if mixes else ():
        tasks = [task for run in mixes.values() for task in [_preparation(run, stage)] * number]
        ended = new.array(tasks, new.config.slurm_light, needs)
        is_one_job = number == 1 and len(mixes) == 1  # of several, the next stage makes what one leaves
        needs = [f"{'afterok' if is_one_job else 'afterany'}:{array}" for array in ended]
    return {mix: f"afterok:{ended[i // MOST]}_{i % MOST}" for i, mix in enumerate(mixes)}


def _preparation(run: Job, stage: str) -> Task:
    is_last = stage == "all"
    words = (*_words_of_data(run), *([] if is_last else [f"prepare.stage={stage}"]))
    of, text = ("", _text_of(run)) if is_last else (f", {stage}", "")
    name, cache = f"text of {run.row or run.label}{of}", Path(run.config.paths.cache)
    return Task("prepare", name, words, (cache,), is_run=False, text=text)


def _text_of(run: Job) -> str:
    """Return hex digits for the text that a run reads and the cache in which it is prepared."""
    return digest({"mix": data_checks.mix_of(run), "cache": str(Path(run.config.paths.cache).resolve())})


def _words_of_data(run: Job) -> tuple[str, ...]:
    return (*words(without(without_sweep(run.overrides), *HERE_ONLY)), "trainer.progress=false")


def layers(runs: Sequence[Job]) -> list[list[Job]]:
    """Return runs of one kind, nodes, devices and mix together, those that others start from before them."""
    by_path, depth = {run.path: run for run in runs}, dict[Path, int]()

    def depth_of(path: Path) -> int:
        if path not in depth:
            depth[path] = 1 + max((depth_of(own) for own in by_path[path].needs if own in by_path), default=-1)
        return depth[path]

    found: dict[tuple[int, ...], list[Job]] = {}
    order, mixes = [*identity.KINDS], dict[str, int]()  # a mix -> its number
    for run in runs:
        trainer = run.config.trainer
        shape = (trainer.nodes, trainer.devices) if run.kind == "pretrain" else (1, 1)
        mix = mixes.setdefault(data_checks.mix_of(run), len(mixes))
        found.setdefault((depth_of(run.path), order.index(run.kind), *shape, mix), []).append(run)
    return [found[key] for key in sorted(found)]


def _sweeps(tables: Sequence[str], runs: Sequence[Job]) -> tuple[str, ...]:
    return tuple(tables) or tuple(dict.fromkeys(run.config.sweep.name for run in runs if run.config.sweep is not None))


def _check(config: Config) -> None:
    """Raise ConfigError where a run has more processes than its job would have GPUs for."""
    slurm, devices = config.slurm, config.trainer.devices
    if slurm.gpus and config.trainer.accelerator != "cpu" and devices > slurm.gpus:
        has = f"slurm.gpus={slurm.gpus}"
        raise ConfigError(
            f"trainer.devices={devices}: more than the GPUs of a job ({has}). Allowed: {slurm.gpus} or less."
        )


def _say(sent: Sequence[Submitted]) -> None:
    arrays: dict[tuple[str, str], int] = {}
    for job in sent:
        arrays[job.kind, job.array] = arrays.get((job.kind, job.array), 0) + 1
    parts = [f"{kind} {number} ({counted(count, 'job')})" for (kind, number), count in arrays.items()]
    print("submitted: " + (", ".join(parts) or "nothing, for nothing is missing that is not queued"))
