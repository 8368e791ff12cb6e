"""A masking config for each combination of rules: general tests of masks run over them."""

from itertools import product

from roberta_lab.axes import masking
from roberta_lab.config import MaskingConfig

EVERY_CONFIG = [
    MaskingConfig(name, selection=selection, whole_words=positions == "whole_words")
    for name, selection, positions in product(masking.PATTERNS, masking.SELECTIONS, masking.POSITIONS)
]
