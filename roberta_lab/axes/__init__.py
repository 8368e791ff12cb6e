"""The six axes of the paper's ablations, as pure functions of arrays and a key, with the nouns that they share."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

# the arrays in this package; comments beside them tell their exact dtypes and shapes
Ints: TypeAlias = npt.NDArray[np.integer]
Bools: TypeAlias = npt.NDArray[np.bool_]
Floats: TypeAlias = npt.NDArray[np.floating]
