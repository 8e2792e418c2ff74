"""Grammars of calls, in llguidance's Lark."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

MAX_CALLS = 8
"""Calls that a grammar lets one answer hold; a model that must call would often go on for ever."""

WHITE = "/[ \\n]{0,2}/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """Calls as a grammar in llguidance's Lark. An answer that must be calls is a `start`.

    In one that may have some, `rest` is what comes behind a trigger; all of the answer, where there are no `triggers`.
    In both, @0, @1 and so on stand for the schemas of the tools' arguments.
    """

    start: str
    rest: str
    triggers: Sequence[str]


def quoted(words: str) -> str:
    """Words as a grammar has them."""
    return json.dumps(words, ensure_ascii=False)


def further(rule: str, *, parallel: bool) -> str:
    """More calls behind the first, where there may be several."""
    return f" ({rule}){{0,{MAX_CALLS - 1}}}" if parallel else ""


def split_tags(grammar: str, tags: Sequence[str]) -> str:
    """A grammar in which each tag is a text of its own, so that it can be made a token."""
    if not tags:
        return grammar
    cut = re.compile("(" + "|".join(map(re.escape, sorted(tags, key=len, reverse=True))) + ")")

    def split(found: re.Match[str]) -> str:
        parts = [part for part in cut.split(json.loads(found[0])) if part]
        return " ".join(map(quoted, parts)) if len(parts) > 1 else found[0]

    return re.sub(r'"(?:[^"\\]|\\.)*"', split, grammar)
