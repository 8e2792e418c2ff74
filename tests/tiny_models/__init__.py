"""Tiny GGUF files in real architectures: random weights, true tensor names and metadata, a vocabulary that reads text.

Their answers are noise, and the same noise each time.
"""

from .architectures import ARCHITECTURES, DECODERS, FORGETFUL, RECURRENT
from .build import build

__all__ = ["ARCHITECTURES", "DECODERS", "FORGETFUL", "RECURRENT", "build"]
