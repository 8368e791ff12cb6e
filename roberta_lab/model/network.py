"""What the devices of a run exchange at each step, and the share of the time that is left for computing.

After its last micro-batch a step sums the gradients of all D devices by a ring (Patarasuk and Yuan 2009): each device sends, and
receives, 2 (D - 1) / D times the 4 N bytes of the float32 gradients of N parameters. Nothing is reckoned to overlap with computing,
though the backward pass of the last micro-batch does: with few micro-batches a step the true share is larger.
"""

from dataclasses import dataclass

GRADIENT_BYTES = 4  # of a parameter


@dataclass(frozen=True)
class Exchange:
    """What one device exchanges at a step."""

    bytes: float
    seconds: float | None  # None where no bandwidth is stated
    efficiency: float | None  # the share of a step's time that is computing


def exchange_of(parameters: int, devices: int, bandwidth: float | None, computing: float) -> Exchange | None:
    """Return what a device sends at each step; None for one device.

    `bandwidth` is in bytes a second that a device sends at once, `computing` the seconds of a step without the exchange.
    """
    if devices == 1:
        return None
    sent = 2 * (devices - 1) / devices * GRADIENT_BYTES * parameters
    if bandwidth is None:
        return Exchange(sent, None, None)
    seconds = sent / bandwidth
    return Exchange(sent, seconds, computing / (computing + seconds))
