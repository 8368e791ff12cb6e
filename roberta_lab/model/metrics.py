"""What an objective says of its metrics, for logs and tables: names, directions and formats. No torch is needed here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A held-out figure of a pretraining run that tables show."""

    name: str  # without `val/`, under which the figure is logged
    lower_is_better: bool
    digits: int = 1  # behind the decimal point, as shown
    is_share: bool = False  # logged as 0 to 1, shown in percent


# names under which the figures of the common held-out text are logged (model/common_score.py)
COMMON_BITS, COMMON_PPL = "val/common_bits_per_byte", "val/common_ppl"
PERPLEXITY = Metric("ppl", lower_is_better=True)
BITS_PER_BYTE = Metric("bits_per_nonspace_byte", lower_is_better=True, digits=3)


def perplexity(task: str) -> Metric:
    """Return the perplexity of a task of pretraining other than MLM."""
    return Metric(f"{task}_ppl", lower_is_better=True)


def accuracy(task: str) -> Metric:
    """Return the accuracy of a task of pretraining, such as nsp."""
    return Metric(f"{task}_acc", lower_is_better=False, is_share=True)
