"""Granite 3: a list of JSON objects behind `<|tool_call|>`."""

from __future__ import annotations

from localchat.chat.tool_formats.json_calls import JsonCalls
from localchat.chat.tool_formats.tool_format import ToolFormat

FORMAT = ToolFormat(
    name="granite",
    about="Granite 3.0 to 3.3; Granite 4 is of the Hermes format",
    syntax=JsonCalls(open="<|tool_call|>", is_list=True),
    marks=("<|tool_call|>", "available_tools"),
    tags=("<|tool_call|>",),
)
