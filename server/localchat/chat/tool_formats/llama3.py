"""Llama 3.1 to 3.3: an answer that is one JSON object, or JSON behind `<|python_tag|>`."""

from __future__ import annotations

from localchat.chat.tool_formats.json_calls import JsonCalls
from localchat.chat.tool_formats.tool_format import ToolFormat

FORMAT = ToolFormat(
    name="llama3",
    about="Llama 3.1, 3.2 and 3.3",
    syntax=JsonCalls(open="", key="parameters", between="; ", also=("<|python_tag|>",), openings=("{", "[{")),
    marks=("<|start_header_id|>", '"parameters": '),
    lacks=("<tool_call>", "<function="),
    tags=("<|python_tag|>",),
    is_guarded=False,
    parallel=False,
)
