"""Write a `.npy` file whose rows come a few at a time."""

import os
from typing import IO

import numpy as np


class GrowingArray:
    """A `.npy` file that grows. Its header tells the number of its rows and has room for it to grow too."""

    def __init__(self, file: IO[bytes], dtype: np.dtype) -> None:
        self.file, self.dtype, self.size = file, dtype, 0

    def append(self, rows: np.ndarray) -> None:
        """Write rows, as the dtype of the file, behind those that are there."""
        self.size += len(rows)
        self.file.seek(0)
        described = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.size, *rows.shape[1:])}
        np.lib.format.write_array_header_1_0(self.file, described)
        self.file.seek(0, os.SEEK_END)
        self.file.write(np.asarray(rows, self.dtype).tobytes())
