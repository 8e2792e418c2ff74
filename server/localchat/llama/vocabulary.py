"""A model's vocabulary: text to token ids and back."""

from __future__ import annotations

import ctypes
from functools import cached_property

import llama_cpp.llama_cpp as C

from localchat.errors import InvalidRequest
from localchat.llama.infill import Infill, find_infill


class Vocabulary:
    """Tokenizes with llama.cpp. Its methods may be called from any thread: the vocabulary never changes."""

    def __init__(self, model: C.llama_model_p) -> None:
        self.pointer = C.llama_model_get_vocab(model)
        self.size: int = C.llama_vocab_n_tokens(self.pointer)
        self.bos: int = C.llama_vocab_bos(self.pointer)
        self.eos: int = C.llama_vocab_eos(self.pointer)
        self.adds_bos = bool(C.llama_vocab_get_add_bos(self.pointer))
        self.adds_eos = bool(C.llama_vocab_get_add_eos(self.pointer))
        self._pieces: list[bytes | None] = [None] * self.size

    @cached_property
    def end_tokens(self) -> frozenset[int]:
        """Every token that ends a reply: EOS, EOT and their kin."""
        return frozenset(token for token in range(self.size) if C.llama_vocab_is_eog(self.pointer, token))

    @cached_property
    def infill(self) -> Infill | None:
        """The tokens between which a gap in a text is filled, if the model knows any."""
        return find_infill(self)

    def fim_tokens(self) -> tuple[int, int, int]:
        """The tokens before a prefix, a suffix, and what is between; -1 is none."""
        pointer = self.pointer
        return C.llama_vocab_fim_pre(pointer), C.llama_vocab_fim_suf(pointer), C.llama_vocab_fim_mid(pointer)

    def text(self, token: int) -> str:
        """How a token is spelled, as in `<|im_end|>`; empty for no token."""
        return self.piece(token, special=True).decode("utf-8", "replace") if token >= 0 else ""

    def tokenize(self, text: str, *, add_bos: bool = False, parse_special: bool = False) -> list[int]:
        """Token ids of a text. `parse_special` reads `<|im_end|>` and its like as the tokens they name."""
        data = text.encode("utf-8", errors="surrogatepass")
        room = len(data) + 16
        while True:
            buffer = (C.llama_token * room)()
            count = C.llama_tokenize(self.pointer, data, len(data), buffer, room, False, parse_special)
            if count >= 0:
                break
            room = -count
        tokens: list[int] = buffer[:count]
        if add_bos and self.adds_bos and self.bos >= 0 and tokens[:1] != [self.bos]:
            tokens.insert(0, self.bos)  # a template that spells BOS out has already put it there
        return tokens

    def tokenize_inside(self, text: str) -> list[int]:
        """Token ids of a text that goes on from another: without the blank that SentencePiece opens texts with."""
        if C.llama_vocab_type(self.pointer) != C.LLAMA_VOCAB_TYPE_SPM:
            return self.tokenize(text)
        before = "\u263a"  # no vocabulary joins it with anything
        return self.tokenize(before + text)[len(self.tokenize(before)) :]

    def control_token(self, text: str) -> int | None:
        """The token without text of its own that is spelled like this, if there is one."""
        tokens = self.tokenize(text, parse_special=True)
        return tokens[0] if len(tokens) == 1 and not self.piece(tokens[0]) else None

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The bytes that a token stands for; control tokens are empty unless `special`."""
        if special:
            return self._read_piece(token, special=True)
        piece = self._pieces[token]
        if piece is None:
            piece = self._pieces[token] = self._read_piece(token, special=False)
        return piece

    def check(self, tokens: list[int], param: str) -> None:
        """Raise InvalidRequest, naming `param`, for an id outside the vocabulary (llama.cpp would abort)."""
        for token in tokens:
            if not 0 <= token < self.size:
                raise InvalidRequest(f"token id {token} is not in the vocabulary (0 to {self.size - 1})", param=param)

    def _read_piece(self, token: int, *, special: bool) -> bytes:
        buffer = ctypes.create_string_buffer(64)
        count = C.llama_token_to_piece(self.pointer, token, buffer, 64, 0, special)
        if count < 0:
            buffer = ctypes.create_string_buffer(-count)
            count = C.llama_token_to_piece(self.pointer, token, buffer, -count, 0, special)
        return buffer.raw[:count]
