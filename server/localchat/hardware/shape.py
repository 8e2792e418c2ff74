"""What is asked of llama.cpp for one context."""

from __future__ import annotations

from dataclasses import dataclass

CELL_PAD = 256


@dataclass(frozen=True)
class ContextShape:
    """The sizes of a context; `n_ctx` counts the tokens of one sequence, `outputs` the rows of logits of a step."""

    n_ctx: int
    parallel: int
    batch: int
    ubatch: int
    outputs: int
    kv_type: str
    kv_unified: bool
    flash_attn: bool

    @property
    def cells_per_sequence(self) -> int:
        """KV cells of one sequence: llama.cpp rounds up."""
        return -(-self.n_ctx // CELL_PAD) * CELL_PAD

    @property
    def cells(self) -> int:
        """KV cells of all sequences; as many in one buffer as in a buffer for each."""
        return self.cells_per_sequence * self.parallel

    @property
    def cells_in_view(self) -> int:
        """KV cells that the attention of one token runs over, masked or not."""
        return self.cells if self.kv_unified else self.cells_per_sequence
