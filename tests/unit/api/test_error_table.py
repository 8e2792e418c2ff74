"""Every error of the tree becomes a status and OpenAI's error object; pydantic's complaints become one sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from localchat import errors as e
from localchat.api.errors import TABLE, body, describe, explain, response
from localchat.api.schemas.chat import ChatRequest
from localchat.api.schemas.completions import CompletionRequest
from localchat.api.schemas.lists import PageQuery

TREE = list(e.BY_NAME.values())


@pytest.mark.parametrize("cls", TREE, ids=lambda cls: cls.__name__)
def test_every_error_has_a_status_and_the_shape_of_openai(cls: type[e.LocalchatError]) -> None:
    status, content = describe(cls("what is wrong", param="field"))
    assert set(content) == {"error"}
    assert content["error"]["message"] == "what is wrong"
    assert content["error"]["param"] == "field"
    assert content["error"]["type"] in ("invalid_request_error", "overloaded_error", "server_error")
    if issubclass(cls, e.RequestError | e.TemplateError):
        assert 400 <= status < 500
    elif issubclass(cls, e.Overloaded):
        assert status == 503
    else:
        assert status in (500, 502, 507)


def test_every_row_of_the_table_is_an_error_of_the_tree() -> None:
    assert set(TABLE) <= set(TREE)


def test_every_error_whose_row_is_its_own_has_a_code() -> None:
    codes = [code for _, _, code in TABLE.values() if code is not None]
    assert len(codes) == len(set(codes)) == len(TABLE) - 1
    assert TABLE[e.RequestError][2] is None  # only its children are raised


def test_error_without_a_row_takes_its_nearest_ancestors() -> None:
    class Odd(e.ContextLengthExceeded):
        pass

    assert describe(Odd("x")) == describe(e.ContextLengthExceeded("x"))


@pytest.mark.parametrize("cls", [cls for cls in TREE if issubclass(cls, e.Overloaded)], ids=lambda cls: cls.__name__)
def test_overload_says_when_to_try_again(cls: type[e.Overloaded]) -> None:
    assert response(cls("later")).headers["retry-after"] == str(cls.retry_after)


def test_other_errors_do_not_say_when_to_try_again() -> None:
    assert "retry-after" not in response(e.WorkerDied("gone")).headers


def test_missing_key_says_which_kind_is_wanted() -> None:
    assert response(e.InvalidApiKey("no")).headers["www-authenticate"] == "Bearer"


def test_message_with_half_a_character_can_be_sent() -> None:
    sent = json.loads(bytes(response(e.InvalidRequest("not \ud800", param="\udfff")).body))
    assert sent == body("not \\ud800", "invalid_request_error", "\\udfff", "invalid_value")


def explained(schema: type[BaseModel], given: Any) -> e.InvalidRequest:
    with pytest.raises(ValidationError) as caught:
        schema.model_validate(given)
    # FastAPI puts where the value was in front.
    return explain([{**error, "loc": ("body", *error["loc"])} for error in caught.value.errors()])


HI = [{"role": "user", "content": "Hi"}]
NAMELESS = {"type": "json_schema", "json_schema": {"schema": {}}}


def said(role: str, content: Any) -> Any:
    return {"model": "a", "messages": [{"role": role, "name": "a", "content": content}]}


@pytest.mark.parametrize(
    ("given", "param", "message"),
    [
        ({"model": "a"}, "messages", "messages is missing"),
        ({"model": "a", "messages": HI, "n": "2"}, "n", "n: input should be a valid integer, not '2'"),
        ({"model": "a", "messages": [{"role": "user", "content": 5}]}, "messages[0].content", "not 5"),
        ({"model": "a", "messages": [{"role": "user"}]}, "messages[0].content", "messages[0].content is missing"),
        ({"model": "a", "messages": [{"content": "Hi"}]}, "messages[0]", "'role'"),
        (said("assistant", [{"type": "text"}]), "messages[0].content[0].text", "is missing"),
        (said("assistant", [{"type": "refusal"}]), "messages[0].content[0].refusal", "is missing"),
        ({"model": "a", "messages": HI, "response_format": NAMELESS}, "response_format.json_schema.name", "is missing"),
        (said("function", 5), "messages[0].content", "not 5"),
        ({"model": "a", "messages": HI, "tools": [{"type": "function"}]}, "tools[0].function", "is missing"),
        ({"model": "a", "messages": HI, "stop": [1]}, "stop[0]", "stop[0]: input should be a valid string, not 1"),
        ({"model": "a", "messages": HI, "stop": "\ud800"}, "stop", "half of a surrogate pair"),
    ],
)
def test_complaint_of_pydantic_becomes_a_sentence(given: Any, param: str | None, message: str) -> None:
    error = explained(ChatRequest, given)
    assert error.param == param
    assert message in error.message


def test_of_a_union_the_member_that_understood_most_is_heard() -> None:
    assert explained(CompletionRequest, {"model": "a", "prompt": ["a", 5]}).param == "prompt[1]"


def test_long_values_are_not_quoted() -> None:
    error = explained(ChatRequest, {"model": "a", "messages": HI, "n": "2" * 100})
    assert error.message == "n: input should be a valid integer"


def test_unknown_part_of_an_address_is_an_error_of_its_own() -> None:
    error = explained(PageQuery, {"speed": "1"})
    assert isinstance(error, e.UnsupportedField)
    assert (error.param, error.message) == ("speed", "speed is not a field of this request; see docs/api.md")


@pytest.mark.parametrize("kind", ["missing", "model_attributes_type"])
def test_complaint_about_the_whole_body_names_no_field(kind: str) -> None:
    error = explain([{"type": kind, "loc": ("body",), "msg": "", "input": None}])
    assert error.param is None
    assert "Content-Type: application/json" in error.message
