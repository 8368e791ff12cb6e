"""`export`: write a complete pretraining run as a folder that Hugging Face's libraries load, with a model card."""

from collections.abc import Mapping
from pathlib import Path

import jinja2

from roberta_lab.axes.masking import rule_of
from roberta_lab.axes.nsp import nsp_is_on
from roberta_lab.config import Config
from roberta_lab.config.formatting import compact
from roberta_lab.config.paths import user_path
from roberta_lab.data import verified
from roberta_lab.data.corpus.preparation import prepared_for
from roberta_lab.data.storage import Json
from roberta_lab.model.objectives import objective_of
from roberta_lab.runs import identity, results, run_folder
from roberta_lab.runs.jobs import Job, pretrained_run


def main(job: Job) -> Json:
    """Write the final weights and the tokenizer of the run that the overrides address."""
    config, source = job.config, pretrained_run(job)
    results.read(source)  # which checks what the run says of itself
    prepared = prepared_for(config)
    run_folder.check_data(source, prepared.fingerprints())
    from roberta_lab.model import checkpoint
    from roberta_lab.model.huggingface import model_folder  # torch: only when there is work

    weights = model_folder.model_weights(checkpoint.final(source, config.batch_size.steps))
    result = verified.read_json(source / results.NAME)
    facts = {"run_id": source.name, "science": identity.science(config), "result": result}
    own, asked = Path(config.paths.outputs) / "export" / source.name, config.export.path
    folder = user_path(asked).resolve() if asked else own  # a link that was typed is followed
    readme = card(config, source.name, result)
    kind = model_folder.write(folder, weights, config.model, prepared.tokenizer, readme, facts)
    print(f"{job.label}: of {kind} type, {folder}")
    files = sorted(str(path) for path in user_path(folder).iterdir())
    return {"directory": str(folder), "kind": kind, "run_id": source.name, "files": files}


def card(config: Config, run_id: str, result: Mapping[str, object]) -> str:
    """Return the folder's README.md: how to load the model, what it was trained on, and its result (`result.json`)."""
    files = jinja2.FileSystemLoader(Path(__file__).parent)
    page = jinja2.Environment(
        loader=files, undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    nsp = nsp_is_on(config)
    mlm = "mlm" in objective_of(config).reads  # else the folder's MLM head is as it was initialized
    loader = "AutoModel" if not mlm else "AutoModelForPreTraining" if nsp else "AutoModelForMaskedLM"
    template = page.get_template("card.md.j2")
    facts = {"nsp": nsp, "mlm": mlm, "loader": loader, "positions": rule_of(config.masking)}
    return template.render(config=config, run_id=run_id, result=result, compact=compact, **facts)
