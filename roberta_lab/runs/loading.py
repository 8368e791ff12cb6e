"""A run as a notebook takes it: found by folder or id, with its config, result, metrics, model and tokenizer."""

from __future__ import annotations

import os
import re
from collections.abc import Container
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from roberta_lab.axes.input_format import format_of
from roberta_lab.config import Config, ConfigError, nearest
from roberta_lab.config.formatting import counted
from roberta_lab.config.paths import user_path
from roberta_lab.data import verified
from roberta_lab.data.corpus.preparation import find_tokenizer
from roberta_lab.runs import composition, provenance, registration, results, run_folder, tracking, yaml_file
from roberta_lab.runs.command_line import typed
from roberta_lab.runs.compose import reason, typed_config
from roberta_lab.runs.identity import KINDS
from roberta_lab.runs.overrides import parse, without_sweep
from roberta_lab.runs.results import RunResult
from roberta_lab.tasks.result import MODEL_FOLDER

if TYPE_CHECKING:
    import pandas as pd
    from tokenizers import Tokenizer
    from torch import nn

_ID = re.compile(r"[0-9a-f]{1,12}")


@dataclass(frozen=True, eq=False)
class Run:
    """A run of any kind: what `load_run` found when it was called.

    Model and tokenizer are loaded when they are asked for, and kept; metrics are read anew each time.
    """

    kind: str  # pretrain | finetune | evaluate
    path: Path  # the run's folder, absolute
    config: Config = field(repr=False)  # as the run noted it; paths in it are as seen from where it was started
    result: RunResult | None = field(repr=False)  # None while the run is not complete

    @property
    def id(self) -> str:
        """Return the run's id, 12 hex digits: the name of its folder."""
        return self.path.name

    @property
    def metrics(self) -> pd.DataFrame:
        """Return a row for each step that logged anything, and a column for each name in `metrics.jsonl`, `step` first.

        A cell is NaN where the step lacks the metric: held-out metrics stand at the steps with a validation.
        """
        import pandas as pd

        steps: dict[int, dict[str, float]] = {}
        for row in tracking.read(self.path / "metrics.jsonl"):
            steps.setdefault(row.step, {}).update(row)
        names = dict.fromkeys(["step", *(name for values in steps.values() for name in values)])
        return pd.DataFrame([*steps.values()], columns=[*names])

    @cached_property
    def model(self) -> nn.Module:
        """Return the model on the CPU, in evaluation mode, float32.

        Of pretraining it is a `PretrainingModel` with the final weights or, while the run is not complete, those of its newest
        checkpoint; of finetuning a `TaskModel` with those of the best epoch. Both have an `encoder`, which makes hidden states
        (B, T, H) of ids int64 (B, T).

        Raises: ConfigError, with what to do, when there are no whole weights: finetuning keeps them if it is told to, an
        evaluation has none of its own.
        """
        if self.kind == "evaluate":
            source = self.result.pretrain_run_id if self.result is not None else None
            where = f"load_run('{source}')" if source else "load_run of the pretraining run"
            raise ConfigError(
                f"{self.path} is an evaluation, which keeps no weights: {where} has those that it scored."
            )
        return self._finetuned_model() if self.kind == "finetune" else self._pretrained_model()

    def _pretrained_model(self) -> nn.Module:
        from roberta_lab.model import checkpoint  # torch: only when there is work
        from roberta_lab.model.huggingface.model_folder import Pretrained

        if self.result is not None:
            saved = checkpoint.final(self.path, self.config.batch_size.steps)
        elif (newest := checkpoint.newest(self.path / "checkpoints")) is not None:
            saved = checkpoint.load(newest)
        else:
            raise ConfigError(f"{self.path} has no whole checkpoint yet; go on with it: {self._command()}")
        return Pretrained.from_checkpoint(self.config.model, saved).model().eval()

    def _finetuned_model(self) -> nn.Module:
        if not run_folder.has_model(self.path):
            command = self._command("finetune.save_model=true")
            raise ConfigError(f"{self.path} has no weights, which finetuning keeps if it is told to: {command}")
        from roberta_lab.tasks.predictor import TaskPredictor

        return TaskPredictor(self.path, self.config.task).model

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Return the tokenizer of the run's model. It makes whole inputs, as that of `export` does: `<s> text </s>`.

        A `<mask>` in a text is the mask. A finetuning run that kept its weights has its tokenizer beside them; else it is the
        one with the content that the run noted, among those prepared in `paths.cache`, or that of `pretrained.path` as it is.

        Raises: ConfigError, with what to do, when it is not there.
        """
        from tokenizers import Tokenizer

        from roberta_lab.data import tokenizer_files

        if self.kind == "finetune" and run_folder.has_model(self.path):
            return Tokenizer.from_file(str(verified.check(self.path / MODEL_FOLDER / "tokenizer.json")))
        if KINDS[self.kind].has_task and self.config.pretrained.path:
            return tokenizer_files.load_of_model(self._place(self.config.pretrained.path))
        noted = provenance.read(self.path)
        content = noted["data"].get("tokenizer") if noted is not None else None
        found = find_tokenizer(self._cache, content) if content is not None else None
        if found is None:
            command = self._command(command="prepare")
            raise ConfigError(f"the tokenizer of {self.path} is not in {self._cache}/tokenizer; to make it: {command}")
        from roberta_lab.axes.tokenizer import Encoding

        tokenizer = Tokenizer.from_file(str(verified.check(found / "tokenizer.json")))
        tokenizer_files.make_inputs(tokenizer, Encoding(tokenizer), format_of(self.config.input_format).pairs)
        return tokenizer

    @property
    def config_here(self) -> Config:
        """Return the config with paths as they are seen from here, wherever the run was started."""
        paths = replace(self.config.paths, outputs=str(self.path.parent.parent), cache=str(self._cache))
        task, pretrained = self.config.task, self.config.pretrained
        if task.path:
            task = replace(task, path=str(self._place(task.path)))
        if pretrained.path:
            pretrained = replace(pretrained, path=str(self._place(pretrained.path)))
        return replace(self.config, paths=paths, task=task, pretrained=pretrained)

    @property
    def _cache(self) -> Path:
        """Return the folder of prepared data; one inside the outputs goes where they go."""
        outputs, cache = Path(self.config.paths.outputs), Path(self.config.paths.cache)
        inside = cache.is_relative_to(outputs)
        return self.path.parent.parent / cache.relative_to(outputs) if inside else self._place(cache)

    def _place(self, path: str | Path) -> Path:
        """Return where a path of the config leads: a relative one begins where the run was started, above its outputs."""
        outputs, path = Path(self.config.paths.outputs), user_path(path)
        if path.is_absolute() or outputs.is_absolute():
            return path
        return self.path.parent.parent.joinpath(*[".."] * len(outputs.parts), path).resolve()

    def _command(self, *more: str, command: str = "") -> str:
        """Return the command that makes the run, or another command with the same overrides."""
        file = self.path / "overrides.yaml"
        words = yaml_file.plain(file) if file.is_file() else []
        return typed(command or self.kind, without_sweep(parse([*words, *more])))


def load_run(path_or_id: str | Path, outputs: str | Path = "outputs") -> Run:
    """Return a run of any kind, complete or not.

    Args:
        path_or_id: the run's folder, or its id: 12 hex digits, or so many of the first that no other run begins with them.
        outputs: the folder (`paths.outputs`) in which runs are looked up by id.

    Raises: ConfigError in one line when there is no such run, or when several ids begin so; Damaged for a file of a complete run
    that is not as it was written.
    """
    path = find_run(path_or_id, user_path(outputs))
    result = results.read(path)  # which checks the config too
    return Run(path.parent.name, path, read_config(path), result)


def read_config(run: Path) -> Config:
    """Return the config of the run in a folder. A run of older code lacks keys that came later: they have their defaults.

    Values are not checked against today's ranges: the run is there. Raises ConfigError for a key that is not known.
    """
    file = run / "config.yaml"
    noted = yaml_file.plain(file)
    if not isinstance(noted, dict) or "model" not in noted:
        raise ConfigError(f"{file} is no config of a run: allowed is what a run writes there when it starts.")
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Config), _groups_after(noted), noted)
        assert isinstance(merged, DictConfig)
        return typed_config(merged)
    except (OmegaConfBaseException, ConfigError) as error:
        raise ConfigError(f"{file} is not of this version of roberta_lab: {reason(error)}") from None


def _groups_after(noted: Container[str]) -> dict[str, object]:
    """Return the groups that came after a config was noted and that the schema has no default for, as commands have them."""
    later = [part.name for part in fields(Config) if part.default == MISSING and part.name not in noted]
    if not later:
        return {}
    registration.register()
    with composition.composing():
        usual = composition.composed(())
    return {name: getattr(usual, name) for name in later}


def find_run(path_or_id: str | Path, outputs: Path) -> Path:
    """Return the folder of a run, absolute. Raises ConfigError."""
    path = Path(os.path.abspath(user_path(path_or_id)))
    if _is_run(path):
        return path
    name = str(path_or_id)
    if not _ID.fullmatch(name):
        allowed = f"Allowed: an id, or a run's folder such as {outputs}/pretrain/ID."
        raise ConfigError(f"{path_or_id}: no run. {allowed}")
    outputs = Path(os.path.abspath(outputs))
    runs = {folder.name: folder for kind in KINDS for folder in sorted(outputs.glob(f"{kind}/*")) if _is_run(folder)}
    found = [run for run in runs if run.startswith(name)]
    if len(found) > 1:
        said = ", ".join(f"{runs[run].parent.name} {run}" for run in found[:4]) + (", ..." if len(found) > 4 else "")
        raise ConfigError(f"{name}: {len(found)} runs in {outputs} begin so, give more digits: {said}.")
    if not found:
        among = f"among {counted(len(runs), 'run')} in {' and '.join(f'{outputs}/{kind}' for kind in KINDS)}"
        hint = nearest(name, list(runs))
        raise ConfigError(f"{name}: no such run {among}.{hint} Allowed: an id or a run's folder.")
    return runs[found[0]]


def _is_run(path: Path) -> bool:
    return path.parent.name in KINDS and any((path / name).is_file() for name in ("config.yaml", verified.HASHES))
