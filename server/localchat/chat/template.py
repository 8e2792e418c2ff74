"""Turns a conversation into the prompt its model was trained on."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from localchat.chat.messages import Message, for_template, merge_system
from localchat.chat.sandbox import Clock, Program
from localchat.errors import InvalidRequest, TemplateError

_PROBE = "localchat probe 7c1e"
_SYSTEM_PROBE = "localchat system probe 9b2d"
_END = "localchat end 4d1f"


class ChatTemplate:
    """A model's template, proved to work before the first request. Raises TemplateError if it does not."""

    def __init__(self, source: str, *, bos: str = "", eos: str = "", now: Clock = datetime.datetime.now) -> None:
        self._program = Program(source, now=now)
        self._bos, self._eos = bos, eos
        self._knows_tool_calls = "tool_calls" in source
        self._knows_system = True
        if _PROBE not in self.render([Message(role="user", content=_PROBE)]):
            raise TemplateError("the chat template leaves out what the user says")
        self._knows_system = self._writes_system()
        self.reply_lead = self._find_reply_lead()
        """The white space between a prompt and the model's words, which the model writes itself."""

    def render(self, messages: Sequence[Message], *, continue_final: bool = False) -> str:
        """The prompt up to where the assistant speaks, or goes on speaking if `continue_final`.

        Raises TemplateError when the template refuses the conversation.
        """
        if not self._knows_system:
            messages = merge_system(messages)
        turns = [for_template(message, knows_tool_calls=self._knows_tool_calls) for message in messages]
        if continue_final:
            turns[-1]["content"] = _marked(turns[-1]["content"])
        text = self._program.render(
            messages=turns,
            add_generation_prompt=not continue_final,
            bos_token=self._bos,
            eos_token=self._eos,
            tools=None,
        )
        return _cut_at_mark(text) if continue_final else text

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
