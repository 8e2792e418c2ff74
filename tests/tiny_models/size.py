"""How large a tiny model is."""

from __future__ import annotations

from dataclasses import dataclass

Hparams = dict[str, int | float | bool | str | list[int]]
"""Keys under the architecture's name."""


@dataclass(frozen=True)
class Size:
    """Width of the residual stream, layers, and tokens of context."""

    width: int
    layers: int
    context: int

    @property
    def heads(self) -> int:
        """Attention heads."""
        return 4

    @property
    def head_width(self) -> int:
        """Numbers of one head."""
        return self.width // self.heads

    @property
    def inner(self) -> int:
        """Width inside the feed-forward network."""
        return 4 * self.width

    def hparams(self) -> Hparams:
        """The keys that every architecture has."""
        return {"context_length": self.context, "embedding_length": self.width, "block_count": self.layers}
