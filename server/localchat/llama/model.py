"""Weights in memory."""

from __future__ import annotations

from pathlib import Path

import llama_cpp.llama_cpp as C

from localchat.errors import ModelLoadFailed
from localchat.llama import library
from localchat.llama.mapping import release
from localchat.llama.vocabulary import Vocabulary


class Model:
    """A loaded GGUF file. Raises ModelLoadFailed; llama.cpp has then said why on stderr."""

    def __init__(self, path: Path, *, gpu_layers: int = 0, mmap: bool = True, vocab_only: bool = False) -> None:
        library.start()
        params = C.llama_model_default_params()
        params.n_gpu_layers = gpu_layers
        params.vocab_only = vocab_only
        params.load_mode = C.LLAMA_LOAD_MODE_MMAP if mmap else C.LLAMA_LOAD_MODE_NONE
        self.pointer = C.llama_model_load_from_file(str(path).encode(), params)
        if not self.pointer:
            raise ModelLoadFailed(f"llama.cpp could not load {path}")
        if mmap:
            release(path)
        self.vocabulary = Vocabulary(self.pointer)
        self.is_offloaded = gpu_layers != 0 and library.supports_gpu()

    @property
    def trained_context(self) -> int:
        """Tokens of context the model was trained for."""
        return int(C.llama_model_n_ctx_train(self.pointer))

    @property
    def description(self) -> str:
        """llama.cpp's name for architecture, size and format, as in `llama 256M Q4_0`."""
        buffer = bytearray(128)
        array = (C.ctypes.c_char * 128).from_buffer(buffer)
        C.llama_model_desc(self.pointer, array, 128)
        return bytes(buffer).split(b"\0", 1)[0].decode()

    @property
    def has_decoder(self) -> bool:
        """Whether the model generates text at all."""
        return bool(C.llama_model_has_decoder(self.pointer))

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether an encoder reads the prompt, and a decoder writes from what it made of it."""
        return bool(C.llama_model_has_encoder(self.pointer)) and self.has_decoder

    @property
    def start_token(self) -> int:
        """The token with which a decoder begins that has an encoder before it. Raises ModelLoadFailed without one."""
        token = int(C.llama_model_decoder_start_token(self.pointer))
        if token < 0:
            token = self.vocabulary.bos
        if token < 0:
            raise ModelLoadFailed("the file names neither a decoder_start_token_id nor a bos_token_id")
        return token

    @property
    def is_recurrent(self) -> bool:
        """Whether all that it remembers of a sequence is a state of fixed size."""
        return bool(C.llama_model_is_recurrent(self.pointer))

    @property
    def forgets(self) -> bool:
        """Whether a sequence cannot be cut back: its memory is a state, or slides along a window."""
        pointer = self.pointer
        is_state = self.is_recurrent or C.llama_model_is_hybrid(pointer)
        return bool(is_state) or C.llama_model_n_swa(pointer) > 0

    def close(self) -> None:
        """Free the weights. The contexts made from them must be closed first."""
        if self.pointer:
            C.llama_model_free(self.pointer)
            self.pointer = None
