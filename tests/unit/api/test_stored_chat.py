"""Chat completions that are kept, over HTTP, with a model that does as it is told."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from unit.pool.conftest import open_house  # noqa: F401 - a fixture
from unit.pool.house import within

from .talking import Json, Talking, events_of, talking

Visit = Callable[..., contextlib.AbstractAsyncContextManager[tuple[Talking, httpx.AsyncClient]]]

PATH = "/v1/chat/completions"


@pytest.fixture
def visit(open_house: Any, tmp_path: Path) -> Visit:  # noqa: F811
    """A server, and a client of it."""

    @contextlib.asynccontextmanager
    async def enter(**settings: Any) -> AsyncIterator[tuple[Talking, httpx.AsyncClient]]:
        async with talking(open_house, tmp_path, **settings) as there, there.client() as client:
            yield there, client

    return enter


def asking(text: str = "say hello", **fields: Any) -> Json:
    return {"model": "a", "messages": [{"role": "user", "content": text}], "store": True, **fields}


async def post(client: httpx.AsyncClient, text: str = "say hello", **fields: Any) -> Json:
    reply = await within(client.post(PATH, json=asking(text, **fields)))
    assert reply.status_code == 200, reply.text
    answer: Json = reply.json()
    return answer


async def get(client: httpx.AsyncClient, path: str = "") -> Json:
    reply = await within(client.get(PATH + path))
    assert reply.status_code == 200, reply.text
    answer: Json = reply.json()
    return answer


async def test_kept_answer_is_the_one_that_was_sent(visit: Visit) -> None:
    async with visit() as (_, client):
        sent = await post(client, metadata={"k": "v"}, n=2)
        assert await get(client, f"/{sent['id']}") == {**sent, "metadata": {"k": "v"}}


async def test_streamed_answer_is_kept_whole_before_its_stream_ends(visit: Visit) -> None:
    async with visit() as (_, client):
        reply = await within(client.post(PATH, json=asking(stream=True)))
        kept = await get(client, f"/{events_of(reply.text)[0]['id']}")
        assert kept["choices"][0]["message"]["content"] == "hello"
        assert kept["usage"]


async def test_nothing_is_kept_unasked(visit: Visit) -> None:
    async with visit() as (_, client):
        reply = await within(client.post(PATH, json=asking(store=None, metadata={"k": "v"})))
        assert reply.headers["x-localchat-ignored"] == "metadata"
        assert (await client.get(f"{PATH}/{reply.json()['id']}")).status_code == 404
        assert (await get(client))["data"] == []


async def test_answer_that_failed_is_not_kept(visit: Visit) -> None:
    async with visit() as (_, client):
        assert (await within(client.post(PATH, json=asking("die half")))).status_code == 500
        await within(client.post(PATH, json=asking("die half", stream=True)))
        assert (await get(client))["data"] == []


async def test_list_is_filtered_and_paged(visit: Visit) -> None:
    async with visit() as (_, client):
        a = await post(client, metadata={"k": "1"})
        b = await post(client, model="b", metadata={"k": "1", "l": "2"})
        c = await post(client, metadata={"k": "2", "l": "2"})

        async def ids(query: str) -> tuple[list[str], bool]:
            page = await get(client, f"?{query}")
            assert page["object"] == "list"
            return [one["id"] for one in page["data"]], page["has_more"]

        assert await ids("") == ([a["id"], b["id"], c["id"]], False)
        assert await ids("order=desc&limit=2") == ([c["id"], b["id"]], True)
        assert await ids(f"order=desc&limit=2&after={b['id']}") == ([a["id"]], False)
        assert await ids("model=b") == ([b["id"]], False)
        assert await ids("metadata[k]=1") == ([a["id"], b["id"]], False)
        assert await ids("metadata[k]=1&metadata[l]=2") == ([b["id"]], False)
        assert await ids("metadata[k]=3") == ([], False)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("order=newest", "order"),
        ("after=chatcmpl-0", "after"),
        ("before=chatcmpl-0", "before"),
        ("metadata=k", "metadata"),
    ],
)
async def test_wrong_query_is_refused_by_name(visit: Visit, query: str, param: str) -> None:
    async with visit() as (_, client):
        reply = await client.get(f"{PATH}?{query}")
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


async def test_metadata_can_be_changed_and_nothing_else(visit: Visit) -> None:
    async with visit() as (_, client):
        sent = await post(client, metadata={"k": "v"})
        reply = await client.post(f"{PATH}/{sent['id']}", json={"metadata": {"l": "w"}})
        assert reply.json() == {**sent, "metadata": {"l": "w"}}
        assert await get(client, f"/{sent['id']}") == reply.json()
        for body, param in [({"model": "b"}, "metadata"), ({"metadata": None, "model": "b"}, "model")]:
            refused = await client.post(f"{PATH}/{sent['id']}", json=body)
            assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
        await client.post(f"{PATH}/{sent['id']}", json={"metadata": None})
        assert (await get(client, f"/{sent['id']}"))["metadata"] == {}


async def test_messages_are_those_that_were_sent(visit: Visit) -> None:
    async with visit() as (_, client):
        parts = [{"type": "text", "text": "say "}, {"type": "text", "text": "hello"}]
        messages = [{"role": "assistant", "content": "Yes?"}, {"role": "user", "content": parts}]
        sent = await post(client, messages=messages)
        page = await get(client, f"/{sent['id']}/messages")
        assert page["data"] == [
            {"id": f"{sent['id']}-0", "role": "assistant", "content": "Yes?", "content_parts": None},
            {"id": f"{sent['id']}-1", "role": "user", "content": "say hello", "content_parts": parts},
        ]
        last = await get(client, f"/{sent['id']}/messages?order=desc&limit=1")
        assert (last["data"], last["has_more"]) == (page["data"][1:], True)


async def test_deleted_answer_is_gone(visit: Visit) -> None:
    async with visit() as (_, client):
        sent = await post(client)
        reply = await client.delete(f"{PATH}/{sent['id']}")
        assert reply.json() == {"id": sent["id"], "object": "chat.completion.deleted", "deleted": True}
        for method, path in [("GET", ""), ("DELETE", ""), ("GET", "/messages")]:
            assert (await client.request(method, f"{PATH}/{sent['id']}{path}")).status_code == 404
        assert (await client.post(f"{PATH}/{sent['id']}", json={"metadata": None})).status_code == 404


async def test_each_key_has_its_own_answers(visit: Visit) -> None:
    async with visit(api_key=["ann", "bob"]) as (there, _), there.client("ann") as ann, there.client("bob") as bob:
        sent = await post(ann)
        assert (await get(bob))["data"] == []
        for method, path in [("GET", ""), ("DELETE", ""), ("GET", "/messages")]:
            assert (await bob.request(method, f"{PATH}/{sent['id']}{path}")).status_code == 404
        assert [one["id"] for one in (await get(ann))["data"]] == [sent["id"]]


async def test_server_that_keeps_nothing_says_so(visit: Visit) -> None:
    async with visit(store="off") as (_, client):
        refused = await client.post(PATH, json=asking())
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "store")
        assert (await within(client.post(PATH, json=asking(store=False)))).status_code == 200
        assert (await get(client))["data"] == []
        assert (await client.get(f"{PATH}/chatcmpl-1")).status_code == 404


async def test_response_is_no_chat_completion(visit: Visit) -> None:
    async with visit() as (_, client):
        response = (await within(client.post("/v1/responses", json={"model": "a", "input": "say x"}))).json()
        assert (await client.get(f"{PATH}/{response['id']}")).status_code == 404
        sent = await post(client)
        assert (await client.get(f"/v1/responses/{sent['id']}")).status_code == 404
