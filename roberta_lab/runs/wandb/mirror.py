"""The copy of a run in Weights & Biases (W&B): its metrics, examples and result, and the runs that it started from.

`metrics.jsonl` holds all metrics already, so a failure of W&B must not stop the run or delay it for long. It drops the copy
with one line on the console. `roberta-lab sync` sends later what is still in `outputs/wandb/`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from roberta_lab.config import Config, NonFinite, one_line
from roberta_lab.config.console import say
from roberta_lab.config.secrets import masked, masked_values, masked_words
from roberta_lab.runs.wandb import environment, offline, service
from roberta_lab.runs.wandb.environment import run_within
from roberta_lab.runs.wandb.names import (
    OF_A_STEP,
    Keys,
    attempt_settings,
    best_of,
    project,
    run_name,
    run_settings,
    tags,
)
from roberta_lab.training.rows import Row

if TYPE_CHECKING:
    import wandb

INIT_SECONDS, OFFLINE_INIT_SECONDS = 30.0, 10.0
CALL_SECONDS = 10.0  # for a call, which is only handed over: a busy machine takes its time too
FINISH_SECONDS, SHARE = 30.0, 1 / 15  # at most, to send the rest at the end; of a run's time, from CALL_SECONDS on
PROBE_SECONDS = 2.0  # for a server's answer at the end of a run
MOST_WAITING = 100_000  # calls that W&B's process has not taken yet: then it hangs
AT_ONCE = 1_000  # rows of an earlier attempt, within the time limit


class Mirror:
    """The copy of one run in W&B. Its methods raise no error and wait for a limited time.

    A thread makes the calls in their order: `run.log` waits for ever where W&B's own process hangs.
    """

    def __init__(self, run: wandb.Run, folder: Path, keys: Keys, every: int = 1, url: str | None = None) -> None:
        """`folder` is where W&B keeps its files; rows of training are logged at each step that `every` divides.

        `url` is the address of the server, None offline.
        """
        self.run, self.folder, self.keys, self.every, self.url = run, folder, keys, every, url
        self.begun = time.monotonic()
        self.failed = False
        self.chance: dict[str, float] = {}  # by the name of a score: what a constant prediction scores
        self._known: set[str] = set()  # metrics for which W&B was told what its summary keeps
        self._calls: SimpleQueue[tuple[Callable[[], object], threading.Event] | None] = SimpleQueue()
        threading.Thread(target=self._call, daemon=True).start()

    def _call(self) -> None:
        while (call := self._calls.get()) is not None:
            work, done = call
            try:
                if not self.failed:
                    work()
            except Exception as error:
                self._drop(error)
            done.set()

    def log(self, row: Row) -> None:
        """Send a row, without waiting."""
        if self.failed:
            return
        self._calls.put((lambda: self._log(row), threading.Event()))
        if self._calls.qsize() > MOST_WAITING:
            self._drop(TimeoutError("it takes no more rows"))

    def log_again(self, rows: Sequence[Row]) -> None:
        """Send the rows of an earlier attempt, of which W&B may have some or all: the client leaves out what the server has."""
        for start in range(0, len(rows), AT_ONCE):
            self.attempt(partial(self._log_all, rows[start : start + AT_ONCE]))

    def _log_all(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._log(row)

    def _log(self, row: Row) -> None:
        """Log a row at its own step, unless it is one of training that `every` leaves out."""
        if row.step % self.every and any(name.startswith(OF_A_STEP) for name in row) and not scores_of(row):
            return
        for name in scores_of(row) - self._known:
            self.run.define_metric(self.keys.name(name), step_metric=axis_of(row), summary=best_of(name))
            self._known.add(name)
        self.run.log(self.keys.row(row, self.chance), step=row.step)

    def show(self, media: Callable[[], Mapping[str, object]]) -> None:
        """Log tables and plots, made by `media` unless W&B has failed. One that cannot be made costs a line, not the run."""
        if self.failed:
            return
        try:
            found = {self.keys.name(name): value for name, value in media().items()}
        except Exception as error:
            say(f"W&B: examples are left out ({one_line(error)}).")
            return
        self.attempt(lambda: self.run.log(found))

    def note(self, settings: Mapping[str, object]) -> None:
        """Add settings to the run's config."""
        self.attempt(lambda: self.run.config.update(dict(settings), allow_val_change=True))

    def log_output(self, kind: str, directory: Path) -> None:
        """Record that this run made the run folder `directory`."""
        self.attempt(lambda: self.run.log_artifact(artifact(kind, directory)))

    def log_input(self, kind: str, directory: Path) -> None:
        """Record that this run was made from the run in `directory`."""

        def use() -> None:
            # Private: the public `use_artifact` refuses offline runs and waits for the server. Inside, it makes this
            # call, which also works offline; the server recognizes equal content as the same artifact.
            self.run._log_artifact(artifact(kind, directory), aliases=[], is_user_created=True, use_after_commit=True)

        self.attempt(use)

    def summarize(self, values: Mapping[str, object]) -> None:
        """Show these values in the run's summary."""
        self.attempt(lambda: self.run.summary.update(dict(values)))

    def alert(self, title: str, text: str) -> None:
        """Send a warning to where the user lets W&B send them: a mail, a chat."""
        self.attempt(lambda: self.run.alert(title, text, level="WARN"))

    def finish(self, error: BaseException | None = None, seconds: float | None = None) -> None:
        """End the run in W&B: finished, failed, or preempted where it was only stopped and will go on.

        W&B may send the rest in so many seconds; without that, in a share of the time that the run took. After a failure of
        W&B, give up its process too, so that the next job starts its own.
        """
        if isinstance(error, NonFinite):
            self.alert("diverged", str(error))
        if error is not None and not isinstance(error, Exception):  # Ctrl-C, or a signal of a scheduler
            self.attempt(lambda: self.run.mark_preempting())
        if self.url is not None and not self.failed and (reason := environment.unanswered(self.url, PROBE_SECONDS)):
            self._drop(ConnectionError(f"{self.url} does not answer: {reason}"))
        took = time.monotonic() - self.begun
        seconds = max(CALL_SECONDS, min(FINISH_SECONDS, took * SHARE)) if seconds is None else seconds
        self.attempt(lambda: self.run.finish(exit_code=0 if error is None else 1), seconds)
        self._calls.put(None)
        if self.failed:
            service.give_up()
            run_within(service.GRACE_SECONDS, lambda: self.run.finish(exit_code=1))  # ends W&B's own threads at least

    def attempt(self, work: Callable[[], object], seconds: float | None = None) -> None:
        """Make a call after the earlier ones, within a time limit. The first error is printed and ends all logging."""
        if self.failed:
            return
        done = threading.Event()
        self._calls.put((work, done))
        if not done.wait(CALL_SECONDS if seconds is None else seconds):
            self._drop(TimeoutError("it does not answer"))

    def _drop(self, error: BaseException) -> None:
        if self.failed:
            return
        self.failed = True
        if self.url is not None:
            environment.forget()  # the next job of this command asks its server again
        with suppress(OSError, AttributeError):
            (Path(self.run.dir).parent / offline.CUT_OFF).touch()  # for `sync`
        where = f"metrics.jsonl has everything, {self.folder / offline.FOLDER} what W&B knew"
        say(f"W&B failed ({one_line(error)}); {where}.")


def scores_of(row: Row) -> set[str]:
    """Return the names of what a row says of held-out text or of a task."""
    return {name for name in row if "/" in name and not name.startswith(OF_A_STEP)}


def axis_of(row: Mapping[str, float]) -> str:
    """Return what the curves of a row's metrics are drawn over."""
    return "tokens_seen" if "tokens_seen" in row else "step"


def artifact(kind: str, directory: Path) -> wandb.Artifact:
    """Return a run as a node of W&B's lineage graph. Only the run's config is uploaded, no result and no weights."""
    import wandb

    node = wandb.Artifact(f"{kind}-{directory.name}", f"{kind}-run", metadata={"directory": str(directory)})
    node.add_file(str(directory / "config.yaml"), policy="immutable", skip_cache=True)
    return node


def start(
    config: Config, directory: Path, kind: str, label: str, science: Mapping[str, object], step: int
) -> Mirror | None:
    """Start the mirror of a run that goes on after `step`. Return None when W&B is off or does not start."""
    run_id, keys = directory.name, Keys.of(config, kind)
    settings = run_settings(config, kind, run_id, science) | attempt_settings(directory, step)
    found = tags(config, kind, resumed=bool(settings.get("resumed_at")))
    mirror = start_run(config, kind, run_id, run_name(label), settings, found, keys)
    if mirror is not None:
        axis = "tokens_seen" if kind == "pretrain" else "step"
        mirror.attempt(lambda: mirror.run.define_metric(axis))
        mirror.attempt(lambda: mirror.run.define_metric(f"{keys.prefix}*", step_metric=axis))
    return mirror


def start_run(
    config: Config, kind: str, run_id: str, name: str, settings: dict[str, object], tags: list[str], keys: Keys
) -> Mirror | None:
    """Start a W&B run of any kind, in the group of its sweep. Return None when W&B is off or does not start.

    Where W&B does not start online, it is offline for this run and for the rest of the command.
    """
    chosen = environment.ready(config)
    while chosen != "off":
        is_online = chosen == "online"
        try:
            service.give_up_if_lost()
            seconds = service.GRACE_SECONDS + (INIT_SECONDS if is_online else OFFLINE_INIT_SECONDS)
            run = service.in_time(seconds, partial(_init, config, kind, run_id, name, settings, tags, chosen))
        except Exception as error:  # a dead process of W&B causes errors of many types
            chosen = "offline" if is_online else "off"
            environment.fall_back(chosen, f"it did not start ({one_line(error)})")
            service.give_up()
            continue
        service.own()
        offline.remove_earlier(offline.home(config), run_id, Path(run.dir).parent)
        url = str(run.settings.base_url) if is_online else None
        return Mirror(run, offline.home(config), keys, config.logger.every, url)
    return None


def _init(
    config: Config, kind: str, run_id: str, name: str, settings: dict[str, object], tags: list[str], mode: str
) -> wandb.Run:
    import wandb

    sweep, logger = config.sweep, config.logger
    home = offline.home(config)
    home.mkdir(parents=True, exist_ok=True)
    return wandb.init(
        entity=logger.entity,
        project=project(logger),
        id=run_id,  # under W&B's agent, its own id takes the place of ours, which stands in the config
        name=masked(name),
        group=sweep.name if sweep is not None else None,
        job_type=kind,
        notes=masked_values(logger.notes or (sweep.question if sweep is not None else None)),
        tags=masked_words(tags),
        config=masked_values(settings),
        dir=home,
        mode=mode,  # type: ignore[arg-type]  # a str; wandb checks it, and refuses other modes
        resume="allow" if mode == "online" else None,
        reinit="finish_previous",
        settings=_client_settings(config),
    )


def _client_settings(config: Config) -> wandb.Settings:
    """Return settings that keep W&B silent and its waiting short; it gets no code, and the rest as `logger` says."""
    import wandb

    logger = config.logger
    return wandb.Settings(
        silent=True,
        console="wrap" if logger.console else "off",
        x_disable_stats=not logger.system,
        x_disable_meta=not (logger.git or logger.system),
        disable_git=not logger.git,
        save_code=False,
        init_timeout=INIT_SECONDS,
        finish_timeout=FINISH_SECONDS,
        finish_timeout_raises=True,
    )
