"""Cross-entropy by parts, over more columns than classes, with rows that count for nothing: against PyTorch's in float64."""

import pytest
import torch
import torch.nn.functional as F

from roberta_lab.axes.examples import IGNORED
from roberta_lab.model import cross_entropy

TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 6e-2}


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("ignored", [0, 3, 12])
@pytest.mark.parametrize("columns", [1, 64])
def test_loss_and_gradients_are_those_of_pytorch(
    columns: int, ignored: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_entropy, "COLUMNS", {"cpu": columns})
    monkeypatch.setattr(cross_entropy, "PART", (3 * 67, 0))  # three rows at a time
    torch.manual_seed(0)
    leaves = [torch.randn(*shape) for shape in ((12, 16), (67, 16), (67,))]
    labels = torch.randint(67, (12,))
    labels[12 - ignored :] = IGNORED
    own = [leaf.clone().requires_grad_() for leaf in leaves]
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        loss = cross_entropy.summed_cross_entropy(*own, labels, some_ignored=ignored > 0)
    assert loss.shape == () and loss.dtype == torch.float32
    (3 * loss).backward()
    exact = [leaf.double().requires_grad_() for leaf in leaves]
    expected = F.cross_entropy(F.linear(*exact), labels, ignore_index=IGNORED, reduction="sum")
    (3 * expected).backward()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=TOLERANCES[dtype])
    for found, right in zip(own, exact, strict=True):
        assert found.grad is not None and right.grad is not None and found.grad.shape == right.shape
        torch.testing.assert_close(
            found.grad.double(), right.grad, rtol=TOLERANCES[dtype], atol=TOLERANCES[dtype] * (1 if ignored < 12 else 0)
        )
