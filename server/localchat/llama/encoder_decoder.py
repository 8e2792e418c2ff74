"""An encoder-decoder such as T5: its encoder reads a source once, and its decoder writes from what came of it.

llama.cpp keeps what the encoder made in the context, and the next source overwrites it. So each source has a context of
its own, as large as it needs, freed with the last sequence that is written from it. In one context for all, a newcomer
would cost the others a new reading of all their sources, and sources that are read together take longer than one after
the other, since each token is compared with those of all. Measured on the shape of Flan-T5 base, one thread of a busy
machine:

    sources              read together    read apart    a step in one context    a step in contexts of their own
    4 of 16 tokens       289 ms           369 ms        110 ms                   202 ms
    4 of 64 tokens       1.1 s            0.8 s         174 ms                   247 ms
    4 of 256 tokens      6.7 s            5.2 s         560 ms                   590 ms

A step computes keys and values of all sources' tokens anew, which is most of its cost and the same either way; what
contexts of their own lose is that each reads the decoder's weights for itself. Making one takes 3 to 15 ms.

Sources are read on a thread of their own, one after the other, so that those who write go on meanwhile: a source of 300
tokens stopped them for its whole 2.8 s when it was read between two steps, and made their steps twice as long here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from localchat.errors import EngineError, ModelLoadFailed
from localchat.llama.batch import Batch
from localchat.llama.context import Context, ContextParams
from localchat.llama.model import Model

_KV_TYPES = frozenset({"f32", "f16", "bf16"})

Then = Callable[[BaseException | None], None]
"""Is told how the reading of a source ended: None is well."""


@dataclass(slots=True, eq=False)
class Source:
    """A source, and the context that has read it once `context` is there; `sequences` are the context's, by slot."""

    tokens: Sequence[int]
    sequences: dict[int, int]
    threads: int
    context: Context | None = None

    @property
    def is_left(self) -> bool:
        """Whether nobody is written from it any more."""
        return not self.sequences


class EncoderDecoder:
    """`parallel` sequences, each with a source. Not thread-safe: one thread calls it, and another one reads sources."""

    def __init__(self, model: Model, params: ContextParams) -> None:
        if params.kv_type not in _KV_TYPES:
            raise ModelLoadFailed(
                f"--kv-type {params.kv_type} needs flash attention, which an encoder-decoder's biases rule out; use f16"
            )
        self.model = model
        self.vocabulary = model.vocabulary
        self.n_ctx = params.n_ctx
        self.parallel = self.outputs = params.parallel
        self.can_cut = False
        self.batch = Batch(params.parallel)
        # llama.cpp aborts on a stream for each sequence.
        self._params = replace(params, kv_unified=True, flash_attn="off", outputs=0)
        self._sources: dict[int, Source] = {}
        self._lock = Lock()
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._reading_threads = 0
        self._logits = np.empty((params.parallel, self.vocabulary.size), np.float32)
        self._try_out()

    def read(self, source: Sequence[int], slots: Sequence[int], then: Then) -> None:
        """Begin to read a source for these slots. `then` is called on another thread; before it, nothing is decoded."""
        assert len(source) <= self.n_ctx, f"a source of {len(source)} tokens for a context of {self.n_ctx}"
        assert not any(slot in self._sources for slot in slots), "a slot that has a source"
        # Those who write keep half of the threads: more threads than cores would wait for each other.
        shares = any(other.context is not None for other in self._sources.values())
        threads = max(1, self._params.threads // 2) if shares else self._params.threads
        entry = Source(source, {slot: sequence for sequence, slot in enumerate(slots)}, threads)
        self._sources.update(dict.fromkeys(slots, entry))
        self._reader.submit(self._read, entry).add_done_callback(lambda done: then(done.exception()))

    def decode(self) -> None:
        """Compute the batch's rows. Raises EngineError."""
        batch = self.batch
        outputs = np.cumsum(batch.logits[: batch.size]) - 1
        rows: dict[Source, list[int]] = {}
        for row in range(batch.size):
            rows.setdefault(self._sources[int(batch.sequence[row])], []).append(row)
        for source, its_rows in rows.items():
            wanted = [row for row in its_rows if batch.logits[row]]
            self._logits[outputs[wanted]] = self._decode_from(source, its_rows, len(wanted))

    def logits(self, rows: int) -> NDArray[np.float32]:
        """The logits of the last decode, (rows, vocabulary), in the order the rows asked; valid until the next."""
        return self._logits[:rows]

    def keep(self, slot: int, length: int) -> bool:
        """Whether a slot holds just this many tokens: none is ever cut back, since none outlives its source."""
        return self.length(slot) == length

    def copy(self, source: int, target: int) -> None:
        """Never: each is written from a source of its own."""
        raise AssertionError(f"slot {source} is not to be copied to {target}")

    def save(self, slot: int) -> memoryview | None:
        """Never."""
        return None

    def state_bytes(self, slot: int) -> int:
        """None."""
        return 0

    def restore(self, slot: int, data: memoryview) -> bool:
        """Never."""
        return False

    def drop(self, slot: int) -> None:
        """Forget a slot, and its source if nobody else is written from it."""
        source = self._sources.pop(slot, None)
        if source is None:
            return
        with self._lock:
            del source.sequences[slot]
            if source.is_left and source.context is not None:
                source.context.close()

    def length(self, slot: int) -> int:
        """Tokens of a slot in the KV cache, the source apart."""
        source = self._sources.get(slot)
        if source is None or source.context is None:
            return 0
        return source.context.length(source.sequences[slot])

    def close(self) -> None:
        """Free all contexts."""
        for slot in range(self.parallel):
            self.drop(slot)
        self._reader.shutdown()

    def _read(self, source: Source) -> None:
        if source.is_left:
            raise EngineError("the source was given up before it was read")
        self._reading_threads = source.threads
        context = self._context(len(source.tokens), len(source.sequences), source.threads)
        try:
            context.encode(source.tokens, range(context.parallel), lambda: source.is_left)
        except BaseException:
            context.close()
            raise
        finally:
            self._reading_threads = 0
        with self._lock:
            if source.is_left:
                context.close()
            else:
                source.context = context

    def _decode_from(self, source: Source, rows: Sequence[int], wanted: int) -> NDArray[np.float32]:
        batch, context = self.batch, source.context
        assert context is not None, "a source that has not been read"
        context.batch.clear()
        for row in rows:
            sequence, position = source.sequences[int(batch.sequence[row])], int(batch.position[row])
            context.batch.add(sequence, position, [int(batch.token[row])], last=bool(batch.logits[row]))
        threads = max(1, self._params.threads - self._reading_threads)
        if threads != source.threads:
            source.threads = threads
            context.set_threads(threads, threads)
        context.decode()
        return context.logits(wanted) if wanted else self._logits[:0]

    def _context(self, source: int, sequences: int, threads: int) -> Context:
        # At least a row for each sequence, or llama.cpp aborts.
        size = max(source, sequences)
        params = replace(self._params, parallel=sequences, batch_size=size, ubatch_size=size, threads=threads)
        try:
            return Context(self.model, params)
        except ModelLoadFailed:
            raise EngineError(
                f"there is no memory for a source of {source} tokens; try later, or a shorter one"
            ) from None

    def _try_out(self) -> None:
        """Page the weights in, and find out now whether there is memory for a source of full length."""
        try:
            context = self._context(self.n_ctx, self.parallel, self._params.threads)
        except EngineError:
            raise ModelLoadFailed(
                f"llama.cpp could not make a context of {self.parallel} x {self.n_ctx} tokens; "
                "try a smaller --ctx-size or --parallel"
            ) from None
        context.encode([self.model.start_token])
        context.batch.add(0, 0, [self.model.start_token], last=True)
        context.decode()
        context.close()
