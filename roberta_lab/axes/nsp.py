"""Decide whether a run trains next-sentence prediction (RoBERTa, Section 4.2)."""

from roberta_lab.axes.input_format import format_of
from roberta_lab.config import Config


def nsp_is_on(config: Config) -> bool:
    """Return whether next-sentence prediction is trained; `nsp=auto` means: with formats that make pairs."""
    paired = format_of(config.input_format).pairs
    return paired if config.nsp.mode == "auto" else config.nsp.mode == "on"
