"""GBNF becomes Lark, or is refused in one kind of error."""

from __future__ import annotations

import pytest

from localchat.llama.gbnf import MOST_RULES, lark_from_gbnf


def test_rules_become_rules() -> None:
    lark = lark_from_gbnf('root ::= some-rule "x"+\nsome-rule ::= [a-z] | root')
    assert "start: some_rule" in lark
    assert "some_rule: /[a-z]/" in lark


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (r'root ::= "\u00e9"', 'start: "é"'),
        (r'root ::= "\u0041\u0022"', r'start: "\x41\x22"'),
        (r"root ::= [\U0001F600-\U0001F64F]", "start: /[😀-🙏]/"),
        (r'root ::= "\\u0041"', r'start: "\\u0041"'),
        (r'root ::= "\x41\n"', r'start: "\x41\n"'),
    ],
)
def test_escapes_are_those_characters(given: str, made: str) -> None:
    assert made in lark_from_gbnf(given)


@pytest.mark.parametrize(
    "given",
    [
        "",
        'a ::= "b"',
        "root ::= missing",
        "root ::= [",
        'root ::= "',
        'root ::= "\\',
        "root",
        'root ::= "a"{x}',
        "root ::= " + "(" * 5000,
        'root ::= a-b a_b\na-b ::= "x" root\na_b ::= "y" root',
        'root ::= "a"\n' * (MOST_RULES + 1),
    ],
)
def test_what_is_none_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        lark_from_gbnf(given)
