"""What a request asks of the answer's text becomes one constraint, and what of a schema asks for nothing is said."""

from __future__ import annotations

from typing import Any

import pytest

from localchat.api.dependencies import IGNORED_HEADER, ignored_header
from localchat.api.schemas.chat import ChatRequest
from localchat.api.schemas.completions import CompletionRequest
from localchat.api.schemas.structured import MOST_IGNORED
from localchat.constraint import Constraint
from localchat.errors import InvalidRequest


def chat(**fields: Any) -> ChatRequest:
    return ChatRequest.model_validate({"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields})


def completion(**fields: Any) -> CompletionRequest:
    return CompletionRequest.model_validate({"model": "m", "prompt": "Hi", **fields})


def by(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


@pytest.mark.parametrize("request_of", [chat, completion])
@pytest.mark.parametrize(
    ("fields", "constraint"),
    [
        ({}, None),
        ({"response_format": {"type": "text"}}, None),
        (
            {"response_format": {"type": "json_object"}},
            Constraint("json_schema", '{"type":"object"}', "response_format"),
        ),
        ({"response_format": by({"type": "null"})}, Constraint("json_schema", '{"type": "null"}', "response_format")),
        ({"grammar": 'root ::= "a"'}, Constraint("gbnf", 'root ::= "a"', "grammar")),
        ({"lark": 'start: "a"'}, Constraint("lark", 'start: "a"', "lark")),
        ({"regex": "a|b"}, Constraint("regex", "a|b", "regex")),
        ({"choice": ["a", 'b"']}, Constraint("lark", 'start: "a" | "b\\""', "choice")),
    ],
)
def test_fields_become_a_constraint(request_of: Any, fields: dict[str, Any], constraint: Constraint | None) -> None:
    assert request_of(**fields).constraint == constraint


@pytest.mark.parametrize("request_of", [chat, completion])
def test_two_constraints_are_one_too_many(request_of: Any) -> None:
    with pytest.raises(InvalidRequest, match="regex and response_format cannot hold at once"):
        _ = request_of(regex="a", response_format={"type": "json_object"}).constraint


def test_keywords_that_ask_for_nothing_are_listed() -> None:
    given = {"title": "T", "requried": ["a"], "properties": {"größe, a": {"type": "integer", "format": "int32"}}}
    header = ignored_header(chat(response_format=by(given), user="me"))[IGNORED_HEADER]
    assert header.split(",") == [
        "response_format.json_schema.schema#/properties/gr%C3%B6%C3%9Fe%2C%20a/format",
        "response_format.json_schema.schema#/requried",
        "user",
    ]


def test_no_more_keywords_are_listed_than_a_header_can_hold() -> None:
    given = {f"\r\nunknown{n}": 1 for n in range(100)}
    header = ignored_header(chat(response_format=by(given)))[IGNORED_HEADER]
    assert len(header.split(",")) == MOST_IGNORED
    assert header.isprintable()
    assert header.isascii()
