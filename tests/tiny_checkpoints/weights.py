"""Random weights that make a tiny model say something: scores that differ, logits as large as trained models'."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

LOGIT_STD = 5.0


def randomize(model: torch.nn.Module, seed: int) -> None:
    """Every parameter anew: matrices that keep the size of what they multiply, norms near one, some bias everywhere."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim >= 2:
                is_table = any(part in name for part in ("embed", "wte", "wpe", "shared", "relative"))
                scale = 1.0 if is_table else 1 / math.sqrt(min(parameter.shape))
                parameter.copy_(noise * scale)
            elif name.endswith("weight"):
                parameter.copy_(1 + 0.2 * noise)
            else:
                parameter.copy_(0.2 * noise)


def scale_logits(norm: torch.nn.Module, logits: Callable[[], torch.Tensor]) -> None:
    """Change the last norm so that logits spread as those of trained models do."""
    with torch.no_grad():
        factor = LOGIT_STD / logits().std()
        for parameter in norm.parameters():
            parameter.mul_(factor)
