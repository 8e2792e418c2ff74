"""Calls that are JSON objects with name and arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from localchat.chat.output_parser import CallParser
from localchat.chat.source import Steps, Unreadable
from localchat.chat.tool_formats.grammar import WHITE, Grammar, further, quoted
from localchat.chat.tools import Call, Tool

_HEAD = '{"name": '
_ARGUMENTS = ("arguments", "parameters")


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonCalls:
    """`OPEN {"name": …, "arguments": {…}} CLOSE`, once for each call; or once with a list of such objects."""

    open: str
    close: str = ""
    key: str = "arguments"
    is_list: bool = False
    lead: str = ""
    """White space behind `open` and before `close`, as these models write it."""
    between: str = "\n"
    also: Sequence[str] = ()
    """What calls may begin with besides `open`."""
    openings: Sequence[str] = ()

    @property
    def triggers(self) -> Sequence[str]:
        """What calls begin with."""
        return tuple(filter(None, (self.open, *self.also)))

    def read(self, calls: CallParser) -> Steps[None]:
        """Read one object, or several in or without a list, up to the close."""
        source = calls.source
        yield from source.space()
        if (yield from source.accept("[")):
            yield from source.space()
            if not (yield from source.accept("]")):
                yield from self._objects(calls, ",")
                yield from source.expect("]")
        else:
            yield from self._objects(calls, ";")
        if self.close:
            yield from source.space()
            yield from source.accept(self.close)

    def _objects(self, calls: CallParser, separator: str) -> Steps[None]:
        source = calls.source
        while True:
            yield from self._object(calls)
            yield from source.space()
            if not (yield from source.accept(separator)):
                break
            yield from source.space()

    def _object(self, calls: CallParser) -> Steps[None]:
        source = calls.source
        name: str | None = None
        arguments: str | None = "{}"
        yield from source.expect("{")
        yield from source.space()
        while not (yield from source.accept("}")):
            key = yield from source.string()
            yield from source.space()
            yield from source.expect(":")
            yield from source.space()
            if key == "name":
                name = yield from source.string()
                calls.check(name)
            elif key in _ARGUMENTS:
                arguments = yield from calls.arguments(name)
            else:
                yield from source.json()  # an id, or a type
            yield from source.space()
            if not (yield from source.accept(",")) and name and not (yield from source.peek()):
                break  # the model has forgotten the last bracket
            yield from source.space()
        if name is None:
            raise Unreadable
        if arguments is not None:
            calls.call(name, arguments)

    def write(self, calls: Sequence[Call]) -> str:
        """Calls as the model writes them."""
        objects = [f'{{"name": {quoted(name)}, "{self.key}": {arguments}}}' for name, arguments in calls]
        parts = [f"[{', '.join(objects)}]"] if self.is_list else objects
        return self.between.join(f"{self.open}{self.lead}{part}{self.lead}{self.close}" for part in parts)

    def grammar(self, tools: Sequence[Tool], *, parallel: bool) -> Grammar:
        """What calls of these tools look like."""
        listed = further('", " call', parallel=parallel)
        calls = f'"[" call{listed} "]"' if self.is_list else "call"
        body = f"{WHITE} {calls} {WHITE} {quoted(self.close)}" if self.close else f"{WHITE} {calls}"
        rules = f"body: {body}\ncall: {quoted(_HEAD)} named\nnamed: {self._named(tools)}\n"
        if not self.open:
            return Grammar(start=f"start: body\n{rules}", rest=f"start: named\n{rules}", triggers=(_HEAD,))
        more = further(f"{quoted(self.between + self.open)} body", parallel=parallel and not self.is_list)
        start = f"start: {quoted(self.open)} body{more}\n{rules}"
        return Grammar(start=start, rest=f"start: body\n{rules}", triggers=self.triggers)

    def _named(self, tools: Sequence[Tool]) -> str:
        """What stands behind the key of the name."""
        heads = [quoted(f'{quoted(tool.name)}, "{self.key}": ') for tool in tools]
        return " | ".join(f'{head} @{i} "}}"' for i, head in enumerate(heads))
