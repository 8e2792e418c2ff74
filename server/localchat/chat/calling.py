"""What a request's tools make of the text that an answer may have."""

from __future__ import annotations

import json

from localchat.chat.tool_formats.grammar import split_tags
from localchat.chat.tool_formats.tool_format import ToolFormat
from localchat.chat.tools import Tool, ToolUse
from localchat.constraint import Constraint
from localchat.errors import InvalidRequest

_ANY = json.dumps({"type": "object"})


def constrain(format: ToolFormat, use: ToolUse, words: Constraint | None) -> Constraint | None:
    """What holds for an answer with calls of tools; `words` is what the request asks of one without.

    Arguments keep their schema where a tool must be called, or is strict; else they are whole JSON objects, where the
    format says of what follows a trigger that it is a call. Raises InvalidRequest for a grammar besides tools.
    """
    if words is not None and words.kind != "json_schema":
        raise InvalidRequest(f"{words.param} and tools cannot hold at once: send one of them", param=words.param)
    tools = use.callable
    parallel = use.parallel and format.parallel
    grammar = format.syntax.grammar(tools, parallel=parallel)
    parts = tuple(_schema(tool, is_kept=use.must_call or tool.strict) for tool in tools)
    tags = tuple(format.tags)
    if use.must_call:
        return Constraint("lark", split_tags(grammar.start, tags), "tools", parts, tags)
    if words is not None:
        text = grammar.start.replace("start:", "calls:", 1) + f"start: calls | @{len(parts)}\n"
        return Constraint("lark", split_tags(text, tags), "tools", (*parts, words), tags)
    if not format.is_guarded and not any(tool.strict for tool in tools):
        return None
    triggers = tuple(grammar.triggers)
    return Constraint("lark", split_tags(grammar.rest, tags), "tools", parts, tags, triggers, parallel)


def _schema(tool: Tool, *, is_kept: bool) -> Constraint:
    return Constraint("json_schema", json.dumps(tool.schema) if is_kept else _ANY, tool.param)
