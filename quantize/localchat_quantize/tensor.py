"""Tensors on their way from a checkpoint into a file: their shape is known before they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from localchat_quantize.weights import ALL, Array

BLOCK_BYTES = 1 << 26


@dataclass(frozen=True)
class Tensor:
    """An array to be read. `by_rows` says whether any of its rows can be had without the others."""

    shape: tuple[int, ...]
    read: Callable[[slice], Array]
    by_rows: bool = False

    def blocks(self) -> Iterator[Array]:
        """All of it, in parts of a bounded size where that can be."""
        if not self.by_rows or not self.shape:
            yield self.read(ALL)
            return
        step = max(1, BLOCK_BYTES // (4 * int(np.prod(self.shape[1:]))))
        for first in range(0, self.shape[0], step):
            yield self.read(slice(first, min(first + step, self.shape[0])))

    def scaled(self, factor: float) -> Tensor:
        """Every value times `factor`."""
        return Tensor(self.shape, lambda rows: self.read(rows) * np.float32(factor), self.by_rows)

    def map(self, function: Callable[[Array], Array], shape: tuple[int, ...] | None = None) -> Tensor:
        """`function` of the whole array, which has `shape` then."""
        return Tensor(self.shape if shape is None else shape, lambda rows: function(self.read(ALL))[rows])

    def transposed(self) -> Tensor:
        """Rows for columns, as where a layer keeps its weights (in, out)."""
        return self.map(np.transpose, self.shape[::-1])

    def padded(self, rows: int, columns: int | None = None) -> Tensor:
        """With zeros below and to the right, up to this many rows and columns."""
        shape = (rows, *self.shape[1:]) if columns is None else (rows, columns)
        missing = [(0, new - old) for new, old in zip(shape, self.shape, strict=True)]
        return self.map(lambda values: np.pad(values, missing), shape)


def stack(parts: Sequence[Tensor]) -> Tensor:
    """The parts' rows, one part below the other."""
    rows = sum(part.shape[0] for part in parts)
    shape = (rows, *parts[0].shape[1:])
    return Tensor(shape, lambda wanted: np.concatenate([part.read(ALL) for part in parts])[wanted])


def constant(value: float, shape: tuple[int, ...]) -> Tensor:
    """The same value everywhere."""
    return Tensor(shape, lambda rows: np.full(shape, value, np.float32)[rows])


def split(tensor: Tensor, *sizes: int) -> list[Tensor]:
    """Its rows in consecutive groups."""
    if sum(sizes) != tensor.shape[0]:
        raise ValueError(f"{tensor.shape[0]} rows cannot be split into {sizes}")
    return [_rows(tensor, sum(sizes[:index]), size) for index, size in enumerate(sizes)]


def _rows(tensor: Tensor, first: int, count: int) -> Tensor:
    return tensor.map(lambda values: values[first : first + count], (count, *tensor.shape[1:]))
