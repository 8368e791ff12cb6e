"""`prepare`: make the corpus, the tokenizer and the token store of a config once; later commands read them."""

from roberta_lab.data.corpus.preparation import prepared_for
from roberta_lab.data.storage import read_json
from roberta_lab.runs.jobs import Job


def main(job: Job) -> None:
    """Prepare what is missing, and print each folder with its counts."""
    prepared = prepared_for(job.config)
    for path in (prepared.corpus, prepared.tokenizer, prepared.store):
        manifest = read_json(path / "manifest.json")
        counts = ", ".join(f"{number:,} {name}" for name, number in manifest["counts"].items())
        print(f"{path.parent.name:<10} {path}  {counts}")
    print("next: roberta-lab inspect, or roberta-lab pretrain")
