"""`sync`: upload to W&B what it does not have yet of runs and tables that were logged offline."""

from __future__ import annotations

from pathlib import Path

from roberta_lab.config import ConfigError, Unfinished
from roberta_lab.config.console import say
from roberta_lab.config.formatting import counted
from roberta_lab.data.storage import Json
from roberta_lab.runs.command_line import places, typed
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.wandb import environment, offline, upload


def main(job: Job) -> Json:
    """Upload every offline run below `paths.outputs` that no server has, but those at work: they are still written.

    Raises ConfigError without a server, Unfinished where some fail.
    """
    outputs = Path(job.config.paths.outputs)
    there, todo = offline.num_uploaded(outputs), offline.not_uploaded(outputs)
    at_work = [folder for folder in todo if offline.is_at_work(folder, outputs)]
    todo = [folder for folder in todo if folder not in at_work]
    found: dict[str, Json] = {"uploaded": [], "failed": [], "before": there, "at_work": [*map(str, at_work)]}
    if at_work:
        print(
            f"left out, for their runs are at work: {', '.join(map(str, at_work))}; once these have ended, the same again"
        )
    if not todo:
        print(
            f"{'nothing else to upload' if at_work else 'W&B has everything'}: {counted(there, 'offline run')} uploaded before"
        )
        return found
    if why := environment.missing():
        raise ConfigError(f"W&B: {why}.")
    environment.drop_wrong_variables()
    url = upload.server()
    if reason := environment.unanswered(url):
        waiting = f"{counted(len(todo), 'offline run')} in {outputs} wait for it, and nothing is lost"
        raise ConfigError(
            f"{url} does not answer ({reason}); {waiting}. Allowed: WANDB_BASE_URL=ADDRESS of a server of W&B."
        )
    print(f"{counted(len(todo), 'run')} to upload to {url}", flush=True)
    done, said = upload.upload(todo, outputs, job.config.logger)
    failed = [folder for folder in todo if folder not in done]
    found |= {"uploaded": [*map(offline.run_id, done)], "failed": [*map(str, failed)]}
    table = typed("table", ["sweep=NAME", "logger.wandb=online", *places(job.config.paths)])
    print(f"uploaded: {counted(len(done), 'run')}; next: {table} shows a table's")
    if failed:
        say(said)
        raise Unfinished(f"not uploaded: {', '.join(map(str, failed))}; the same command tries again.", found)
    return found
