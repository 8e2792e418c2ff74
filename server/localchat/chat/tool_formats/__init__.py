"""How models call tools: one file a family, and the table in which a chat template finds its own."""

from __future__ import annotations

from localchat.chat.tool_formats import deepseek, functionary, generic, granite, hermes, llama3, mistral, phi
from localchat.chat.tool_formats.tool_format import ToolFormat

FORMATS: tuple[ToolFormat, ...] = (
    functionary.FORMAT,
    functionary.RECIPIENTS,
    deepseek.FORMAT,
    deepseek.V3_1,
    mistral.FORMAT,
    mistral.NAMED,
    phi.FORMAT,
    granite.FORMAT,
    hermes.FORMAT,
    llama3.FORMAT,
    generic.FORMAT,
)
"""The first that knows a template is taken; the last knows any."""


def find_format(template: str) -> ToolFormat:
    """The format of a chat template."""
    return next(format for format in FORMATS if format.is_of(template))


__all__ = ["FORMATS", "ToolFormat", "find_format"]
