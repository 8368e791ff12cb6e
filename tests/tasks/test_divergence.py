"""What is marked as diverged: a loss that ends as no number or no lower than it began."""

import math

import pytest

from roberta_lab.tasks.finetuning import diverged


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([1.0] * 40, True),
        ([0.6, 1.0, 1.0, 1.0, *[0.8] * 36], False),  # one lucky first batch
        ([0.7, *[50.0] * 9, *[40.0] * 90], True),  # blew up within the first tenth
        ([*[1.0] * 30, *[2.0] * 10], True),
        ([0.0] * 40, False),
        ([1.0, 2.0], False),  # two batches say nothing
        ([1.0, math.nan], True),
        ([1.0] * 39 + [math.inf], True),
    ],
)
def test_divergence_is_a_loss_that_did_not_fall(losses: list[float], expected: bool) -> None:
    assert diverged(losses) is expected
