"""The activations that one graph can stand for."""

from __future__ import annotations

from localchat_quantize.convert.source import Source

# llama.cpp's GELU is the tanh form, in a table of half floats: coarser than the forms are apart.
_GELU = frozenset({"gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_python"})


def require_gelu(source: Source, *names: str, default: str = "gelu") -> None:
    """Raise WeightsError where the activation is none of GELU's forms."""
    told = source.setting(*names, default=default)
    if told not in _GELU:
        raise source.refuse(f"its activation is {told}, the graph's is GELU")
