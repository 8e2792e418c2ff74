"""Texts into one vector each, by a model that is made for it."""

from __future__ import annotations

from collections.abc import Sequence

import llama_cpp.llama_cpp as C
import numpy as np
from numpy.typing import NDArray

from localchat.errors import EngineError, ModelLoadFailed
from localchat.llama.batch import Batch
from localchat.llama.model import Model


class Embedder:
    """Reads up to `texts` texts at once, each whole and of up to `n_ctx` tokens. Not thread-safe.

    Raises ModelLoadFailed.
    """

    def __init__(self, model: Model, *, n_ctx: int, threads: int = 1, texts: int = 1, batch_size: int = 0) -> None:
        self.model = model
        self.n_ctx = n_ctx
        self.texts = texts
        self.vocabulary = model.vocabulary
        self.width = int(C.llama_model_n_embd(model.pointer))
        self.capacity = max(n_ctx, batch_size)
        native = C.llama_context_default_params()
        # A text that is read both ways cannot be read in parts.
        native.n_ctx = native.n_batch = native.n_ubatch = self.capacity
        native.n_threads = native.n_threads_batch = threads
        native.n_seq_max, native.kv_unified, native.embeddings, native.no_perf = texts, True, True, True
        self.pointer = C.llama_init_from_model(model.pointer, native)
        if not self.pointer:
            raise ModelLoadFailed(f"llama.cpp could not make a context of {n_ctx} tokens for embeddings")
        if C.llama_pooling_type(self.pointer) == C.LLAMA_POOLING_TYPE_NONE:
            self.close()
            raise ModelLoadFailed("the model does not say how one vector is made of a text's many")
        self._batch = Batch(self.capacity)
        self._memory = C.llama_get_memory(self.pointer) if model.has_decoder else None

    def tokenize(self, text: str) -> list[int]:
        """Token ids of a text, with what the model wants around it."""
        vocabulary = self.model.vocabulary
        tokens = vocabulary.tokenize(text, add_bos=True)
        if C.llama_vocab_get_add_sep(vocabulary.pointer):
            tokens.append(C.llama_vocab_sep(vocabulary.pointer))
        elif C.llama_vocab_get_add_eos(vocabulary.pointer):
            tokens.append(vocabulary.eos)
        return tokens

    def embed(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """The vector of a text, as the model makes it: of whatever length. Raises EngineError."""
        vector: NDArray[np.float32] = self.embed_many([tokens])[0]
        return vector

    def embed_many(self, texts: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """(texts, width): the vectors of texts that fit one pass. Raises EngineError."""
        batch = self._batch
        batch.clear()
        for sequence, tokens in enumerate(texts):
            assert 0 < len(tokens) <= self.n_ctx, f"{len(tokens)} tokens of a text at once"
            batch.add(sequence, 0, tokens, last=True, every=True)
        batch.struct.n_tokens = batch.size
        if self._memory is None:
            status = C.llama_encode(self.pointer, batch.struct)
        else:  # it reads as it would to go on writing, and remembers
            C.llama_memory_clear(self._memory, False)
            status = C.llama_decode(self.pointer, batch.struct)
        if status:
            raise EngineError(f"llama.cpp returned {status} for {len(texts)} texts of {batch.size} tokens")
        vectors = np.empty((len(texts), self.width), np.float32)
        for sequence in range(len(texts)):
            vectors[sequence] = np.ctypeslib.as_array(C.llama_get_embeddings_seq(self.pointer, sequence), (self.width,))
        return vectors

    def close(self) -> None:
        """Free the buffers."""
        if self.pointer:
            C.llama_free(self.pointer)
            self.pointer = None
