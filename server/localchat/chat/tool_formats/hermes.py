"""Hermes, Qwen, Granite 4, SmolLM3: each call is JSON between two tags."""

from __future__ import annotations

from localchat.chat.tool_formats.json_calls import JsonCalls
from localchat.chat.tool_formats.tool_format import ToolFormat

FORMAT = ToolFormat(
    name="hermes",
    about="Hermes 2 Pro and 3, Qwen 2.5 and 3, QwQ, Granite 4, SmolLM3",
    syntax=JsonCalls(open="<tool_call>", close="</tool_call>", lead="\n"),
    marks=("<tool_call>",),
    lacks=("<function=", "<arg_key>"),  # Qwen3-Coder and GLM put something else between the same tags
    tags=("<tool_call>", "</tool_call>"),
)
