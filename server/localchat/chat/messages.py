"""A conversation, as templates take it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn. `tool_calls` are in OpenAI's shape, arguments as JSON text."""

    role: Role
    content: str
    tool_calls: Sequence[dict[str, Any]] = field(default_factory=tuple)
    tool_call_id: str | None = None


def for_template(message: Message, *, knows_tool_calls: bool) -> dict[str, Any]:
    """A turn as a template's variable. A template that knows no tool calls gets them as words: nothing is lost."""
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_call_id is not None:
        turn["tool_call_id"] = message.tool_call_id
    if message.tool_calls and knows_tool_calls:
        turn["tool_calls"] = list(message.tool_calls)
    elif message.tool_calls:
        calls = "\n".join(json.dumps(call["function"], ensure_ascii=False) for call in message.tool_calls)
        turn["content"] = f"{message.content}\n{calls}" if message.content else calls
    return turn


def merge_system(messages: Sequence[Message]) -> list[Message]:
    """The same conversation for a template without a system role: system texts open the next user turn."""
    merged: list[Message] = []
    pending: list[str] = []
    for message in messages:
        if message.role == "system":
            pending.append(message.content)
        elif message.role == "user" and pending:
            merged.append(Message(role="user", content="\n\n".join([*pending, message.content])))
            pending = []
        else:
            merged.append(message)
    if pending:
        merged.append(Message(role="user", content="\n\n".join(pending)))
    return merged
