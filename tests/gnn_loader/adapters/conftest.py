"""One thread for torch: these tensors are small, and threads that wait for each other are most of the time."""

import torch

torch.set_num_threads(1)
