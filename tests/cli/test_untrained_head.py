"""An objective that trains no MLM head, from pretraining to what is offered of its model."""

import json
from pathlib import Path

import pytest
from small_run import SHORT, small_source  # noqa: F401 (a fixture)

from roberta_lab.cli.main import main
from roberta_lab.config import Config
from roberta_lab.model.objective import Objective
from roberta_lab.model.objectives import OBJECTIVES
from roberta_lab.model.objectives.mlm import PairLabels


def objective(config: Config) -> Objective:
    """Next sentences alone."""
    return Objective((PairLabels("nsp", 1.0),))


@pytest.mark.usefixtures("small_source")
def test_nothing_of_an_untrained_head_is_offered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(OBJECTIVES, "pairs", __name__)
    own = [*SHORT, "objective.name=pairs"]
    assert main(["pretrain", *own]) == 0
    [result] = Path("outputs/pretrain").glob("*/result.json")
    found = json.loads(result.read_text())
    assert [metric["name"] for metric in found["declared"]] == ["nsp_acc"] and "val/nsp_acc" in found
    assert main(["predict", *own, "predict.text=a <mask>"]) == 2
    said = capsys.readouterr()
    assert "nsp_acc" in said.out and "objective=pairs trains no head that fills masks" in said.err
    assert main(["predict", *own, "predict.text=a", "predict.what=embed"]) == 0
    assert main(["export", *own]) == 0
    [card] = Path("outputs/export").glob("*/README.md")
    page = card.read_text()
    assert "AutoModel.from_pretrained" in page and "| objective | pairs |" in page and "A masked" not in page
