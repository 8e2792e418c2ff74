"""Phi-4-mini: a list of JSON objects between `<|tool_call|>` and `<|/tool_call|>`."""

from __future__ import annotations

from localchat.chat.tool_formats.json_calls import JsonCalls
from localchat.chat.tool_formats.tool_format import ToolFormat

FORMAT = ToolFormat(
    name="phi",
    about="Phi-4-mini",
    syntax=JsonCalls(open="<|tool_call|>", close="<|/tool_call|>", is_list=True),
    marks=("<|tool|>", "<|/tool|>"),
    tags=("<|tool_call|>", "<|/tool_call|>"),
    tools_in_system=True,
)
