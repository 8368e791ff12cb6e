"""The batch script of an array of jobs: each is one command of this project, as a person would type it.

The script hands signals on to the command, which finishes its step and saves. It asks for another turn when the time was up
and something was saved, so that a time limit too short for anything is said and not looped on.
"""

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from roberta_lab.config import SlurmConfig

TOO_SHORT = "the time limit is too short: nothing was saved since the job started, so it asks for no other turn; slurm.time gives more"
EARLY = 150  # seconds: a signal that comes so much before it is due is none of the time limit

_SCRIPT = """\
#!/bin/bash
# {title}. The jobs of an array, a command each; sbatch has kept a copy of this file.
cd {here} || exit 1
program=({program})
case "${{SLURM_ARRAY_TASK_ID:-0}}" in
{cases}
*) echo "roberta-lab: no job ${{SLURM_ARRAY_TASK_ID}} in this array" >&2; exit 1 ;;
esac

saved() {{ find "${{folders[@]}}" -type f -name {pattern} -printf '%P %s %T@\\n' 2>/dev/null | sort; }}
asked= child=
hand_on() {{ asked=$1 caught=1; [ -z "$child" ] || kill -s "$1" "$child" 2>/dev/null; }}
for name in USR1 USR2 TERM; do trap "hand_on $name" "$name"; done

before=$(saved)
"${{program[@]}}" "${{words[@]}}" &
child=$!
[ -z "$asked" ] || kill -s "$asked" "$child"
while :; do  # a signal ends the wait, not the command
    caught=; wait "$child"; found=$?
    [ "$found" = 127 ] || code=$found
    [ -n "$caught" ] || break
done

job=${{SLURM_ARRAY_JOB_ID:+${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}}}
if [ "$code" = 138 ] || [ "$code" = 140 ]; then  # asked to save by SIGUSR1 or SIGUSR2; SIGTERM is SLURM's own business
    if [ "$(saved)" = "$before" ] && [ "$SECONDS" -ge {due} ]; then
        echo "roberta-lab: {too_short}." >&2
    else
        echo "roberta-lab: asks SLURM for another turn" >&2
        scontrol requeue "${{job:-$SLURM_JOB_ID}}"
    fi
fi
exit "$code"
"""


@dataclass(frozen=True)
class Task:
    """One job: a command, and the folders in which it saves what it has: checkpoints; of a preparation, every file counts."""

    kind: str  # the command
    name: str  # for people
    words: tuple[str, ...]  # its arguments, as they are
    folders: tuple[Path, ...]  # the first is what the job is noted for
    is_run: bool = True  # else it prepares or writes tables
    text: str = ""  # what nothing is left of to be prepared after this job (`Submitted.text`)
    nodes: int = 1  # where it is several, srun starts `devices` processes on each
    devices: int = 1

    @property
    def arguments(self) -> list[str]:
        return [self.kind, *self.words]


def text(title: str, tasks: Sequence[Task], config: SlurmConfig) -> str:
    """Return the script for an array of these tasks; all are runs, or none is."""
    cases = [
        f"{number}) folders=({shlex.join(map(os.path.abspath, task.folders))}) words=({shlex.join(task.arguments)}) ;;"
        for number, task in enumerate(tasks)
    ]
    limit = seconds(config.time)
    return _SCRIPT.format(
        title=title,
        here=shlex.quote(os.getcwd()),
        program=shlex.join([*_srun(tasks[0], config), sys.executable, "-m", "roberta_lab"]),
        cases="\n".join(cases),
        pattern=shlex.quote("*" if tasks[0].kind == "prepare" else "step-*.ckpt"),
        due=0 if limit is None else max(0, limit - config.signal_seconds - EARLY),
        too_short=TOO_SHORT,
    )


def _srun(task: Task, config: SlurmConfig) -> list[str]:
    """Return the words that start a task's processes on its nodes; none for one node, where the command starts them itself.

    srun does not take the CPUs of a process from sbatch. A process that ends badly ends all.
    """
    if task.nodes == 1:
        return []
    cpus = [] if config.cpus is None else [f"--cpus-per-task={_cpus_of_a_process(task, config.cpus)}"]
    each = f"--ntasks-per-node={task.devices}"
    return ["srun", f"--nodes={task.nodes}", each, *cpus, "--distribution=block", "--kill-on-bad-exit=1"]


def _cpus_of_a_process(task: Task, cpus: int) -> int:
    """Return how many of a node's CPUs each of SLURM's processes has: all, where the command starts those of the run itself."""
    return max(1, cpus // task.devices) if task.nodes > 1 else cpus


def options(tasks: Sequence[Task], config: SlurmConfig, log: Path) -> list[str]:
    """Return the options of sbatch for an array of these tasks, which have the same nodes and devices."""
    first = tasks[0]
    gpus = config.gpus if tasks[0].kind == "pretrain" else min(config.gpus, 1)
    throttle = f"%{config.throttle}" if config.throttle is not None and len(tasks) > 1 else ""
    asked = {
        "partition": config.partition,
        "account": config.account,
        "constraint": config.constraint,
        "time": config.time,
        "gpus-per-node": str(gpus) if gpus else None,
        "nodes": str(first.nodes) if first.nodes > 1 else None,
        "ntasks-per-node": str(first.devices) if first.nodes > 1 else None,
        "cpus-per-task": None if config.cpus is None else str(_cpus_of_a_process(first, config.cpus)),
        "mem": config.memory,
        "signal": f"B:USR1@{config.signal_seconds}",
        "array": f"0-{len(tasks) - 1}{throttle}",
        "job-name": f"roberta-lab-{tasks[0].kind}",
        "output": str(log),
    }
    own = [f"--{name}={value}" for name, value in asked.items() if value is not None]
    return [*own, "--requeue", "--open-mode=append", "--kill-on-invalid-dep=yes", *config.lines]


def seconds(time: str | None) -> int | None:
    """Return a time limit of SLURM in seconds: 90 are minutes, 1:30 too (with seconds), 1:30:00 hours, 2-12 days and hours."""
    if time is None:
        return None
    days, dash, rest = time.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if dash:
        hours, minutes, secs = [*parts, 0, 0][:3]
        return int(days) * 86_400 + hours * 3600 + minutes * 60 + secs
    hours, minutes, secs = (0, *parts, 0) if len(parts) == 1 else (0, *parts) if len(parts) == 2 else parts
    return hours * 3600 + minutes * 60 + secs
