"""Decide whether a run trains next-sentence prediction, or ALBERT's sentence order (RoBERTa, Section 4.2)."""

from roberta_lab.axes.input_format import format_of
from roberta_lab.axes.pairs import PAIRINGS
from roberta_lab.config import Config, ConfigError, NspConfig, nearest


def validate(config: NspConfig) -> None:
    """Raise ConfigError for an unknown rule of pairs."""
    if config.pairs not in PAIRINGS:
        hint = nearest(config.pairs, list(PAIRINGS))
        raise ConfigError(f"nsp.pairs={config.pairs}: unknown.{hint} Allowed: {', '.join(PAIRINGS)}.")


def nsp_is_on(config: Config) -> bool:
    """Return whether next-sentence prediction is trained; `nsp=auto` means: with formats that make pairs."""
    paired = format_of(config.input_format).pairs
    return paired if config.nsp.mode == "auto" else config.nsp.mode == "on"
