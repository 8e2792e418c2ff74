"""Hugging Face checkpoints into GGUF files: one small file an architecture, one table."""

from localchat_quantize.convert.conversion import Conversion, plan_conversion
from localchat_quantize.convert.table import CONVERTERS, converter_for

__all__ = ["CONVERTERS", "Conversion", "converter_for", "plan_conversion"]
