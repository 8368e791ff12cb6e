"""One thread a process: small models on shared cores train several times faster so."""

import torch

torch.set_num_threads(1)
