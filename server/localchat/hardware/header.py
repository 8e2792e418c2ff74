"""What the header of a GGUF file says of its model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from localchat.errors import NotGguf, WeightsError
from localchat.hardware.cursor import STRIDE, Cursor
from localchat.hardware.ggml_types import FILE_TYPES, SCALARS

Scalar = int | float | bool | str

# llama.cpp aborts the process on a model of more layers (LLAMA_MAX_LAYERS).
MAX_LAYERS = 512

_LAYER = re.compile(r"(?:^|\.)blk\.(\d{1,4})\.")
_RECURRENT = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})
_POOLING = (1, 2, 3)
"""`enum llama_pooling_type`: mean, CLS, last."""
_ENCODERS = frozenset(
    {
        *("bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "eurobert"),
        *("jina-bert-v2", "jina-bert-v3", "gemma-embedding", "t5encoder"),
    }
)
_SCALAR_BY_NAME = {kind.name: kind for kind in SCALARS.values()}


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of the file; `shape` begins with the length of a row, as in ggml."""

    name: str
    shape: tuple[int, ...]
    type: str
    nbytes: int


@dataclass(frozen=True)
class GgufArray:
    """An array that is left in the file until some of it is wanted."""

    type: str
    length: int
    path: Path
    marks: tuple[int, ...]

    def __len__(self) -> int:
        return self.length

    def read(self, start: int = 0, count: int | None = None) -> list[Scalar]:
        """`count` items from `start` on; all of them by default."""
        count = self.length - start if count is None else count
        if start < 0 or count < 0 or start + count > self.length:
            raise NotGguf(f"{self.path.name}: no items {start} to {start + count - 1} in an array of {self.length}")
        if not count:
            return []
        try:
            with self.path.open("rb") as file:
                return self._read(Cursor(file, self.path.name), start, count)
        except OSError as error:
            raise WeightsError(f"{self.path}: {error.strerror}") from None

    def _read(self, cursor: Cursor, start: int, count: int) -> list[Scalar]:
        if self.type == "str":
            cursor.at = self.marks[start // STRIDE]
            cursor.skip_strings(start % STRIDE, "an array")
            return [cursor.string("an item of an array").decode("utf-8", "replace") for _ in range(count)]
        kind = _SCALAR_BY_NAME[self.type]
        cursor.at = self.marks[0] + start * kind.size
        return list(cursor.numbers(kind, count, "an array"))


Value = Scalar | tuple[int | float | bool, ...] | GgufArray


@dataclass(frozen=True)
class GgufHeader:
    """A checked header; numbers that the file does not give are 0, texts empty."""

    path: Path
    file_size: int
    version: int
    metadata: dict[str, Value]
    tensors: tuple[TensorInfo, ...]
    length: int = 0
    """Bytes before the first tensor's."""

    @property
    def architecture(self) -> str:
        """llama.cpp's name of the graph."""
        return self._text("general.architecture")

    @property
    def name(self) -> str:
        """The model's name, as its makers wrote it."""
        return self._text("general.name")

    @property
    def quant(self) -> str:
        """The quantization's name, such as Q4_1."""
        kind = self.metadata.get("general.file_type")
        return FILE_TYPES.get(kind, "") if isinstance(kind, int) else ""

    @property
    def chat_template(self) -> str | None:
        """The Jinja template that the file brings along."""
        return self._text("tokenizer.chat_template") or None

    @property
    def context_length(self) -> int:
        """Tokens that the model was trained for."""
        return self.hparam("context_length")

    @property
    def block_count(self) -> int:
        """Layers, with those of a built-in draft head."""
        return self.hparam("block_count")

    @property
    def embedding_length(self) -> int:
        """Width of the residual stream."""
        return self.hparam("embedding_length")

    @property
    def head_count(self) -> tuple[int, ...]:
        """Attention heads of each layer."""
        return self._per_layer("attention.head_count")

    @property
    def head_count_kv(self) -> tuple[int, ...]:
        """Key and value heads of each layer; as many as there are heads, unless the file says otherwise."""
        return self._per_layer("attention.head_count_kv") or self.head_count

    @property
    def key_length(self) -> int:
        """Numbers in one key of one head."""
        return self.hparam("attention.key_length") or self._head_width()

    @property
    def value_length(self) -> int:
        """Numbers in one value of one head."""
        return self.hparam("attention.value_length") or self._head_width()

    @property
    def sliding_window(self) -> int:
        """Tokens that the layers with a sliding window look back on."""
        return self.hparam("attention.sliding_window")

    @property
    def vocab_size(self) -> int:
        """Tokens of the vocabulary."""
        tokens = self.metadata.get("tokenizer.ggml.tokens")
        return len(tokens) if isinstance(tokens, GgufArray) else self.hparam("vocab_size")

    @property
    def bos_id(self) -> int | None:
        """The token that begins a text."""
        return self._token_id("bos")

    @property
    def eos_id(self) -> int | None:
        """The token that ends a text."""
        return self._token_id("eos")

    @property
    def eot_id(self) -> int | None:
        """The token that ends a turn, where it is another one than eos."""
        return self._token_id("eot")

    @property
    def add_bos(self) -> bool | None:
        """Whether a text is to begin with bos; None leaves it to llama.cpp."""
        value = self.metadata.get("tokenizer.ggml.add_bos_token")
        return value if isinstance(value, bool) else None

    @property
    def weight_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors)

    @property
    def layer_bytes(self) -> tuple[int, ...]:
        """Bytes of the tensors of each layer; what belongs to no layer is in `weight_bytes` only."""
        layers = [0] * self.block_count
        for tensor in self.tensors:
            found = _LAYER.search(tensor.name)
            if found and int(found[1]) < len(layers):
                layers[int(found[1])] += tensor.nbytes
        return tuple(layers)

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether an encoder reads the prompt before a decoder writes, as in T5."""
        return self.architecture == "t5"

    @property
    def is_encoder_only(self) -> bool:
        """Whether it makes embeddings and writes nothing; such a model keeps no KV cache."""
        return self.architecture in _ENCODERS

    @property
    def is_embedder(self) -> bool:
        """Whether it is made for embeddings: it only encodes, or says how one vector is made of a text's many."""
        return self.is_encoder_only or self.hparam("pooling_type") in _POOLING

    @property
    def is_recurrent(self) -> bool:
        """Whether a state of fixed size stands for the past in every layer."""
        return self.architecture in _RECURRENT

    def hparam(self, key: str) -> int:
        """A natural number under the architecture's own keys; the largest where every layer has one."""
        value = self.metadata.get(f"{self.architecture}.{key}")
        return max((_natural(item) or 0 for item in (value if isinstance(value, tuple) else (value,))), default=0)

    def token_texts(self, count: int) -> list[str]:
        """The texts of the first tokens."""
        tokens = self.metadata.get("tokenizer.ggml.tokens")
        return [str(text) for text in tokens.read(0, count)] if isinstance(tokens, GgufArray) else []

    def token_text(self, token_id: int) -> str:
        """The text of a token, as the vocabulary spells it."""
        tokens = self.metadata.get("tokenizer.ggml.tokens")
        if not isinstance(tokens, GgufArray) or not 0 <= token_id < len(tokens):
            raise NotGguf(f"{self.path.name}: token {token_id} is not in its vocabulary of {self.vocab_size}")
        return str(tokens.read(token_id, 1)[0])

    def _text(self, key: str) -> str:
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    def _token_id(self, role: str) -> int | None:
        return _natural(self.metadata.get(f"tokenizer.ggml.{role}_token_id"))

    def _per_layer(self, key: str) -> tuple[int, ...]:
        value = self.metadata.get(f"{self.architecture}.{key}")
        if isinstance(value, tuple) and len(value) == self.block_count:
            return tuple(_natural(item) or 0 for item in value)
        return (self.hparam(key),) * self.block_count if self.hparam(key) else ()

    def _head_width(self) -> int:
        heads = max(self.head_count, default=0)
        return self.embedding_length // heads if heads else 0


def _natural(value: Value | None) -> int | None:
    # A bool is an int to Python, and a broken file may hold anything under any key.
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
