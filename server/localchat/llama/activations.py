"""How strongly each column of a matrix is used: sums of squared activations, seen through the evaluation callback.

The statistic is that of llama.cpp's importance matrices: for each matrix, the sum over all tokens of the square of each
input, and the number of tokens. A matrix of experts has a row for each expert.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import Any

import llama_cpp.llama_cpp as C
import numpy as np
from llama_cpp._ggml import libggml
from numpy.typing import NDArray

_F32 = 0
# A pass of a few rows is decoding, not reading a text; llama.cpp leaves such out as well.
_LEAST_ROWS = 16


@cache
def _op(name: str) -> int:
    """The number of an operation, which changes between versions of ggml."""
    op_name = libggml.ggml_op_name
    op_name.argtypes, op_name.restype = [ctypes.c_int], ctypes.c_char_p
    return next(op for op in count() if op_name(op) == name.encode())


class _Tensor(ctypes.Structure):
    """`struct ggml_tensor`, as far as it is read."""


_Tensor._fields_ = [
    ("type", ctypes.c_int),
    ("buffer", ctypes.c_void_p),
    ("ne", ctypes.c_int64 * 4),
    ("nb", ctypes.c_size_t * 4),
    ("op", ctypes.c_int),
    ("op_params", ctypes.c_int32 * 16),
    ("flags", ctypes.c_int32),
    ("src", ctypes.POINTER(_Tensor) * 10),
    ("view_src", ctypes.c_void_p),
    ("view_offs", ctypes.c_size_t),
    ("data", ctypes.c_void_p),
    ("name", ctypes.c_char * 64),
]


@dataclass
class Use:
    """How one matrix was used: `squares` is (matrices, columns) in float64, `counts` (matrices,) in tokens."""

    squares: NDArray[np.float64]
    counts: NDArray[np.int64]


@dataclass
class Activations:
    """Gathers the use of every matrix while a context decodes; pass `callback` to the context, and keep this alive."""

    uses: dict[str, Use] = field(default_factory=dict)
    error: BaseException | None = None
    """Of the callback, Ctrl-C among them: whoever decodes looks for it."""

    def __post_init__(self) -> None:
        self.callback = C.ggml_backend_sched_eval_callback(self._see)

    def _see(self, address: int, ask: bool, _data: object) -> bool:
        """llama.cpp asks which results it must stop at, and shows them when they are there."""
        try:
            tensor = ctypes.cast(address, ctypes.POINTER(_Tensor)).contents
            if ask:
                return _is_wanted(tensor)
            self._add(tensor)
        except BaseException as error:  # none can pass through C: the run goes on, and its owner finds it here
            self.error = self.error or error
        return True

    def _add(self, tensor: _Tensor) -> None:
        weights, inputs = tensor.src[0].contents, tensor.src[1].contents
        name = weights.name.decode()
        values = _values(inputs, ctypes.c_float)
        if tensor.op == _op("MUL_MAT"):
            use = self._use(name, 1, values.shape[-1])
            rows = values.reshape(-1, values.shape[-1])
            use.squares[0] += np.einsum("ij,ij->j", rows, rows, dtype=np.float64)
            use.counts[0] += len(rows)
            return
        chosen = _values(tensor.src[2].contents, ctypes.c_int32)[0, 0]  # (tokens, experts of a token)
        use = self._use(name, int(weights.ne[2]), values.shape[-1])
        inputs_of = values[0]  # (tokens, 1 or experts of a token, columns)
        for place in range(chosen.shape[1]):
            rows = inputs_of[:, place % inputs_of.shape[1]]
            np.add.at(use.squares, chosen[:, place], rows.astype(np.float64) ** 2)
            np.add.at(use.counts, chosen[:, place], 1)

    def _use(self, name: str, matrices: int, columns: int) -> Use:
        if name not in self.uses:
            self.uses[name] = Use(np.zeros((matrices, columns)), np.zeros(matrices, np.int64))
        return self.uses[name]


def _is_wanted(tensor: _Tensor) -> bool:
    if tensor.op not in (_op("MUL_MAT"), _op("MUL_MAT_ID")):
        return False
    weights, inputs = tensor.src[0].contents, tensor.src[1].contents
    rows = inputs.ne[1] if tensor.op == _op("MUL_MAT") else inputs.ne[2]
    # Weights have names of their own; products of activations, as in attention, do not end so.
    return bool(weights.name.endswith(b".weight") and inputs.type == _F32 and rows >= _LEAST_ROWS)


def _values(tensor: _Tensor, kind: type[Any]) -> NDArray[Any]:
    """A tensor in main memory as an array whose last axis is ggml's first; the strides are ggml's."""
    shape, strides = tuple(tensor.ne)[::-1], tuple(tensor.nb)[::-1]
    extent = 1 + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True)) // ctypes.sizeof(
        kind
    )
    flat = np.ctypeslib.as_array((kind * extent).from_address(tensor.data))
    return np.lib.stride_tricks.as_strided(flat, shape, strides, writeable=False)
