"""Whose request it is, and in which lane it runs: by key and by header."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI

from localchat.api.dependencies import Who
from localchat.api.keys import Caller, Keys
from localchat.lane import Lane
from localchat.settings import load_settings

from .conftest import Connect, MakeApp

SETTINGS = {"api_key": ["sesame", "barley"], "background_api_key": ["rye"]}


def with_route(app: FastAPI) -> FastAPI:
    """The application, and a path that says who asks."""

    @app.get("/who")
    async def tell(who: Who) -> list[str]:
        return [who.name, who.lane.value]

    return app


async def ask(connect: Connect, app: FastAPI, key: str = "", priority: str | None = None) -> Any:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    if priority is not None:
        headers["X-Priority"] = priority
    async with connect(app=with_route(app)) as client:
        return (await client.get("/who", headers=headers)).json()


@pytest.mark.parametrize(
    ("key", "caller"),
    [
        ("sesame", Caller("1", Lane.INTERACTIVE)),
        ("barley", Caller("2", Lane.INTERACTIVE)),
        ("rye", Caller("3", Lane.BACKGROUND)),
        ("oats", None),
        ("", None),
        ("ses", None),
        ("Sesame", None),
    ],
)
def test_each_key_is_somebodys(key: str, caller: Caller | None) -> None:
    assert Keys(load_settings(**SETTINGS)).caller(key) == caller


def test_key_of_both_lanes_is_bound_to_the_background() -> None:
    keys = Keys(load_settings(api_key=["rye"], background_api_key=["rye"]))
    caller = keys.caller("rye")
    assert caller is not None
    assert caller.lane is Lane.BACKGROUND


def test_without_keys_none_is_asked_for() -> None:
    assert not Keys(load_settings())
    assert Keys(load_settings(background_api_key=["rye"]))


async def test_without_keys_everybody_is_one_caller(connect: Connect, make_app: MakeApp) -> None:
    assert await ask(connect, make_app()) == ["", "interactive"]
    assert await ask(connect, make_app(), "whatever", "background") == ["", "background"]


@pytest.mark.parametrize(
    ("key", "priority", "answer"),
    [
        ("barley", None, ["2", "interactive"]),
        ("barley", "interactive", ["2", "interactive"]),
        ("barley", "background", ["2", "background"]),
        ("barley", " Background ", ["2", "background"]),
        ("rye", None, ["3", "background"]),
        ("rye", "interactive", ["3", "background"]),
    ],
)
async def test_key_or_header_puts_a_request_in_the_background(
    connect: Connect, make_app: MakeApp, key: str, priority: str | None, answer: list[str]
) -> None:
    assert await ask(connect, make_app(**SETTINGS), key, priority) == answer


@pytest.mark.parametrize("priority", ["", "high", "background, interactive"])
async def test_unknown_priority_is_refused(connect: Connect, make_app: MakeApp, priority: str) -> None:
    error = (await ask(connect, make_app(), priority=priority))["error"]
    assert (error["param"], error["code"]) == ("X-Priority", "invalid_value")
    assert "interactive or background" in error["message"]


async def test_wrong_key_is_refused_where_there_are_several(connect: Connect, make_app: MakeApp) -> None:
    assert (await ask(connect, make_app(**SETTINGS), "oats"))["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_header_is_read_and_documented_where_text_is_made(connect: Connect, path: str) -> None:
    async with connect() as client:
        reply = await client.post(path, headers={"X-Priority": "high"}, json={"model": "m", "prompt": "Hi"})
        document = (await client.get("/openapi.json")).json()
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "X-Priority"
    parameters = document["paths"][path]["post"]["parameters"]
    assert [(p["in"], p["name"].lower()) for p in parameters] == [("header", "x-priority")]
