"""What messages are made of: words, and parts that hold words."""

from __future__ import annotations

from typing import Any

import pytest

from localchat.api.schemas.chat import ChatRequest
from localchat.api.schemas.media import MEDIA

from .conftest import Connect


def request(content: Any, role: str = "user") -> ChatRequest:
    return ChatRequest.model_validate({"model": "a", "messages": [{"role": role, "content": content}]})


def test_parts_are_joined() -> None:
    body = request([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])
    assert body.messages[0].to_message().content == "ab"


def test_what_a_model_declined_is_part_of_what_it_said() -> None:
    body = request([{"type": "text", "text": "No: "}, {"type": "refusal", "refusal": "I will not."}], "assistant")
    assert body.messages[0].to_message().content == "No: I will not."


@pytest.mark.parametrize("kind", sorted(MEDIA))
@pytest.mark.parametrize("role", ["user", "system", "developer", "assistant", "tool", "function"])
async def test_parts_that_are_no_words_are_refused_by_name_and_place(connect: Connect, kind: str, role: str) -> None:
    turn = {"role": role, "content": [{"type": "text", "text": "a"}, {"type": kind, kind: {}}]}
    async with connect() as client:
        body = {"model": "a", "messages": [{"role": "user", "content": "Hi"}, turn]}
        reply = await client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 400
    assert reply.json()["error"] == {
        "message": f"messages[1].content[1]: {kind} parts are not supported; send text",
        "type": "invalid_request_error",
        "param": "messages[1].content[1]",
        "code": "unsupported_parameter",
    }


def test_breakpoint_of_a_cache_is_listed_as_ignored() -> None:
    body = request([{"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}])
    assert list(body.ignored()) == ["messages[0].content[0].prompt_cache_breakpoint"]
