"""The state of a terminal chat, and the slash commands that change it. No terminal here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import msgspec

from localchat.chat.messages import Message
from localchat.errors import InvalidRequest
from localchat.sampling_params import SamplingParams

HELP = """\
/set NAME VALUE   change a sampling setting, as in /set temperature 0.2
/show             the settings in force
/system TEXT      start over with a system message; without TEXT, without one
/reset            start over
/undo             take the last exchange back
/help             this text
/exit             leave (Ctrl-D does too); Ctrl-C stops an answer"""

_TYPES = {f.name: f.type for f in fields(SamplingParams)}


class Leave(Exception):
    """The user wants to go."""


@dataclass
class Session:
    """A conversation and the settings it goes on with."""

    sampling: dict[str, Any] = field(default_factory=dict)
    max_tokens: int | None = None
    system: str | None = None
    turns: list[Message] = field(default_factory=list)

    @property
    def messages(self) -> list[Message]:
        """The conversation with its system message."""
        system = [Message(role="system", content=self.system)] if self.system else []
        return [*system, *self.turns]

    def say(self, text: str) -> None:
        """Add what the user says."""
        self.turns.append(Message(role="user", content=text))

    def answer(self, text: str) -> None:
        """Add what the model said; an answer without a word takes the question back."""
        if text:
            self.turns.append(Message(role="assistant", content=text))
        else:
            self.turns.pop()

    def command(self, line: str) -> str:
        """Carry out a slash command; what to show. Raises Leave, and InvalidRequest for what is not understood."""
        name, _, rest = line[1:].partition(" ")
        handler = _COMMANDS.get(name)
        if handler is None:
            raise InvalidRequest(f"/{name} is not a command; /help lists them")
        return handler(self, rest.strip())

    def _set(self, rest: str) -> str:
        name, _, text = rest.partition(" ")
        if name == "max_tokens" and text.isdigit() and int(text) > 0:
            self.max_tokens = int(text)
            return f"max_tokens = {text}"
        if name not in _TYPES or not text:
            raise InvalidRequest(f"/set takes a setting and a value; settings are max_tokens, {', '.join(_TYPES)}")
        try:
            value = msgspec.json.decode(text.strip())
        except msgspec.DecodeError:
            raise InvalidRequest(f"{text!r} is not a value for {name}") from None
        self.sampling = _checked({**self.sampling, name: value})
        return f"{name} = {value}"

    def _show(self, _rest: str) -> str:
        params = SamplingParams(**self.sampling)
        shown = [("max_tokens", self.max_tokens), ("system", self.system)]
        shown += [(f.name, getattr(params, f.name)) for f in fields(params)]
        return "\n".join(f"{name} = {value}" for name, value in shown)

    def _reset(self, _rest: str) -> str:
        self.turns.clear()
        return "a new conversation"

    def _system(self, rest: str) -> str:
        self.system = rest or None
        self.turns.clear()
        return "a new conversation, with this system message" if rest else "a new conversation, without system message"

    def _undo(self, _rest: str) -> str:
        if len(self.turns) < 2:
            raise InvalidRequest("there is nothing to take back")
        del self.turns[-2:]
        return "the last exchange is gone"

    def _help(self, _rest: str) -> str:
        return HELP

    def _exit(self, _rest: str) -> str:
        raise Leave


def _checked(sampling: dict[str, Any]) -> dict[str, Any]:
    """The settings in their own types, if they make sense together. Raises InvalidRequest."""
    try:
        params = msgspec.convert(sampling, SamplingParams, str_keys=True)  # JSON has no other keys
    except msgspec.ValidationError as error:
        raise InvalidRequest(str(error)) from None
    return {name: getattr(params, name) for name in sampling}


_COMMANDS: dict[str, Callable[[Session, str], str]] = {
    "set": Session._set,
    "show": Session._show,
    "reset": Session._reset,
    "system": Session._system,
    "undo": Session._undo,
    "help": Session._help,
    "exit": Session._exit,
    "quit": Session._exit,
}
