"""What the text of an answer must be."""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["json_schema", "lark", "gbnf", "regex"]


class Constraint(msgspec.Struct, frozen=True):
    """What the whole text matches: a JSON schema, llguidance's dialect of Lark, llama.cpp's GBNF, a regular expression.

    `param` is the request's field that errors about it name.
    """

    kind: Kind
    text: str
    param: str
