"""Turns a conversation into the prompt its model was trained on."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any

from localchat.chat.messages import Message, add_instructions, merge_system
from localchat.chat.reasoning import find_tags
from localchat.chat.sandbox import Clock, Program
from localchat.chat.tool_formats import find_format, generic
from localchat.chat.tools import Tool
from localchat.chat.turns import Habits, find_habits, to_turns
from localchat.errors import InvalidRequest, TemplateError

_PROBE = "localchat probe 7c1e"
_SYSTEM_PROBE = "localchat system probe 9b2d"
_END = "localchat end 4d1f"
_OWN = frozenset({"messages", "tools", "add_generation_prompt", "bos_token", "eos_token", "loop"})


class ChatTemplate:
    """A model's template, proved to work before the first request. Raises TemplateError if it does not."""

    def __init__(self, source: str, *, bos: str = "", eos: str = "", now: Clock = datetime.datetime.now) -> None:
        self._program = Program(source, now=now)
        self._bos, self._eos = bos, eos
        self.format = find_format(source)
        """How its models call tools."""
        self.thoughts = find_tags(source)
        """What its models think between; None for those that do not."""
        self.variables = self._program.variables - _OWN
        """What a request may set."""
        self._knows_system = True
        self._habits = Habits()
        if _PROBE not in self.render([Message(role="user", content=_PROBE)]):
            raise TemplateError("the chat template leaves out what the user says")
        self._knows_system = self._writes_system()
        self._habits = find_habits(source, self.format, self._render)
        self.reply_lead = self._find_reply_lead()
        """The white space between a prompt and the model's words, which the model writes itself."""

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Tool] = (),
        continue_final: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt up to where the assistant speaks, or goes on speaking if `continue_final`.

        Raises TemplateError when the template refuses the conversation.
        """
        habits = self._habits
        if tools and not habits.takes_tools:
            if self.format is generic.FORMAT:  # the model is told of one way to write calls, and sees no other
                habits = Habits(takes_reasoning=habits.takes_reasoning)
            messages = add_instructions(messages, self.format.instructions(tools))
        elif tools and self.format.tools_in_system and messages[0].role != "system":
            messages = [Message(role="system", content=""), *messages]
        if not self._knows_system:
            messages = merge_system(messages)
        turns = to_turns(messages, habits, self.format)
        if continue_final:
            turns[-1]["content"] = _marked(turns[-1]["content"] or "")
        described = [{"type": "function", "function": tool.function} for tool in tools] if habits.takes_tools else None
        if described and self.format.tools_in_system:
            turns[0]["tools"] = json.dumps([tool.function for tool in tools], ensure_ascii=False)
        text = self._render(turns, described or None, continue_final=continue_final, **(variables or {}))
        return _cut_at_mark(text) if continue_final else text

    def shown(self, *, with_tools: bool) -> tuple[str, ...]:
        """The tokens that belong to the text of an answer, though they have no text of their own."""
        tags = self.thoughts
        thoughts = (tags.start, tags.end) if tags else ()
        return (*self.format.tags, *thoughts) if with_tools else thoughts

    def _render(
        self,
        turns: Sequence[dict[str, Any]],
        tools: Sequence[dict[str, Any]] | None,
        *,
        continue_final: bool = False,
        **variables: Any,
    ) -> str:
        return self._program.render(
            messages=turns,
            add_generation_prompt=not continue_final,
            bos_token=self._bos,
            eos_token=self._eos,
            tools=tools,
            **variables,
        )

    def _find_reply_lead(self) -> str:
        question, answer = Message(role="user", content=_PROBE), Message(role="assistant", content=_PROBE)
        try:
            open_, closed = self.render([question]), self.render([question, answer], continue_final=True)
        except TemplateError:
            return ""
        lead = closed[len(open_) : -len(_PROBE)] if closed.startswith(open_) and closed.endswith(_PROBE) else ""
        return lead if lead.isspace() else ""

    def _writes_system(self) -> bool:
        conversation = [Message(role="system", content=_SYSTEM_PROBE), Message(role="user", content=_PROBE)]
        try:
            return _SYSTEM_PROBE in self.render(conversation)
        except TemplateError:
            return False


def _marked(final: str) -> str:
    """Words with a mark behind them: short ones may well occur again in what the template writes after them."""
    if not final.strip():
        raise _nothing_to_continue()
    return final.rstrip() + _END


def _cut_at_mark(text: str) -> str:
    head, mark, _ = text.rpartition(_END)
    if not mark:
        raise _nothing_to_continue()
    return head


def _nothing_to_continue() -> InvalidRequest:
    return InvalidRequest(
        "continue_final_message needs a last message with text that the template keeps", param="continue_final_message"
    )
