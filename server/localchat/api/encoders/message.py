"""What a model has said, thought and called, in the shapes of OpenAI's chat messages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from localchat.chat.answer import AnswerDelta, CallArguments, CallStart, Content, Reasoning


@dataclass(slots=True)
class Spoken:
    """One answer as a whole. A call is an id, a name and arguments."""

    content: str = ""
    reasoning: str = ""
    calls: list[tuple[str, str, str]] = field(default_factory=list)

    @classmethod
    def of(cls, deltas: Iterable[AnswerDelta]) -> Spoken:
        """The fold of an answer's deltas."""
        spoken = cls()
        for delta in deltas:
            match delta:
                case Content():
                    spoken.content += delta.text
                case Reasoning():
                    spoken.reasoning += delta.text
                case CallStart():
                    spoken.calls.append((delta.id, delta.name, ""))
                case CallArguments():
                    id, name, arguments = spoken.calls[delta.index]
                    spoken.calls[delta.index] = id, name, arguments + delta.text
        return spoken


class Shape(Enum):
    """How calls are told: by `tool_calls`, or by `function_call` to those who asked with `functions`."""

    TOOLS = "tool_calls"
    FUNCTIONS = "function_call"

    def reason(self, reason: str, *, calls: bool) -> str:
        """Why an answer ended, as OpenAI says it."""
        return self.value if calls and reason == "stop" else reason

    def message(self, spoken: Spoken) -> dict[str, Any]:
        """A whole message. Of one that only calls, the content is null."""
        message: dict[str, Any] = {"role": "assistant", "content": spoken.content, "refusal": None}
        if spoken.reasoning:
            message["reasoning_content"] = spoken.reasoning
        if spoken.calls:
            message["content"] = spoken.content or None
            functions = [{"name": name, "arguments": arguments} for _, name, arguments in spoken.calls]
            if self is Shape.FUNCTIONS:
                message["function_call"] = functions[0]
            else:
                message["tool_calls"] = [
                    {"id": id, "type": "function", "function": function}
                    for (id, _, _), function in zip(spoken.calls, functions, strict=True)
                ]
        return message

    def delta(self, delta: AnswerDelta) -> dict[str, Any]:
        """A part of a message."""
        match delta:
            case Content():
                return {"content": delta.text}
            case Reasoning():
                return {"reasoning_content": delta.text}
            case CallStart():
                function = {"name": delta.name, "arguments": ""}
                if self is Shape.FUNCTIONS:
                    return {"function_call": function}
                return {
                    "tool_calls": [{"index": delta.index, "id": delta.id, "type": "function", "function": function}]
                }
            case CallArguments():
                if self is Shape.FUNCTIONS:
                    return {"function_call": {"arguments": delta.text}}
                return {"tool_calls": [{"index": delta.index, "function": {"arguments": delta.text}}]}
