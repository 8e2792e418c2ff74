"""What is known of a family's way with tools."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from localchat.chat.tool_formats.json_calls import JsonCalls
from localchat.chat.tool_formats.named_calls import NamedCalls
from localchat.chat.tools import Tool

INSTRUCTIONS = """\
You can call tools. Each is described by a line of JSON:
<tools>
{tools}
</tools>

Call a tool where it helps to answer. To call one, write nothing but its name and its arguments, as in
{example}
What the tool returns comes with the next message. Where no tool helps, answer in plain words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFormat:
    """How the models of a family are told of tools, and how they call them."""

    name: str
    about: str
    """The models that have it."""
    syntax: JsonCalls | NamedCalls
    marks: Sequence[str] = ()
    """What a chat template of the family has, all of it, and what it has not."""
    lacks: Sequence[str] = ()
    tags: Sequence[str] = ()
    """What of the syntax is a token without text of its own in most of these models."""
    is_guarded: bool = True
    """Whether what follows a trigger is surely a call."""
    parallel: bool = True
    """Whether the family makes several calls at once."""
    tools_in_system: bool = False
    """Whether the template has tools as a part of the system message."""
    call_id: Callable[[str], str] | None = None
    """What makes an id of the family's shape out of any."""

    def new_id(self, seed: str) -> str:
        """An id for a call; the same for the same seed."""
        call_id = f"call_{hashlib.sha256(seed.encode()).hexdigest()[:24]}"
        return self.call_id(call_id) if self.call_id else call_id

    def is_of(self, template: str) -> bool:
        """Whether a chat template is of this family."""
        return all(mark in template for mark in self.marks) and not any(mark in template for mark in self.lacks)

    def instructions(self, tools: Sequence[Tool]) -> str:
        """What the model is told where its template says nothing of tools."""
        described = "\n".join(json.dumps(tool.function, ensure_ascii=False) for tool in tools)
        example = self.syntax.write([("example_tool", '{"an argument": "its value"}')])
        return INSTRUCTIONS.format(tools=described, example=example)
