"""What a client sees of the pool: cards, errors, places in line, keep-alive."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from localchat.api.app import create_app

from .conftest import Open
from .house import House, Script, held_in_line, registry_of, spec_of, within

Visit = Callable[..., contextlib.AbstractAsyncContextManager[tuple[House, httpx.AsyncClient]]]


@pytest.fixture
def visit(open_house: Open) -> Visit:
    """A house, and a client of it without a socket between them."""

    @contextlib.asynccontextmanager
    async def enter(**options: Any) -> AsyncIterator[tuple[House, httpx.AsyncClient]]:
        house = open_house(**options)
        transport = httpx.ASGITransport(create_app(house.pool, house.launcher.settings))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield house, client

    return enter


async def cards(client: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    return {card["id"]: card for card in (await client.get("/v1/models")).raise_for_status().json()["data"]}


def tokens(model: str) -> dict[str, str]:
    return {"model": model, "text": "Hi"}


async def test_card_tells_license_state_context_and_quant(visit: Visit) -> None:
    commercial = {"use": "no", "why": "NonCommercial"}
    registry = registry_of(spec_of("a", license="CC-BY-NC-4.0", commercial=commercial), spec_of("b"))
    async with visit(registry=registry) as (_house, client):
        card = (await cards(client))["a"]
        assert (card["license"], card["commercial"], card["state"]) == ("CC-BY-NC-4.0", "no", "unloaded")
        assert (card["context_length"], card["max_model_len"], card["quant"]) == (64, 64, "Q4_0")
        other = (await client.get("/v1/models/b")).json()
        assert (other["context_length"], other["quant"], other["license"]) == (None, None, None)
        assert (other["commercial"], other["state"]) == ("unknown", "unloaded")


async def test_card_tells_why_a_model_could_not_be_loaded(visit: Visit) -> None:
    async with visit(script=Script(paths={"a": "fails"})) as (_house, client):
        reply = await within(client.post("/v1/tokenize", json=tokens("a")))
        assert (reply.status_code, reply.json()["error"]["code"]) == (500, "engine_error")
        card = (await cards(client))["a"]
        assert card["state"] == "failed"
        assert "unknown architecture" in card["error"]


async def test_alias_has_a_card_that_names_its_model(visit: Visit) -> None:
    async with visit(alias=["gpt-4o-mini=a"]) as (_house, client):
        assert (await cards(client))["gpt-4o-mini"]["alias_of"] == "a"
        assert (await client.get("/v1/models/gpt-4o-mini")).json()["alias_of"] == "a"
        assert (await within(client.post("/v1/tokenize", json=tokens("gpt-4o-mini")))).json()["model"] == "a"


async def test_models_are_listed_while_one_of_them_never_loads(visit: Visit) -> None:
    async with visit(script=Script(paths={"b": "never loads"})) as (house, client):
        with held_in_line(house.entry("b")):
            entry = house.entry("b")  # which is loading also before it fetches
            await house.reaches(lambda: entry.launch is not None and entry.state == "loading")
            assert (await cards(client))["b"]["state"] == "loading"
            assert (await within(client.post("/v1/tokenize", json=tokens("a")))).status_code == 200


@pytest.mark.parametrize(
    ("options", "model", "status", "code"),
    [
        ({"on_demand": False}, "b", 404, "model_not_found"),
        ({}, "hf:owner/repo/a.gguf", 404, "model_not_found"),
        ({"registry": registry_of(spec_of("a"), spec_of("b", unsupported="no graph"))}, "b", 400, "unsupported_model"),
        ({"commercial": True}, "b", 403, "license_forbids"),
        ({"script": Script(needs={"b": 1 << 40})}, "b", 507, "does_not_fit"),
        ({"load_queue": 0}, "b", 503, "queue_full"),
    ],
)
async def test_model_that_cannot_be_had_is_an_error_of_its_own(
    visit: Visit, options: dict[str, Any], model: str, status: int, code: str
) -> None:
    async with visit(**options) as (_house, client):
        reply = await within(client.post("/v1/tokenize", json=tokens(model)))
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)


async def test_load_that_takes_too_long_is_an_error_with_a_time_to_try_again(visit: Visit) -> None:
    async with visit(script=Script(paths={"b": "never loads"}), load_seconds=33) as (house, client):
        asked = asyncio.ensure_future(client.post("/v1/tokenize", json=tokens("b")))
        await house.reaches(lambda: house.clock.set(33))
        house.clock.ring(33)
        reply = await within(asked)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "model_loading")
    assert reply.headers["retry-after"]


@pytest.mark.parametrize("value", ["soon", True, "NaN", [], "-5m"])
async def test_keep_alive_that_is_no_duration_is_refused(visit: Visit, value: Any) -> None:
    body = {"model": "a", "prompt": "say hello", "keep_alive": value}
    async with visit() as (_house, client):
        reply = await client.post("/v1/completions", json=body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "keep_alive")


@pytest.mark.parametrize(("value", "seconds"), [("10m", 600), (5, 5), (0, 0), (2.5, 2.5), (None, 900)])
async def test_keep_alive_of_a_request_counts_from_its_end(visit: Visit, value: Any, seconds: float) -> None:
    body = {"model": "a", "prompt": "say hello", "keep_alive": value}
    async with visit(keep_alive=900) as (house, client):
        reply = await within(client.post("/v1/completions", json=body))
        assert reply.json()["choices"][0]["text"] == "hello"
        assert house.clock.set(seconds)


async def test_client_that_leaves_while_it_waits_gives_its_place_back(visit: Visit) -> None:
    async with visit(script=Script(paths={"b": "never loads"})) as (house, _client):
        app = create_app(house.pool, house.launcher.settings)
        gone, sent = asyncio.Event(), list[Any]()
        body = iter([b'{"model": "b", "text": "Hi"}'])

        async def receive() -> dict[str, Any]:
            if chunk := next(body, None):
                return {"type": "http.request", "body": chunk, "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/v1/tokenize", "headers": headers, "query_string": b""}
        answering = asyncio.ensure_future(app(scope, receive, send))
        await house.reaches(lambda: house.entry("b").waiting == 1)
        gone.set()
        await within(answering)
        assert house.entry("b").waiting == 0
        assert sent[0]["status"] == 499


async def test_server_is_ready_when_those_named_at_the_start_are_or_rest(visit: Visit, tmp_path: Path) -> None:
    async with visit() as (house, client):
        assert (await client.get("/ready")).status_code == 503
        await within(house.touch("a", keep_alive=5))
        assert (await client.get("/ready")).json() == {"status": "ready", "models": {"a": "ready"}}
        house.clock.ring(5)
        reply = await client.get("/ready")
    assert (reply.status_code, reply.json()["models"]) == (200, {"a": "unloaded"})
