"""What the proofs share."""

from __future__ import annotations

import torch

# Tiny models gain nothing by a second thread, and wait for it where the machine is busy.
torch.set_num_threads(1)
