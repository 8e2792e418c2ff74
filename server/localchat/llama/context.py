"""A KV cache and the decode that fills it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import llama_cpp.llama_cpp as C
import numpy as np
from numpy.typing import NDArray

from localchat.errors import EngineError, ModelLoadFailed
from localchat.llama.activations import Activations
from localchat.llama.batch import Batch, SourceBatch
from localchat.llama.library import GGML_TYPES
from localchat.llama.model import Model

# The binding's own returns a typed pointer, which takes longer to make and to cast than the call itself.
_get_logits = C._lib["llama_get_logits"]
_get_logits.argtypes, _get_logits.restype = [ctypes.c_void_p], ctypes.c_void_p

_NEVER = C.ggml_abort_callback()
_BYTES = ctypes.POINTER(ctypes.c_uint8)
_MOST_BUFFERED = 256 << 20
"""Bytes of a sequence up to which it is copied through a buffer."""
_FLASH_ATTENTION = {"auto": -1, "off": 0, "on": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextParams:
    """The size and kind of a context; `n_ctx` counts the tokens of each sequence."""

    n_ctx: int
    parallel: int = 1
    batch_size: int = 512
    ubatch_size: int = 512
    threads: int = 1
    kv_type: str = "f16"
    kv_unified: bool = False
    flash_attn: str = "auto"
    outputs: int = 0
    """Rows of one decode whose logits may be asked for; llama.cpp aborts beyond it. 0 is every row."""
    observer: Activations | None = None
    """Sees the inputs of every matrix product; it slows decoding down."""


class Context:
    """`parallel` sequences over one model. Not thread-safe: one thread decodes."""

    def __init__(self, model: Model, params: ContextParams) -> None:
        self.model = model
        self._params = params  # keeps the observer's callback alive
        self.vocabulary = model.vocabulary
        self.pointer = C.llama_init_from_model(model.pointer, _native(params))
        if not self.pointer:
            raise ModelLoadFailed(
                f"llama.cpp could not make a context of {params.parallel} x {params.n_ctx} tokens; "
                "try a smaller --ctx-size or --parallel"
            )
        self.batch = Batch(int(C.llama_n_batch(self.pointer)))
        self.n_ctx: int = min(int(C.llama_n_ctx_seq(self.pointer)), params.n_ctx)
        self.parallel = params.parallel
        self.outputs = params.outputs or self.batch.capacity
        self.can_cut = not model.forgets
        self._memory = C.llama_get_memory(self.pointer)
        self._has_streams = params.parallel > 1 and not params.kv_unified and not model.is_recurrent
        self._copied: set[int] = set()
        self._logits = np.empty((0, self.vocabulary.size), np.float32)
        self._logits_address = 0

    def decode(self) -> None:
        """Compute the batch's rows and store their keys and values. Raises EngineError when llama.cpp refuses."""
        batch = self.batch
        batch.struct.n_tokens = batch.size
        status = C.llama_decode(self.pointer, batch.struct)
        C.llama_synchronize(self.pointer)  # a GPU may still compute, and how long it does is of interest
        if self._copied:
            self._copied.clear()
        if status:
            raise EngineError(f"llama_decode returned {status} for a batch of {batch.size} rows")

    def encode(
        self, source: Sequence[int], sequences: Sequence[int] = (0,), cancelled: Callable[[], bool] | None = None
    ) -> None:
        """Have an encoder-decoder's encoder read a source, from which these empty sequences can then be decoded.

        What it made of an earlier source is lost. `cancelled` is asked every now and then. Raises EngineError.
        """
        batch = SourceBatch(source, sequences)
        # llama.cpp aborts the process on any of these.
        assert self.model.is_encoder_decoder, "the model has no encoder"
        assert 0 < len(source) <= int(C.llama_n_ubatch(self.pointer)), f"{len(source)} tokens of a source at once"
        assert not any(self.length(sequence) for sequence in sequences), "a source for sequences that have begun"
        callback = C.ggml_abort_callback(lambda _data: cancelled()) if cancelled else _NEVER
        C.llama_set_abort_callback(self.pointer, callback, None)
        try:
            status = C.llama_encode(self.pointer, batch.struct)
        finally:
            C.llama_set_abort_callback(self.pointer, _NEVER, None)
        if status:
            raise EngineError(f"llama_encode returned {status} for a source of {len(source)} tokens")

    def logits(self, rows: int) -> NDArray[np.float32]:
        """The logits of the last decode, (rows, vocabulary), in the order the rows asked; valid until the next."""
        address = _get_logits(self.pointer)
        assert address is not None, "no row of the last batch asked for logits"
        if address != self._logits_address or len(self._logits) < rows:
            # Making the view costs more than sampling from it, and llama.cpp seldom moves the buffer.
            values = (ctypes.c_float * (rows * self.vocabulary.size)).from_address(address)
            self._logits_address = address
            self._logits = np.ctypeslib.as_array(values).reshape(rows, self.vocabulary.size)
        return self._logits[:rows]

    def keep(self, sequence: int, length: int) -> bool:
        """Cut a sequence back to its first `length` tokens; False if its memory cannot be cut there."""
        return bool(C.llama_memory_seq_rm(self._memory, sequence, length, -1))

    def copy(self, source: int, target: int) -> None:
        """Make `target` an equal of `source`.

        Between streams llama.cpp copies all cells, used or not, and only with the next decode; what is used is less by
        far, as a rule, but a GPU copies all of its own sooner than a part goes through the host's memory.
        """
        if not self._has_streams:
            self.drop(target)
            C.llama_memory_seq_cp(self._memory, source, target, -1, -1)
        elif source in self._copied or self.model.is_offloaded or self.state_bytes(source) > _MOST_BUFFERED:
            C.llama_memory_seq_cp(self._memory, source, target, -1, -1)
            self._copied |= {source, target}
        else:
            data = self.save(source)
            assert data is not None, "the source of no copy can be saved"
            self.restore(target, data)

    def state_bytes(self, sequence: int) -> int:
        """Bytes that `save` would take."""
        return int(C.llama_state_seq_get_size(self.pointer, sequence))

    def save(self, sequence: int) -> memoryview | None:
        """What the memory holds of a sequence; None while a copy has still to be made."""
        if sequence in self._copied:
            return None
        data = np.empty(self.state_bytes(sequence), np.uint8)
        written = C.llama_state_seq_get_data(self.pointer, data.ctypes.data_as(_BYTES), data.size, sequence)
        assert written == data.size, f"llama.cpp saved {written} bytes of sequence {sequence} instead of {data.size}"
        return data.data

    def restore(self, sequence: int, data: memoryview) -> bool:
        """Replace a sequence by one that was saved; False, and the sequence empty, where llama.cpp refuses it."""
        self.drop(sequence)
        if sequence in self._copied:
            return False
        buffer = np.frombuffer(data, np.uint8)
        read = C.llama_state_seq_set_data(self.pointer, buffer.ctypes.data_as(_BYTES), buffer.size, sequence)
        if read != buffer.size:
            self.drop(sequence)
        return bool(read == buffer.size)

    def drop(self, sequence: int) -> None:
        """Forget a sequence."""
        C.llama_memory_seq_rm(self._memory, sequence, -1, -1)

    def length(self, sequence: int) -> int:
        """Tokens of a sequence that the KV cache holds."""
        return int(C.llama_memory_seq_pos_max(self._memory, sequence)) + 1

    def set_threads(self, single: int, several: int) -> None:
        """Compute threads from the next decode on, for a pass of a single row and for one of several."""
        C.llama_set_n_threads(self.pointer, single, several)

    def close(self) -> None:
        """Free the KV cache and buffers."""
        if self.pointer:
            C.llama_free(self.pointer)
            self.pointer = None


def _native(params: ContextParams) -> C.llama_context_params:
    native = C.llama_context_default_params()
    native.n_ctx = params.n_ctx * params.parallel
    native.n_batch = params.batch_size
    native.n_ubatch = min(params.ubatch_size, params.batch_size)
    native.n_seq_max = params.parallel
    native.n_threads = native.n_threads_batch = params.threads
    native.type_k = native.type_v = GGML_TYPES[params.kv_type]
    native.kv_unified = params.kv_unified
    native.flash_attn_type = _FLASH_ATTENTION[params.flash_attn]
    native.n_outputs_max = params.outputs
    native.no_perf = True
    if params.observer is not None:
        native.cb_eval = params.observer.callback
    return native
