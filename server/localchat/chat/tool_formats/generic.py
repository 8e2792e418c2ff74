"""For families that have no way of their own: they are told to write JSON between two tags."""

from __future__ import annotations

from localchat.chat.tool_formats.json_calls import JsonCalls
from localchat.chat.tool_formats.tool_format import ToolFormat

FORMAT = ToolFormat(
    name="generic",
    about="every other model, told of tools in the system message; SmolLM2 was trained to write this",
    syntax=JsonCalls(open="<tool_call>", close="</tool_call>", lead="\n"),
    tags=("<tool_call>", "</tool_call>"),
)
