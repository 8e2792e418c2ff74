"""What llama.cpp takes for granted of a model's numbers: it aborts the process where a file has others."""

from __future__ import annotations

import math

from localchat.errors import NotGguf
from localchat.hardware.header import MAX_LAYERS, GgufArray, GgufHeader

_PER_LAYER = ("attention.head_count", "attention.head_count_kv", "feed_forward_length")
_EPSILONS = (
    "attention.layer_norm_epsilon",
    "attention.layer_norm_rms_epsilon",
    "attention.group_norm_epsilon",
)
# A rotation of nothing makes their graph loop or crash.
_ROTATING = frozenset(
    {"chatglm", "cohere2", "falcon", "gemma", "gptneox", "llama", "phi2", "qwen2", "qwen3", "stablelm"}
)
_ROTATING_ALL = frozenset({"qwen2", "qwen3"})


def check_limits(header: GgufHeader) -> None:
    """Raises NotGguf on the first number that llama.cpp would not survive; absent ones are its own affair."""
    for check in (
        _layers,
        _epsilons,
        _rotation,
        _heads_of_rwkv,
        _width_of_jamba,
    ):  # layers first: the others may count on them
        if problem := check(header):
            raise NotGguf(f"{header.path.name}: {header.architecture}.{problem}")


def check_vocabulary(header: GgufHeader) -> None:
    """Raises NotGguf for a token that is there twice. Reads the whole vocabulary."""
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, GgufArray) or tokens.type != "str":
        return
    seen: set[object] = set()
    for token in tokens.read():
        # llama.cpp gives each empty token a name of its own; other texts than UTF-8 are not told apart here.
        if token in seen and token and "\ufffd" not in str(token):
            raise NotGguf(f"{header.path.name}: the token {token!r} is twice in its vocabulary")
        seen.add(token)


def _layers(header: GgufHeader) -> str | None:
    layers = header.block_count
    if layers > MAX_LAYERS:
        return f"block_count is {layers}, more than {MAX_LAYERS}"
    if header.metadata.get(f"{header.architecture}.block_count") == 0:
        return "block_count is 0: a model without layers"
    for key in _PER_LAYER:
        value = header.metadata.get(f"{header.architecture}.{key}")
        if isinstance(value, tuple) and len(value) != layers:
            return f"{key} has {len(value)} items for {layers} layers"
    return None


def _epsilons(header: GgufHeader) -> str | None:
    for key in _EPSILONS:
        value = header.metadata.get(f"{header.architecture}.{key}")
        if isinstance(value, float) and not (math.isfinite(value) and value >= 0):
            return f"{key} is {value}, not a number from 0 on"
    return None


def _rotation(header: GgufHeader) -> str | None:
    key, width = "rope.dimension_count", header.key_length
    if f"{header.architecture}.{key}" not in header.metadata or not width:
        return None
    rotated, rotates_all = header.hparam(key), header.architecture in _ROTATING_ALL
    if rotated % 2 or rotated > width or (rotates_all and rotated != width):
        return f"{key} is {rotated}, and a key has {width} numbers"
    return f"{key} is 0" if not rotated and header.architecture in _ROTATING else None


def _heads_of_rwkv(header: GgufHeader) -> str | None:
    key = "wkv.head_size"
    if f"{header.architecture}.{key}" not in header.metadata:
        return None
    size, width = header.hparam(key), header.embedding_length
    return f"{key} is {size}, which does not divide {width}" if not size or width % size else None


def _width_of_jamba(header: GgufHeader) -> str | None:
    inner, width = header.hparam("ssm.inner_size"), header.embedding_length
    if header.architecture != "jamba" or inner == 2 * width:
        return None
    return f"ssm.inner_size is {inner}, which is not twice {width}"
