"""`sync`: upload to W&B what it does not have yet of runs and tables that were logged offline."""

from __future__ import annotations

from pathlib import Path

from roberta_lab.config import ConfigError, Unfinished
from roberta_lab.config.console import say
from roberta_lab.config.formatting import counted
from roberta_lab.data.storage import Json
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.wandb import environment, offline, upload


def main(job: Job) -> Json:
    """Upload every offline run below `paths.outputs` that no server has. Raises ConfigError without a server, Unfinished where some fail."""
    outputs = Path(job.config.paths.outputs)
    there, todo = offline.num_uploaded(outputs), offline.not_uploaded(outputs)
    if not todo:
        print(f"W&B has everything: {counted(there, 'offline run')} uploaded before")
        return {"uploaded": [], "failed": [], "before": there}
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
    found: dict[str, Json] = {
        "uploaded": [offline.run_id(folder) for folder in done],
        "failed": [str(folder) for folder in failed],
        "before": there,
    }
    print(
        f"uploaded: {counted(len(done), 'run')}; next: roberta-lab table sweep=NAME logger.wandb=online shows a table's"
    )
    if failed:
        say(said)
        raise Unfinished(f"not uploaded: {', '.join(map(str, failed))}; the same command tries again.", found)
    return found
