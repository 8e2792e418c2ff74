"""Mistral: a list of JSON objects behind `[TOOL_CALLS]`; later models write `[TOOL_CALLS]name[ARGS]{…}`."""

from __future__ import annotations

import hashlib
import re

from localchat.chat.tool_formats.json_calls import JsonCalls
from localchat.chat.tool_formats.named_calls import NamedCalls
from localchat.chat.tool_formats.tool_format import ToolFormat

_ID = re.compile(r"[a-zA-Z0-9]{9}")


def nine_letters(call_id: str) -> str:
    """An id as Mistral's templates demand it; the same for the same id."""
    return call_id if _ID.fullmatch(call_id) else hashlib.sha256(call_id.encode()).hexdigest()[:9]


FORMAT = ToolFormat(
    name="mistral",
    about="Mistral 7B v0.3, Nemo, Mixtral 8x22B, Mistral Small up to 3",
    syntax=JsonCalls(open="[TOOL_CALLS]", is_list=True),
    marks=("[TOOL_CALLS]",),
    lacks=("[ARGS]",),
    tags=("[TOOL_CALLS]",),
    call_id=nine_letters,
)

NAMED = ToolFormat(
    name="mistral-named",
    about="Mistral Small 3.1 and later, Devstral, Magistral, Ministral 3",
    syntax=NamedCalls(before="[TOOL_CALLS]", between="[ARGS]"),
    marks=("[TOOL_CALLS]", "[ARGS]"),
    tags=("[TOOL_CALLS]", "[ARGS]"),
    call_id=nine_letters,
)
