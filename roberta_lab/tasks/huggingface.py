"""Finetuned models as Hugging Face folders that `transformers` loads for the same task, with the same predictions.

| head | class | what is where there |
|---|---|---|
| classification, regression | AutoModelForSequenceClassification | RoBERTa: `classifier.dense`, `.out_proj`; BERT: pooler, `classifier` |
| choice | AutoModelForMultipleChoice | pooler, `classifier` |
| span | AutoModelForQuestionAnswering | `qa_outputs` |
| tagging | AutoModelForTokenClassification | `classifier` |

Our classification head is theirs: RoBERTa's of that name, or a pooler (dense, tanh) with a linear layer. Answerability (SQuAD
2.0) has no place there: it lies in `answerability.safetensors` beside the model, and the folder alone always gives an answer.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from jinja2 import Template
from safetensors.torch import load_file, save_file
from torch import Tensor

from roberta_lab.data.storage import expect_no_link
from roberta_lab.model.huggingface import model_folder
from roberta_lab.model.huggingface.names import kind_of
from roberta_lab.tasks import heads
from roberta_lab.tasks.initial_model import InitialModel

CARD = Path(__file__).with_name("model_card.md.j2")
ANSWERABILITY = "answerability.safetensors"  # classifier.dense, classifier.out: log-odds of an answer, from `<s>`


def write(
    folder: Path,
    start: InitialModel,
    weights: dict[str, Tensor],
    head: str,
    labels: tuple[str, ...],
    facts: dict[str, Any],
) -> str:
    """Write the folder of a `TaskModel`'s weights, and return its kind. `facts` become roberta_lab.json."""
    kind, spec = start.kind or kind_of(weights, start.encoding.pad_id), heads.load(head)
    card = Template(CARD.read_text(encoding="utf-8")).render(head=spec, facts=facts) + "\n"
    with tempfile.TemporaryDirectory(dir=folder.parent) as tokenizer:
        start.tokenizer.save(f"{tokenizer}/tokenizer.json")
        expect_no_link(folder)
        (folder / ANSWERABILITY).unlink(missing_ok=True)
        encoder = {name: tensor for name, tensor in weights.items() if name.startswith("encoder.")}
        model_folder.write(folder, encoder, start.model, Path(tokenizer), card, facts, kind)
    tensors = load_file(folder / "model.safetensors")
    own = {**spec.tensors, **(spec.roberta_tensors if kind == "roberta" else {})}
    for ours, theirs in own.items():
        for part in ("weight", "bias"):
            tensors[f"{theirs.format(kind=kind)}.{part}"] = weights[f"head.{ours}.{part}"].contiguous()
    _save(tensors, folder / "model.safetensors")
    left = {n.removeprefix("head."): t for n, t in weights.items() if n.startswith("head.")}
    left = {name: t.contiguous() for name, t in left.items() if name.rpartition(".")[0] not in own}
    if left:
        _save(left, folder / ANSWERABILITY)
    config = json.loads((folder / "config.json").read_bytes()) | {
        "architectures": [f"{kind.capitalize()}For{spec.auto_class}"]
    }
    if spec.has_class_names:
        config |= spec.label_config(labels, len(weights[f"head.{[*own][-1]}.bias"]))
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return kind


def _save(tensors: dict[str, Tensor], file: Path) -> None:
    save_file(tensors, file, metadata={"format": "pt"})
    file.chmod(file.with_name("config.json").stat().st_mode & 0o777)  # save_file makes it the owner's alone
