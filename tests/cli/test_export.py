"""The card of an exported folder: what it says of a run's masks and of the metrics that its objective declares."""

import pytest
from composed_jobs import config

from roberta_lab.cli.export import card


@pytest.mark.usefixtures("composing")
def test_a_card_shows_what_was_measured_of_what_is_declared() -> None:
    declared = [{"name": name} for name in ("ppl", "order_acc", "unmeasured_acc")]
    result = {"label": "a run", "declared": declared, "val/ppl": 9.0, "val/order_acc": 0.625}
    text = card(config("masking=span"), "abc", result)
    assert "| held-out order acc | 0.625 |" in text and "unmeasured" not in text
    assert "15% of the tokens, positions span |" in text
    assert "15% of the tokens |" in card(config("masking=dynamic"), "abc", {"label": "of older code"})
