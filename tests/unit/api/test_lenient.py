"""Every endpoint that takes a body knows its fields, and says what it does not know."""

from __future__ import annotations

from typing import Any

import pytest

from request_parts import takers

from .conftest import Connect

BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Hi"}]},
    "/v1/chat/completions/input_tokens": {"messages": [{"role": "user", "content": "Hi"}]},
    "/v1/chat/completions/{completion_id}": {"metadata": {}},
    "/v1/responses": {"input": "Hi"},
    "/v1/responses/input_tokens": {"input": "Hi"},
    "/v1/completions": {"prompt": "Hi"},
    "/v1/embeddings": {"input": "Hi"},
    "/v1/tokenize": {"text": "Hi"},
    "/v1/detokenize": {"tokens": [1]},
}
"""The least that each takes, besides the model."""


def body_of(path: str) -> dict[str, Any]:
    return BODIES[path] if path.endswith("}") else {"model": "nobody", **BODIES[path]}


def test_every_endpoint_with_a_body_is_tested() -> None:
    assert {route.path for route in takers()} == set(BODIES)


@pytest.mark.parametrize("path", BODIES)
async def test_field_that_nobody_documents_is_refused_by_name(connect: Connect, path: str) -> None:
    async with connect() as client:
        reply = await client.post(path, json={**body_of(path), "surprise": 1})
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert (error["code"], error["param"]) == ("unsupported_parameter", "surprise")


@pytest.mark.parametrize("path", BODIES)
async def test_lenient_server_goes_on_without_it(connect: Connect, path: str) -> None:
    async with connect(lenient=True) as client:
        reply = await client.post(path, json={**body_of(path), "surprise": 1})
    assert reply.status_code == 404  # there is no such model, or nothing kept
    assert "nobody" in reply.text or "completion_id" in reply.text
