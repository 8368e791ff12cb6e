"""The model with its heads: its sizes."""

import pytest
import torch

from roberta_lab.config import ModelConfig
from roberta_lab.model.encoder import PretrainingModel


@pytest.mark.parametrize(
    ("config", "millions"),
    [(ModelConfig(12, 768, 12, 3072), 125), (ModelConfig(24, 1024, 16, 4096), 355)],
)
def test_parameter_counts_are_the_published_ones(config: ModelConfig, millions: int) -> None:
    with torch.device("meta"):
        model = PretrainingModel(config, 50265, 512, token_types=0, nsp=False)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6) in (millions, millions - 1)
