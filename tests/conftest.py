"""One thread a process: small models on shared cores train several times faster so."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is there; the processes that tests start have it too

import torch  # noqa: E402

torch.set_num_threads(1)
