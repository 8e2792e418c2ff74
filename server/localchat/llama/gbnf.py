"""Grammars in llama.cpp's GBNF as Lark."""

from __future__ import annotations

import re

from llguidance.gbnf_to_lark import gbnf_to_lark

MOST_RULES = 1000
_ESCAPED = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|.)", re.DOTALL)


def lark_from_gbnf(text: str) -> str:
    """A grammar in Lark. Raises ValueError for what is not GBNF."""
    rules = text.count("::=")
    if rules > MOST_RULES:  # the time that it takes grows with their square
        raise ValueError(f"{rules} rules are more than {MOST_RULES}")
    try:
        return str(gbnf_to_lark(_ESCAPED.sub(_character, text)))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except Exception as error:
        raise ValueError(f"it is not GBNF: {error}") from None


def _character(found: re.Match[str]) -> str:
    r"""A character instead of its \u or \U, which the converter gets wrong."""
    code = int(found[1] or found[2] or "0", 16)
    if not code or code > 0x10FFFF or 0xD800 <= code < 0xE000:
        return found[0]
    return chr(code) if code >= 0xA0 else f"\\x{code:02x}"
