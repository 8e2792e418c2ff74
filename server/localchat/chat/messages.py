"""A conversation, as requests have it."""

from __future__ import annotations

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
    reasoning: str | None = None
    """What the assistant thought before it spoke."""


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


def add_instructions(messages: Sequence[Message], text: str) -> list[Message]:
    """The same conversation with more said in its system message."""
    if messages and messages[0].role == "system":
        first = Message(role="system", content=f"{messages[0].content}\n\n{text}")
        return [first, *messages[1:]]
    return [Message(role="system", content=text), *messages]
