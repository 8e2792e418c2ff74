"""What the text of an answer must be."""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["json_schema", "lark", "gbnf", "regex"]


class Constraint(msgspec.Struct, frozen=True):
    """What the whole text matches: a JSON schema, llguidance's dialect of Lark, llama.cpp's GBNF, a regular expression.

    `param` is the request's field that errors about it name. In a grammar, @0 stands for the schema that the first of
    `parts` is, and so on; and each of `tags` that is a token without text of its own is meant as that token.
    With `triggers`, the text is free until one of them; from behind it the grammar holds, to its end or, if it
    `repeats`, until the next trigger.
    """

    kind: Kind
    text: str
    param: str
    parts: tuple[Constraint, ...] = ()
    tags: tuple[str, ...] = ()
    triggers: tuple[str, ...] = ()
    repeats: bool = False


class Thoughts(msgspec.Struct, frozen=True):
    """An answer may begin with thoughts, from `start` to `end`; constraints hold for what comes after them."""

    start: str
    end: str
    is_begun: bool = False
    """Whether the prompt ends with `start`."""
    budget: int | None = None
    """Tokens after which they are ended."""
