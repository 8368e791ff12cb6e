"""`prepare`: make the corpus, the tokenizer and the token store of a config once; later commands read them."""

from roberta_lab.data.corpus.preparation import counts_of, counts_text, prepared_for
from roberta_lab.data.corpus.tokens import cut_of
from roberta_lab.data.storage import Json
from roberta_lab.runs.command_line import folded
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.overrides import without


def main(job: Job) -> Json:
    """Prepare what is missing, and print each folder with its counts."""
    prepared = prepared_for(job.config)
    for path in prepared:
        print(f"{path.parent.name:<10} {path}  {counts_text(path)}")
    if cut := cut_of(prepared.store, job.config.data_mix):
        print(f"a run {cut}")
    print(f"next: {folded('inspect', without(job.overrides, 'prepare'))}, or the same with pretrain")
    return {path.parent.name: {"directory": str(path), "counts": counts_of(path)} for path in prepared}
