"""What stands around a run: W&B's variables, whether W&B is installed and its server answers, and whether its agent started us.

All of it is found out once per command. The verdict stands in the environment, which worker processes inherit, so that a server
that hangs costs its wait once and not once per job.
"""

from __future__ import annotations

import json
import os
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable

from roberta_lab.config import Config, ConfigError, one_line
from roberta_lab.config.console import say
from roberta_lab.config.secrets import MASK

ANSWER_SECONDS = 10.0  # that a server may take for its first answer
VERDICT = "ROBERTA_LAB_WANDB"  # a variable with what this command found: offline, off, or AS_ASKED
AS_ASKED = "as asked"
NOT_INSTALLED = "it is not installed (pip install wandb)"
DISABLED = {"disabled": "off", "dryrun": "offline", "run": "online", "shared": "online"}  # W&B's other names of modes
_SECRETS = ("KEY", "TOKEN", "PASSWORD", "HEADERS")  # in the names of variables whose values are never shown
_HYDRA = ("--cfg", "--config-", "--info", "--package", "--multirun", "--shell-completion", "--resolve", "--run")


def mode(config: Config) -> str:
    """Return online, offline or off. `logger.wandb=auto` follows WANDB_MODE, then whether WANDB_API_KEY is set."""
    if config.logger.wandb != "auto":
        return config.logger.wandb
    if found := os.environ.get("WANDB_MODE"):
        return DISABLED.get(found, found)
    return "online" if os.environ.get("WANDB_API_KEY") or under_agent() else "offline"


def forget() -> None:
    """Forget what an earlier command in this process found."""
    os.environ.pop(VERDICT, None)


def ready(config: Config) -> str:
    """Return the mode in which W&B can be used: `mode`, or what is left of it. What is amiss costs one line per command.

    Call it before jobs are launched as well: their processes inherit the verdict.
    """
    if mode(config) == "off":
        return "off"
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ["WANDB_ERROR_REPORTING"] = (
        "false"  # offline too, W&B would send reports, and wait for a server that hangs
    )
    verdict = os.environ.get(VERDICT)
    if verdict is None:
        verdict = os.environ[VERDICT] = _found_out(config)
    return mode(config) if verdict == AS_ASKED else verdict


def failed() -> str | None:
    """Return offline or off where this command found, in this process, that it must be; else None."""
    verdict = os.environ.get(VERDICT)
    return None if verdict == AS_ASKED else verdict


def learn(verdict: str | None) -> None:
    """Take what another process of this command found: its `failed`."""
    if verdict is not None:
        os.environ[VERDICT] = verdict


def fall_back(verdict: str, why: str) -> None:
    """Note that W&B is offline, or off, for the rest of this command, and say why in one line."""
    os.environ[VERDICT] = verdict
    later = (
        "offline, `roberta-lab sync` uploads it later"
        if verdict == "offline"
        else "runs go on without it, their metrics.jsonl has everything"
    )
    say(f"W&B: {why}; {later}.")


def _found_out(config: Config) -> str:
    if why := missing():
        fall_back("off", why)
        return "off"
    drop_wrong_variables()
    os.environ.setdefault("WANDB_SILENT", "true")  # where it was wrong
    if mode(config) != "online":
        return AS_ASKED
    import wandb

    try:
        url = wandb.setup().settings.base_url  # from the environment, from `wandb login`, or the public server
    except Exception as error:  # a settings file of its own that is broken
        fall_back("off", f"it did not start ({one_line(error)})")
        return "off"
    os.environ.pop("WANDB_SERVICE", None)  # its process is not for the processes of jobs
    if reason := unanswered(url):
        fall_back("offline", f"{url} does not answer ({reason})")
        return "offline"
    return AS_ASKED


def missing() -> str | None:
    """Return why the package wandb is not there, or None if it is."""
    try:
        import wandb
    except ModuleNotFoundError as error:
        if error.name == "wandb":
            return NOT_INSTALLED
        return f"it cannot be imported ({one_line(error)})"
    except Exception as error:  # a broken installation
        return f"it cannot be imported ({one_line(error)})"
    return NOT_INSTALLED if wandb.__file__ is None else None  # a folder of that name, such as its own in outputs


def drop_wrong_variables() -> None:
    """Take each WANDB_ variable that W&B would refuse out of the environment, with one line for all of them."""
    import wandb

    wrong = []
    for name in sorted(name for name in os.environ if name.startswith("WANDB_")):
        value = os.environ[name]
        try:
            wandb.Settings().update_from_env_vars({name: value})
        except Exception as error:
            shown = MASK if any(word in name for word in _SECRETS) else value
            wrong.append(f"{name}={shown} ({_reason(error)})")
            del os.environ[name]
    if wrong:
        say(f"W&B: left out as wrong: {'; '.join(wrong)}.")


def _reason(error: Exception) -> str:
    """Return what pydantic says of a value, or the first line of another error."""
    errors = getattr(error, "errors", None)
    said = str(errors()[0]["msg"]) if callable(errors) else one_line(error).partition(": ")[2]
    return said[:1].lower() + said[1:].rstrip(".")


def unanswered(url: str, seconds: float | None = None) -> str | None:
    """Return why no W&B answers at `url`, or None if one does. `wandb.init` would try for as long as its timeout, in each job."""
    seconds = ANSWER_SECONDS if seconds is None else seconds
    question = json.dumps({"query": "query Viewer { viewer { id } }", "variables": {}}).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "roberta-lab"}

    def ask() -> None:
        try:
            asked = urllib.request.Request(f"{url.rstrip('/')}/graphql", question, headers)
            with urllib.request.urlopen(asked, timeout=seconds) as answer:
                found = json.loads(answer.read(1 << 20))
            if not isinstance(found, dict) or not {"data", "errors"} & found.keys():
                raise ValueError("it is no server of W&B")
        except urllib.error.HTTPError as error:
            if error.code >= 500:  # below: it asks for a key, which W&B will send
                raise
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ssl.SSLError):  # W&B has settings of its own for certificates
                raise

    error = run_within(seconds + 1, ask)  # the timeout of a socket does not cover the look-up of the host's name
    return None if error is None else one_line(error)


def run_within(seconds: float, work: Callable[[], object]) -> BaseException | None:
    """Call `work` in a thread: some calls have no timeout. Return its error, TimeoutError when late, or None."""
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:  # no error may end the run, which does not need W&B
            errors.append(error)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    thread.join(seconds)
    return TimeoutError("it does not answer in time") if thread.is_alive() else next(iter(errors), None)


# ---------------------------------------------------------------- W&B's agent
def under_agent() -> bool:
    """Return whether `wandb agent` started this command, for one run of a sweep of W&B's own, whose id it gave."""
    return bool(os.environ.get("WANDB_SWEEP_ID"))


def without_hyphens(arguments: list[str]) -> list[str]:
    """Return the agent's `--key=value` as `key=value`; Hydra's own flags stay."""
    return [
        word[2:] if word.startswith("--") and "=" in word and not word.startswith(_HYDRA) else word
        for word in arguments
    ]


def check_one_run(name: str, is_multirun: bool) -> None:
    """Raise ConfigError for a command of several runs under the agent: they would share one W&B id."""
    if is_multirun:
        allowed = "Allowed: one run, of pretrain, finetune or evaluate, without -m and sweep="
        raise ConfigError(f"{name}: wandb agent gives one W&B run, and this command makes several. {allowed}.")
