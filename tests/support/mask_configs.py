"""A masking config for each combination of rules: general tests of masks run over them."""

from itertools import product

from roberta_lab.axes import mask_positions, masking
from roberta_lab.config import MaskingConfig

EVERY_CONFIG = [
    MaskingConfig(name, selection=selection, positions=positions)
    for name, selection, positions in product(masking.PATTERNS, masking.SELECTIONS, mask_positions.POSITIONS)
]
