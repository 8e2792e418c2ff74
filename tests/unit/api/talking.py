"""An application over scripted workers, whose model does what the last message says; and what it keeps."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from localchat.api.app import create_app
from localchat.chat.model import Manner
from localchat.chat.template import ChatTemplate
from localchat.store import Store, open_store
from unit.pool.house import House, Script

Json = dict[str, Any]

TEMPLATE = r"""{% set last = messages[-1]['content'].split('\n\n')[-1] -%}
{% if last.endswith('recite') -%}
say {% for m in messages %}[{{ m.role }}: {{ m.content }}]{% endfor %}
{%- else %}{{ last }}{% endif %}"""
"""`recite` makes the model say all that was said; see `scripted_worker` for what else it can be told."""


def talkative() -> Script:
    return Script(manner=Manner(template=ChatTemplate(TEMPLATE)))


class Talking:
    """A house with a door: clients of it, in the name of whoever they are."""

    def __init__(self, house: House, app: FastAPI, store: Store | None) -> None:
        self.house = house
        self.app = app
        self.store = store

    def client(self, key: str | None = None) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        transport = httpx.ASGITransport(self.app)
        return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers, timeout=30)


@contextlib.asynccontextmanager
async def talking(open_house: Callable[..., House], path: Path, **settings: Any) -> AsyncIterator[Talking]:
    """A server in all but sockets."""
    given = {"store": path / "store.sqlite3", "script": talkative(), **settings}
    house = open_house(**given)
    store = open_store(house.launcher.settings)
    app = create_app(house.pool, house.launcher.settings, store)
    try:
        yield Talking(house, app, store)
    finally:
        await house.pool.close()
        await app.state.runs.close()
        if store:
            await store.close()


def events_of(text: str) -> list[Json]:
    """The events of a stream that ended well."""
    *frames, done, rest = text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(frame[frame.index("data: ") + 6 :]) for frame in frames if not frame.startswith(":")]


def text_of(response: Json) -> str:
    return "".join(part["text"] for item in response["output"] if item["type"] == "message" for part in item["content"])


class Listener:
    """A client that reads a stream piece by piece, and may leave."""

    def __init__(self, app: FastAPI, method: str, path: str, body: Any = None, query: str = "") -> None:
        import asyncio

        self._gone = asyncio.Event()
        self._body = None if body is None else json.dumps(body).encode()
        self.sent = b""
        self.status = 0
        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": headers,
            "query_string": query.encode(),
            "state": {},
        }
        self.answering = asyncio.ensure_future(app(scope, self._receive, self._send))

    def leave(self) -> None:
        self._gone.set()

    async def _receive(self) -> Json:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.status = message.get("status", self.status)
        self.sent += message.get("body", b"")
