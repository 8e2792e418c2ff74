"""A conversation as the variable of a template: each template has its own ideas of calls and what came of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from localchat.chat.messages import Message
from localchat.chat.tool_formats import ToolFormat
from localchat.chat.tools import Tool
from localchat.errors import TemplateError

Turn = dict[str, Any]
Render = Callable[[Sequence[Turn], Sequence[Turn] | None], str]
"""Makes a prompt of turns and tools. Raises TemplateError."""

_NAME = "localchat_probe_3f1c"
_RESULT = "localchat result 6a2b"
_ARGUMENTS = f'{{"{_NAME}": 1}}'
_CALL_ID = "probe1234"


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What a template does with tools."""

    takes_tools: bool = False
    calls: Literal["objects", "texts", "words"] = "words"
    """Whether it takes the arguments of calls as objects or as JSON text; or no calls, so that they become words."""
    no_content: str | None = ""
    """The content of a turn that only calls."""
    takes_several: bool = True
    """Whether one turn may have several calls."""
    takes_results: bool = False
    takes_reasoning: bool = False


def find_habits(source: str, format: ToolFormat, render: Render) -> Habits:
    """Try what a template does with tools, calls and results."""
    reasoning = "reasoning_content" in source
    if "tool" not in source:
        return Habits(takes_reasoning=reasoning)
    takes_tools = format.tools_in_system or (format.name != "generic" and _writes_tools(render))
    tools = [{"type": "function", "function": Tool(name=_NAME).function}] if takes_tools else None
    for calls in ("objects", "texts"):
        for no_content in (None, ""):
            habits = Habits(calls=calls, no_content=no_content)
            prompt = _try(render, habits, format, tools, 1)
            if _ARGUMENTS in prompt and "None" not in prompt:
                several = _try(render, habits, format, tools, 2).count(_ARGUMENTS) == 2
                return Habits(
                    takes_tools=takes_tools,
                    calls=habits.calls,
                    no_content=no_content,
                    takes_several=several,
                    takes_results=_RESULT in prompt,
                    takes_reasoning=reasoning,
                )
    is_named = takes_tools or "'tool'" in source or '"tool"' in source
    takes_results = is_named and _RESULT in _try(render, Habits(), format, tools, 1)
    return Habits(takes_tools=takes_tools, takes_results=takes_results, takes_reasoning=reasoning)


def _writes_tools(render: Render) -> bool:
    tool = {"type": "function", "function": Tool(name=_NAME).function}
    try:
        return _NAME in render([{"role": "user", "content": "?"}], [tool])
    except TemplateError:
        return False


def _try(render: Render, habits: Habits, format: ToolFormat, tools: Sequence[Turn] | None, count: int) -> str:
    """The prompt of a conversation with calls; empty if the template refuses it."""
    call = {"id": _CALL_ID, "type": "function", "function": {"name": _NAME, "arguments": _ARGUMENTS}}
    messages = [
        Message(role="user", content="?"),
        Message(role="assistant", content="", tool_calls=[call] * count),
        *[Message(role="tool", content=_RESULT, tool_call_id=_CALL_ID)] * count,
    ]
    whole = Habits(calls=habits.calls, no_content=habits.no_content, takes_results=True)
    try:
        return render(to_turns(messages, whole, format), tools)
    except TemplateError:
        return ""


def to_turns(messages: Sequence[Message], habits: Habits, format: ToolFormat) -> list[Turn]:
    """A conversation as a template with these habits takes it. What it has no place for becomes words."""
    turns: list[Turn] = []
    results: list[str] = []
    names: dict[str | None, str] = {}
    for message in messages if habits.takes_several else _one_call_each(messages):
        names |= {call["id"]: call["function"]["name"] for call in message.tool_calls}
        if message.role == "tool" and not habits.takes_results:
            results.append(f"<tool_response>\n{message.content}\n</tool_response>")
            continue
        if results and message.role != "user":
            turns.append({"role": "user", "content": "\n".join(results)})
            results = []
        turn = _to_turn(message, habits, format)
        if message.role == "tool" and message.tool_call_id in names:
            turn["name"] = names[message.tool_call_id]
        if results:
            turn["content"] = "\n".join([*results, turn["content"]])
            results = []
        turns.append(turn)
    if results:
        turns.append({"role": "user", "content": "\n".join(results)})
    return turns


def _to_turn(message: Message, habits: Habits, format: ToolFormat) -> Turn:
    turn: Turn = {"role": message.role, "content": message.content}
    if message.reasoning and habits.takes_reasoning:
        turn["reasoning_content"] = message.reasoning
    if message.tool_call_id is not None:
        turn["tool_call_id"] = _id(message.tool_call_id, format)
    if message.tool_calls and habits.calls == "words":
        calls = [(call["function"]["name"], call["function"]["arguments"]) for call in message.tool_calls]
        turn["content"] = "\n".join(filter(None, (message.content, format.syntax.write(calls))))
    elif message.tool_calls:
        turn["content"] = message.content or habits.no_content
        turn["tool_calls"] = [_to_call(call, habits, format) for call in message.tool_calls]
    return turn


def _to_call(call: Turn, habits: Habits, format: ToolFormat) -> Turn:
    name, arguments = call["function"]["name"], call["function"]["arguments"]
    if habits.calls == "objects":
        with suppress(ValueError):  # a client may send back what a model has written
            arguments = json.loads(arguments)
    return {"id": _id(call["id"], format), "type": "function", "function": {"name": name, "arguments": arguments}}


def _id(call_id: str, format: ToolFormat) -> str:
    return format.call_id(call_id) if format.call_id else call_id


def _one_call_each(messages: Sequence[Message]) -> list[Message]:
    """The same conversation with a turn for each call, followed by what came of it."""
    single: list[Message] = []
    placed: set[int] = set()
    for index, message in enumerate(messages):
        if index in placed:
            continue
        if len(message.tool_calls) < 2:
            single.append(message)
            continue
        results = {
            other.tool_call_id: place for place, other in enumerate(messages) if place > index and other.role == "tool"
        }
        for number, call in enumerate(message.tool_calls):
            content = "" if number else message.content
            single.append(Message(role="assistant", content=content, tool_calls=[call], reasoning=message.reasoning))
            if (place := results.get(call["id"])) is not None:
                single.append(messages[place])
                placed.add(place)
    return single
