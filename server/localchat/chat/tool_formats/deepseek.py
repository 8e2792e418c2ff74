"""DeepSeek: names and arguments between tokens of their own."""

from __future__ import annotations

from localchat.chat.tool_formats.named_calls import NamedCalls
from localchat.chat.tool_formats.tool_format import ToolFormat

_TAGS = (
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁sep｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁calls▁end｜>",
)
_BEGIN, _CALL, _SEP, _END, _CLOSE = _TAGS

FORMAT = ToolFormat(
    name="deepseek",
    about="DeepSeek V3 and R1, and what is distilled from R1",
    syntax=NamedCalls(
        open=_BEGIN,
        before=f"{_CALL}function{_SEP}",
        between="\n```json\n",
        after=f"\n```{_END}",
        separator="\n",
        close=_CLOSE,
    ),
    marks=(_BEGIN, "```json"),
    tags=_TAGS,
)

V3_1 = ToolFormat(
    name="deepseek-v3.1",
    about="DeepSeek V3.1",
    syntax=NamedCalls(open=_BEGIN, before=_CALL, between=_SEP, after=_END, close=_CLOSE),
    marks=(_BEGIN,),
    lacks=("```json",),
    tags=_TAGS,
)
