"""What of its overrides a command can do nothing with, said before any work: they would be ignored, and another thing be done."""

from collections.abc import Sequence

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from roberta_lab.config import ConfigError
from roberta_lab.runs.command_line import typed
from roberta_lab.runs.composition import COMMON_BATCH, composing
from roberta_lab.runs.jobs import jobs_of
from roberta_lab.runs.overrides import Override, room, sweep_names, without

PLACES = ("export.path", "predict.output", "predict.figure", "plan.output", "diff.output")  # that one job writes
OF_COLUMNS = ("task", "finetune.seed")  # which columns of a sweep set


def expect_read(command: str, reads: Sequence[str], overrides: Sequence[Override]) -> None:
    """Raise ConfigError for the first override of a part of the config that a command over all runs does not read."""
    allowed = ", ".join(f"{part}.KEY=VALUE" for part in reads)
    for override in overrides:
        if room(override) not in (*reads, "hydra"):
            whole = f"{command} looks at everything in paths.outputs, whatever addresses one run"
            raise ConfigError(f"{override.input_line}: {whole}. Allowed: {allowed}.")


def expect_no_sweep(command: str, overrides: Sequence[Override]) -> None:
    """Raise ConfigError for a sweep, of which a command of one run takes no row; where one row is chosen, with its overrides."""
    if not (names := sweep_names(overrides)):
        return
    said = next(o.input_line for o in overrides if o.key_or_group == "sweep" or o.key_or_group == "sweep.only")
    row = _of_row(overrides) if len(names) == 1 else []
    way = (
        typed(command, row) if row else "the overrides of one run; with sweep.only=[ROW] this line says those of a row"
    )
    raise ConfigError(f"{said}: {command} is of one run, and reads no sweep. Allowed: {way}.")


def _of_row(overrides: Sequence[Override]) -> list[Override]:
    """Return the overrides of the pretraining run of the only row that is chosen; none where there are several, or it has none."""
    from roberta_lab.runs import registration

    registration.register()
    of_sweep = [o for o in overrides if o.key_or_group not in OF_COLUMNS]
    try:
        with composing():
            jobs = jobs_of("pretrain", of_sweep)
    except (
        ConfigError,
        HydraException,
        OmegaConfBaseException,
    ):  # whatever is wrong beside: the sweep is refused, and that alone is said
        return []
    if len({job.row for job in jobs}) != 1:
        return []
    columns = [o for o in overrides if o.key_or_group in OF_COLUMNS]
    return [*without(jobs[0].overrides, "sweep", COMMON_BATCH), *columns]


def expect_one_job(overrides: Sequence[Override]) -> None:
    """Raise ConfigError where several jobs would write one file or folder, each over the one before."""
    place = next((o for o in overrides if o.key_or_group in PLACES), None)
    several = next((o for o in overrides if o.is_sweep_override() and o.key_or_group not in PLACES), None)
    if place is not None and several is not None:
        over = f"{several.input_line} makes several jobs, and each would write over the one before"
        raise ConfigError(f"{place.input_line}: {over}. Allowed: one job, or no {place.key_or_group}.")
