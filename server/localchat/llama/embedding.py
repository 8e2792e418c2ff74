"""A text into one vector, by a model that is made for it."""

from __future__ import annotations

from collections.abc import Sequence

import llama_cpp.llama_cpp as C
import numpy as np
from numpy.typing import NDArray

from localchat.errors import EngineError, ModelLoadFailed
from localchat.llama.batch import Batch
from localchat.llama.model import Model


class Embedder:
    """Reads texts of up to `n_ctx` tokens, each whole. Not thread-safe. Raises ModelLoadFailed."""

    def __init__(self, model: Model, *, n_ctx: int, threads: int = 1) -> None:
        self.model = model
        self.width = int(C.llama_model_n_embd(model.pointer))
        native = C.llama_context_default_params()
        # A text that is read both ways cannot be read in parts.
        native.n_ctx = native.n_batch = native.n_ubatch = n_ctx
        native.n_threads = native.n_threads_batch = threads
        native.n_seq_max, native.embeddings, native.no_perf = 1, True, True
        self.pointer = C.llama_init_from_model(model.pointer, native)
        if not self.pointer:
            raise ModelLoadFailed(f"llama.cpp could not make a context of {n_ctx} tokens for embeddings")
        if C.llama_pooling_type(self.pointer) == C.LLAMA_POOLING_TYPE_NONE:
            self.close()
            raise ModelLoadFailed("the model does not say how one vector is made of a text's many")
        self._batch = Batch(n_ctx)

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
        assert 0 < len(tokens) <= self._batch.capacity, f"{len(tokens)} tokens of a text at once"
        batch = self._batch
        batch.clear()
        batch.add(0, 0, tokens, last=True, every=True)
        batch.struct.n_tokens = batch.size
        status = C.llama_encode(self.pointer, batch.struct)
        if status:
            raise EngineError(f"llama_encode returned {status} for a text of {len(tokens)} tokens")
        found = C.llama_get_embeddings_seq(self.pointer, 0)
        return np.ctypeslib.as_array(found, (self.width,)).copy()

    def close(self) -> None:
        """Free the buffers."""
        if self.pointer:
            C.llama_free(self.pointer)
            self.pointer = None
