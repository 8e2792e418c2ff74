"""The rows of one decode, in arrays that llama.cpp reads in place."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import llama_cpp.llama_cpp as C
import numpy as np


class Batch:
    """Room for `capacity` rows of (token, position, sequence, wants logits). Filled again for each step."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.token = np.zeros(capacity, np.int32)
        self.position = np.zeros(capacity, np.int32)
        self.sequence = np.zeros(capacity, np.int32)
        self.logits = np.zeros(capacity, np.int8)
        self._one = np.ones(capacity, np.int32)
        base = self.sequence.ctypes.data
        self._sequence_pointers = np.arange(base, base + 4 * capacity, 4, dtype=np.uintp)
        self.size = 0
        self.struct = C.llama_batch(
            n_tokens=0,
            token=self.token.ctypes.data_as(ctypes.POINTER(C.llama_token)),
            embd=None,
            pos=self.position.ctypes.data_as(ctypes.POINTER(C.llama_pos)),
            n_seq_id=self._one.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            seq_id=self._sequence_pointers.ctypes.data_as(ctypes.POINTER(ctypes.POINTER(C.llama_seq_id))),
            logits=self.logits.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    def clear(self) -> None:
        """Forget all rows."""
        self.size = 0

    def add(self, sequence: int, position: int, tokens: Sequence[int], *, last: bool, every: bool = False) -> None:
        """Append consecutive tokens of a sequence; logits for the `last` of them, or for `every` one."""
        start, end = self.size, self.size + len(tokens)
        assert end <= self.capacity, f"{end} rows in a batch of {self.capacity}"
        self.size = end
        if end - start == 1:  # a decoding sequence: slices would cost more than the values
            self.token[start], self.position[start], self.sequence[start] = tokens[0], position, sequence
            self.logits[start] = last or every
            return
        self.token[start:end] = tokens
        self.position[start:end] = range(position, position + len(tokens))
        self.sequence[start:end] = sequence
        self.logits[start:end] = every
        if last:
            self.logits[end - 1] = 1


class SourceBatch:
    """A source as the encoder takes it: every token of it belongs to all `sequences` that are written from it."""

    def __init__(self, tokens: Sequence[int], sequences: Sequence[int]) -> None:
        count = len(tokens)
        self._token = np.array(tokens, np.int32)
        self._position = np.arange(count, dtype=np.int32)
        self._sequences = np.array(sequences, np.int32)
        self._sequence_count = np.full(count, len(sequences), np.int32)
        self._pointers = np.full(count, self._sequences.ctypes.data, np.uintp)
        self._logits = np.ones(count, np.int8)
        self.struct = C.llama_batch(
            n_tokens=count,
            token=self._token.ctypes.data_as(ctypes.POINTER(C.llama_token)),
            embd=None,
            pos=self._position.ctypes.data_as(ctypes.POINTER(C.llama_pos)),
            n_seq_id=self._sequence_count.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            seq_id=self._pointers.ctypes.data_as(ctypes.POINTER(ctypes.POINTER(C.llama_seq_id))),
            logits=self._logits.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )
