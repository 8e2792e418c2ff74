"""Random tensors, scaled so that every token of the past has its say in the next one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Tensor = NDArray[np.float32]

# The standard deviation of logits over a normed last layer: as decided as a small real model's.
_LOGITS = 2.5

SHARP = 1.5
"""The gain of queries and keys at which attention picks out some tokens, instead of taking the mean of all."""
LOUD = 2.0
"""The gain of what a layer adds, so that it counts beside the token's own embedding."""


class Weights:
    """Tensors by name, in the order of their making; shapes are numpy's, which ggml lists backwards."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.tensors: dict[str, Tensor] = {}

    def matrix(self, name: str, inputs: int, outputs: int, *, bias: bool = False, gain: float = 1.0) -> None:
        """A linear layer that keeps the variance of its input, times `gain` squared."""
        self._normal(f"{name}.weight", (outputs, inputs), gain * inputs**-0.5)
        if bias:
            self._normal(f"{name}.bias", (outputs,), 0.1)

    def vocabulary(self, name: str, tokens: int, width: int, *, bias: bool = False) -> None:
        """A row for each token: an embedding, the output, or both."""
        self._normal(f"{name}.weight", (tokens, width), _LOGITS * width**-0.5)
        if bias:
            self._normal(f"{name}.bias", (tokens,), 0.1)

    def norm(self, name: str, width: int, *, bias: bool = False) -> None:
        """Scales near 1, shifts near 0."""
        self.uniform(f"{name}.weight", (width,), 0.8, 1.2)
        if bias:
            self._normal(f"{name}.bias", (width,), 0.1)

    def last_norm(self, name: str, width: int, *, bias: bool = False) -> None:
        """A norm of mixed signs: where the embedding is the output too, each token would ask for itself again."""
        self.norm(name, width, bias=bias)
        self.tensors[f"{name}.weight"] *= self._rng.choice(np.array([-1, 1], np.float32), width)

    def uniform(self, name: str, shape: tuple[int, ...], low: float, high: float) -> None:
        """Anything else, by its full name."""
        self.tensors[name] = self._rng.uniform(low, high, shape).astype(np.float32)

    def _normal(self, name: str, shape: tuple[int, ...], scale: float) -> None:
        self.tensors[name] = (scale * self._rng.standard_normal(shape)).astype(np.float32)
