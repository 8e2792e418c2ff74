"""Calls that are a name between marks, and then the arguments."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from localchat.chat.output_parser import CallParser
from localchat.chat.source import Steps
from localchat.chat.tool_formats.grammar import Grammar, further, quoted
from localchat.chat.tools import Call, Tool


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedCalls:
    """`BEFORE name BETWEEN {…} AFTER` for each call, all of them between OPEN and CLOSE where the family has those."""

    before: str
    between: str
    after: str = ""
    open: str = ""
    close: str = ""
    separator: str = ""
    is_begun: bool = False
    """Whether the prompt ends with the first `before`."""
    content: str = ""
    """The name that stands for words to the user."""

    @property
    def triggers(self) -> Sequence[str]:
        """What calls begin with."""
        return (self.open or self.before,)

    @property
    def openings(self) -> Sequence[str]:
        """Where the prompt has begun a call, the answer goes on with it."""
        return ("",) if self.is_begun else ()

    def read(self, calls: CallParser) -> Steps[None]:
        """Read one call, or all up to the close."""
        source = calls.source
        if not self.open:
            yield from self._call(calls)
            return
        yield from source.space()
        yield from source.expect(self.before)
        while True:
            yield from self._call(calls)
            yield from source.space()
            if not (yield from source.accept(self.before)):
                break
        yield from source.accept(self.close)

    def _call(self, calls: CallParser) -> Steps[None]:
        source = calls.source
        name = (yield from source.until(self.between)).strip()
        if self.content and name == self.content:
            source.drop()
            return
        calls.check(name)
        yield from source.space()
        arguments = yield from calls.arguments(name)
        if arguments is not None:
            calls.call(name, arguments)
        if self.after:
            yield from source.space()
            yield from source.accept(self.after.lstrip())

    def write(self, calls: Sequence[Call]) -> str:
        """Calls as the model writes them."""
        written = [f"{self.before}{name}{self.between}{arguments}{self.after}" for name, arguments in calls]
        text = f"{self.open}{self.separator.join(written)}{self.close}"
        return text.removeprefix(self.before) if self.is_begun else text

    def grammar(self, tools: Sequence[Tool], *, parallel: bool) -> Grammar:
        """What calls of these tools look like."""
        after = f" {quoted(self.after)}" if self.after else ""
        call = " | ".join(f"{quoted(tool.name + self.between)} @{i}{after}" for i, tool in enumerate(tools))
        several = further(f"{quoted(self.separator + self.before)} call", parallel=parallel)
        close = f" {quoted(self.close)}" if self.close else ""
        before, rules = quoted(self.before), f"call: {call}\n"
        if self.is_begun:
            part = f"part: call | {quoted(self.content + self.between)} {self._words}\n"
            rest = f"start: part{further(f'{before} part', parallel=True)}\n{part}{rules}"
            return Grammar(start=f"start: call{several}\n{rules}", rest=rest, triggers=())
        opening = f"{quoted(self.open)} " if self.open else ""
        start = f"start: {opening}{before} call{several}{close}\n{rules}"
        rest = f"start: {before} call{several}{close}\n{rules}" if self.open else f"start: call\n{rules}"
        return Grammar(start=start, rest=rest, triggers=self.triggers)

    @property
    def _words(self) -> str:
        """Any text without another beginning of a call, as a regular expression."""
        sign = re.escape(self.before[0])
        most = len(self.before) - 1
        return f"/({sign}{{0,{most}}}[^{sign}])*/"
