"""What every request passes: Host, key, size; and the id that every response carries."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator

import pytest
from fastapi import Response

from .conftest import Connect, MakeApp

KEY = {"authorization": "Bearer sesame"}
PREFLIGHT = {
    "origin": "https://page.example",
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type",
}


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST", "localhost.", "127.0.0.1", "192.168.1.20", "[::1]", "[fe80::1]", socket.gethostname()],
)
@pytest.mark.parametrize("port", ["", ":8000"])
async def test_names_of_this_machine_and_bare_addresses_are_answered(connect: Connect, host: str, port: str) -> None:
    async with connect() as client:
        reply = await client.get("/v1/models", headers={"host": host + port})
    assert reply.status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "[::1", "@"]
)
async def test_other_names_are_refused(connect: Connect, host: str) -> None:
    async with connect() as client:
        reply = await client.get("/v1/models", headers={"host": host})
    assert reply.status_code == 403
    assert reply.json()["error"]["code"] == "host_not_allowed"
    assert "--allowed-hosts" in reply.json()["error"]["message"]
    assert reply.headers["x-request-id"]


async def test_health_is_not_exempt_from_the_host_check(connect: Connect) -> None:
    async with connect("evil.example") as client:
        assert (await client.get("/health")).status_code == 403


@pytest.mark.parametrize("allowed", [["Models.Lan"], ["*"]])
async def test_names_can_be_allowed(connect: Connect, allowed: list[str]) -> None:
    async with connect("models.lan", allowed_hosts=allowed) as client:
        assert (await client.get("/v1/models")).status_code == 200


async def test_with_a_key_any_name_will_do(connect: Connect) -> None:
    async with connect("models.lan", api_key="sesame") as client:
        assert (await client.get("/v1/models", headers=KEY)).status_code == 200


@pytest.mark.parametrize(
    "value", [None, "", "sesame", "Bearer", "Bearer barley", "Bearer sesame2", "Basic sesame", "Bearer ses ame"]
)
async def test_wrong_key_is_refused(connect: Connect, value: str | None) -> None:
    async with connect(api_key="sesame") as client:
        reply = await client.get("/v1/models", headers={} if value is None else {"authorization": value})
    assert reply.status_code == 401
    assert reply.json()["error"]["code"] == "invalid_api_key"
    assert reply.headers["www-authenticate"] == "Bearer"


async def test_wrong_key_of_bytes_beyond_ascii_is_refused(connect: Connect) -> None:
    async with connect(api_key="sesame") as client:
        reply = await client.get("/v1/models", headers={b"authorization": b"Bearer \xff\xfe"})
    assert reply.status_code == 401


@pytest.mark.parametrize("value", ["Bearer sesame", "bearer sesame", "BEARER  sesame "])
async def test_right_key_is_let_in(connect: Connect, value: str) -> None:
    async with connect(api_key="sesame") as client:
        assert (await client.get("/v1/models", headers={"authorization": value})).status_code == 200


@pytest.mark.parametrize("path", ["/health", "/ready", "/docs", "/openapi.json"])
async def test_paths_that_tell_nothing_need_no_key(connect: Connect, path: str) -> None:
    async with connect(api_key="sesame") as client:
        assert (await client.get(path)).status_code == 200


async def test_page_at_docs_gets_its_parts_from_here_and_needs_no_key(connect: Connect) -> None:
    async with connect(api_key="sesame") as client:
        page = (await client.get("/docs")).text
        assert "//cdn." not in page
        parts = re.findall(r'(?:src|href)="([^"]+)"', page)
        assert parts
        assert {(await client.get(part)).status_code for part in parts} == {200}


@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions", "/nothing", "/health/", "/docsx", "//health"])
async def test_every_other_path_needs_a_key(connect: Connect, path: str) -> None:
    async with connect(api_key="sesame") as client:
        assert (await client.get(path)).status_code == 401


async def test_body_over_the_limit_is_refused_by_its_length_unread(connect: Connect) -> None:
    async def never() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    async with connect(max_body_mb=1) as client:
        reply = await client.post("/v1/tokenize", content=never(), headers={"content-length": str(2**20 + 1)})
    assert reply.status_code == 413
    assert reply.json()["error"]["code"] == "body_too_large"
    assert "--max-body-mb" in reply.json()["error"]["message"]


async def test_body_over_the_limit_is_read_no_further(connect: Connect) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 2**16
            yield b" " * 2**16

    async with connect(max_body_mb=1) as client:
        reply = await client.post("/v1/tokenize", content=endless(), headers={"content-type": "application/json"})
    assert reply.status_code == 413
    assert reply.json()["error"]["code"] == "body_too_large"
    assert sent == 2**20 + 2**16


async def test_body_of_just_the_limit_is_read(connect: Connect) -> None:
    body = b'{"model": "a", "text": "b"}'.ljust(2**20)
    async with connect(max_body_mb=1) as client:
        reply = await client.post("/v1/tokenize", content=body, headers={"content-type": "application/json"})
    assert reply.json()["error"]["code"] == "model_not_found"


async def test_request_id_is_made_or_kept(connect: Connect) -> None:
    async with connect() as client:
        made = [(await client.get("/health")).headers["x-request-id"] for _ in range(2)]
        kept = await client.get("/nothing", headers={"x-request-id": "mine"})
        cut = await client.get("/health", headers={"x-request-id": "a" * 1000})
    assert made[0] != made[1]
    assert all(id.startswith("req_") for id in made)
    assert kept.headers["x-request-id"] == "mine"
    assert cut.headers["x-request-id"] == "a" * 200


async def test_bug_is_an_openai_error_with_the_request_id(
    connect: Connect, make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app()

    @app.get("/bug")
    def bug() -> None:
        raise ZeroDivisionError("secret words")

    async with connect(app=app) as client:
        reply = await client.get("/bug", headers={"x-request-id": "mine"})
    assert reply.status_code == 500
    assert reply.json()["error"]["type"] == "server_error"
    assert "secret words" not in reply.text
    assert reply.headers["x-request-id"] == "mine"
    assert "mine" in caplog.text
    assert "ZeroDivisionError: secret words" in caplog.text


async def test_bug_after_the_response_began_is_not_answered_twice(connect: Connect, make_app: MakeApp) -> None:
    app = make_app()

    class Breaks(Response):
        async def __call__(self, scope: object, receive: object, send: object) -> None:
            await super().__call__(scope, receive, send)  # type: ignore[arg-type]
            raise ZeroDivisionError

    app.add_api_route("/bug", lambda: Breaks("half"), response_class=Breaks)
    async with connect(app=app) as client:
        with pytest.raises(ZeroDivisionError):
            await client.get("/bug")


async def test_browser_may_ask_beforehand_without_a_key(connect: Connect) -> None:
    async with connect(api_key="sesame", cors_origins=["https://page.example"]) as client:
        reply = await client.options("/v1/chat/completions", headers=PREFLIGHT)
    assert reply.status_code == 200
    assert reply.headers["access-control-allow-origin"] == "https://page.example"
    assert "authorization" in reply.headers["access-control-allow-headers"]


async def test_allowed_page_can_read_replies_and_refusals(connect: Connect) -> None:
    origin = {"origin": "https://page.example"}
    async with connect(api_key="sesame", cors_origins=["https://page.example"]) as client:
        for headers, status in ((origin | KEY, 200), (origin, 401)):
            reply = await client.get("/v1/models", headers=headers)
            assert reply.status_code == status
            assert reply.headers["access-control-allow-origin"] == "https://page.example"
            assert "x-request-id" in reply.headers["access-control-expose-headers"].lower()


async def test_other_pages_are_not_let_in(connect: Connect) -> None:
    origin = {"origin": "https://evil.example"}
    async with connect(cors_origins=["https://page.example"]) as client:
        assert "access-control-allow-origin" not in (await client.get("/v1/models", headers=origin)).headers
        assert (await client.options("/v1/models", headers=PREFLIGHT | origin)).status_code == 400
    async with connect() as client:
        assert "access-control-allow-origin" not in (await client.get("/v1/models", headers=origin)).headers
