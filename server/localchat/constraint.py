"""What the text of an answer must be."""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["json_schema", "lark", "regex"]


class Constraint(msgspec.Struct, frozen=True):
    """A JSON schema, a grammar in llguidance's dialect of Lark, or a regular expression that the whole text matches.

    `param` is the request's field that errors about it name.
    """

    kind: Kind
    text: str
    param: str
