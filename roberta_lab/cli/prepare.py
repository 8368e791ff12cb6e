"""`prepare`: make the corpus, the tokenizer and the token store of a config once; later commands read them."""

from collections.abc import Sequence
from pathlib import Path

from roberta_lab.config import ConfigError
from roberta_lab.data.corpus.folders import counts_of, counts_text
from roberta_lab.data.corpus.preparation import prepare_stage, prepared_for
from roberta_lab.data.corpus.tokens import cut_of
from roberta_lab.data.storage import Json
from roberta_lab.runs import data_checks
from roberta_lab.runs.command_line import folded
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.overrides import without
from roberta_lab.runs.slurm.submission import submit_preparation


def main(job: Job) -> Json:
    """Prepare what is missing, one stage of it, or submit that; print each folder that is whole, with its counts."""
    if job.config.reproduce.launch == "slurm":
        if (stage := job.config.prepare.stage) != "all":
            raise ConfigError(f"prepare.stage={stage}: jobs of SLURM do all stages. Allowed: all, with prepare.jobs=N.")
        data_checks.check([job])
        return submit_preparation(job)
    if job.config.prepare.stage != "all":
        return _said(prepare_stage(job.config))
    prepared = prepared_for(job.config)
    found = _said(prepared)
    if cut := cut_of(prepared.store, job.config.data_mix):
        print(f"a run {cut}")
    print(f"next: {folded('inspect', without(job.overrides, 'prepare'))}, or the same with pretrain")
    return found


def _said(folders: Sequence[Path]) -> Json:
    for path in folders:
        print(f"{path.parent.name:<10} {path}  {counts_text(path)}")
    return {path.parent.name: {"directory": str(path), "counts": counts_of(path)} for path in folders}
