"""Functionary: `<function=name>{…}</function>` (v3.1); before that, each part of an answer names who it is for."""

from __future__ import annotations

from localchat.chat.tool_formats.named_calls import NamedCalls
from localchat.chat.tool_formats.tool_format import ToolFormat

FORMAT = ToolFormat(
    name="functionary",
    about="Functionary v3.1, and models that write <function=…>",
    syntax=NamedCalls(before="<function=", between=">", after="</function>"),
    marks=("<function=",),
    lacks=("<parameter=", "<tool_call>"),
)

RECIPIENTS = ToolFormat(
    name="functionary-recipients",
    about="Functionary v3 and v3.2",
    syntax=NamedCalls(before=">>>", between="\n", is_begun=True, content="all"),
    marks=(">>>", "all\\n"),
    is_guarded=False,
)
