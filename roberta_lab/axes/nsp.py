"""Next-sentence prediction: whether a run trains it (RoBERTa, Section 4.2)."""

from __future__ import annotations

from roberta_lab.axes.input_format import format_of
from roberta_lab.config import Config


def nsp_is_on(config: Config) -> bool:
    """What `nsp=auto` means for this input format."""
    paired = format_of(config.input_format).pairs
    return paired if config.nsp.mode == "auto" else config.nsp.mode == "on"
