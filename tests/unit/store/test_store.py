"""What is kept comes back, to its owner alone, in order and page by page."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localchat.errors import InvalidRequest
from localchat.store import Found, Page, Store

from .conftest import OpenStore
from .things import item, thing


def ids(found: tuple[list[Found], bool] | None) -> tuple[list[str], bool]:
    assert found is not None
    return [one.id for one in found[0]], found[1]


def names(found: tuple[list[dict[str, Any]], bool] | None) -> tuple[list[str], bool]:
    assert found is not None
    return [one["id"] for one in found[0]], found[1]


async def test_what_was_kept_comes_back(open_: OpenStore) -> None:
    store = open_()
    body = {"id": "r", "text": "é\u0000🙂", "number": 1.5, "none": None}
    await store.put("", thing("r", body=body, outputs=("b", "a"), metadata={"k": "v"}, runner="1:2"))
    assert await store.get("", "response", "r") == Found("r", body, [item("b"), item("a")], {"k": "v"}, "1:2")


async def test_what_was_put_later_is_there_for_who_asks_next(open_: OpenStore) -> None:
    store = open_()
    store.put_later("", thing("r"))
    assert await store.get("", "response", "r")


async def test_putting_again_replaces(open_: OpenStore) -> None:
    store = open_()
    await store.put("", thing("r", inputs=("i",), runner="1:2", metadata={"k": "v"}))
    await store.put("", thing("r", inputs=("i",), outputs=("o",), body={"id": "r", "status": "completed"}))
    found = await store.get("", "response", "r")
    assert found == Found("r", {"id": "r", "status": "completed"}, [item("o")], {}, None)
    assert ids(await store.page("", "response", Page())) == (["r"], False)


async def test_nobody_finds_what_is_anothers(open_: OpenStore) -> None:
    store = open_()
    await store.put("ann", thing("r", inputs=("i",), outputs=("o",)))
    for other in ("bob", ""):
        assert await store.get(other, "response", "r") is None
        assert await store.inputs(other, "response", "r", Page()) is None
        assert await store.item(other, "o") is None
        assert await store.chain(other, "r") == ([], "r")
        assert await store.set_metadata(other, "response", "r", {"k": "v"}) is None
        assert await store.delete(other, "response", "r") is False
        assert ids(await store.page(other, "response", Page())) == ([], False)
        with pytest.raises(InvalidRequest):
            await store.page(other, "response", Page(after="r"))
    assert await store.get("ann", "response", "r") == Found("r", {"id": "r"}, [item("o")], {}, None)


async def test_kinds_are_kept_apart(open_: OpenStore) -> None:
    store = open_()
    await store.put("", thing("c", kind="chat.completion", outputs=("o",)))
    assert await store.get("", "response", "c") is None
    assert await store.item("", "o") is None
    assert await store.chain("", "c") == ([], "c")


async def test_deleted_object_is_gone_with_its_items(open_: OpenStore) -> None:
    store = open_()
    await store.put("", thing("r", inputs=("i",), outputs=("o",), metadata={"k": "v"}))
    assert await store.delete("", "response", "r")
    assert not await store.delete("", "response", "r")
    assert await store.get("", "response", "r") is None
    assert await store.item("", "o") is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(count=st.integers(0, 12), limit=st.integers(1, 5), newest_first=st.booleans())
async def test_pages_joined_are_the_whole_list(open_: OpenStore, count: int, limit: int, newest_first: bool) -> None:
    store, owner = open_(), str((count, limit, newest_first))
    wanted = [f"{owner}{n}" for n in range(count)]
    for name in wanted:
        await store.put(owner, thing(name, inputs=tuple(wanted)))

    async def walk(read: Any) -> list[str]:
        seen: list[str] = []
        after, more = None, True
        while more:
            page, more = names_of(await read(Page(limit, after, newest_first)))
            assert len(page) == limit or not more
            seen += page
            after = page[-1] if page else None
        return seen[::-1] if newest_first else seen

    def names_of(found: Any) -> tuple[list[str], bool]:
        return ([one["id"] if isinstance(one, dict) else one.id for one in found[0]], found[1])

    assert await walk(lambda page: store.page(owner, "response", page)) == wanted
    if wanted:
        assert await walk(lambda page: store.inputs(owner, "response", wanted[0], page)) == wanted


async def test_list_is_filtered_by_model_and_by_all_metadata_asked_for(open_: OpenStore) -> None:
    store = open_()
    for name, model, metadata in [
        ("a", "m", {"k": "1"}),
        ("b", "m", {"k": "1", "l": "2"}),
        ("c", "n", {"k": "1"}),
        ("d", "m", {"k": "2", "l": "1"}),
    ]:
        await store.put("", thing(name, model=model, metadata=metadata))
    assert ids(await store.page("", "response", Page(), "m")) == (["a", "b", "d"], False)
    assert ids(await store.page("", "response", Page(), None, {"k": "1"})) == (["a", "b", "c"], False)
    assert ids(await store.page("", "response", Page(), "m", {"k": "1", "l": "2"})) == (["b"], False)
    await store.set_metadata("", "response", "a", {"l": "2", "k": "1"})
    assert ids(await store.page("", "response", Page(), "m", {"k": "1", "l": "2"})) == (["a", "b"], False)


async def test_after_what_is_not_there_is_an_error(open_: OpenStore) -> None:
    store = open_()
    await store.put("", thing("r", inputs=("i",)))
    for listing in (
        store.page("", "response", Page(after="x")),
        store.inputs("", "response", "r", Page(after="x")),
    ):
        with pytest.raises(InvalidRequest, match="after is 'x'") as caught:
            await listing
        assert caught.value.param == "after"


async def test_chain_is_the_conversation_from_its_beginning(open_: OpenStore) -> None:
    store = open_()
    await store.put("", thing("a", inputs=("1",), outputs=("2",)))
    await store.put("", thing("b", inputs=("3", "4"), outputs=("5",), previous="a"))
    await store.put("", thing("c", inputs=("6",), outputs=("7",), previous="b"))
    await store.put("", thing("fork", inputs=("8",), previous="a"))
    assert await store.chain("", "c") == ([item(str(n)) for n in range(1, 8)], None)
    assert await store.chain("", "fork") == ([item("1"), item("2"), item("8")], None)


async def test_chain_says_what_is_missing_of_it(open_: OpenStore) -> None:
    store = open_()
    await store.put("", thing("a", inputs=("1",)))
    await store.put("", thing("b", inputs=("2",), previous="a"))
    await store.delete("", "response", "a")
    assert await store.chain("", "b") == ([item("2")], "a")


async def test_item_that_came_twice_is_the_later_one(open_: OpenStore) -> None:
    store = open_()
    await store.put("", thing("a", outputs=("x",)))
    await store.put("", thing("b", inputs=("x",)))
    assert await store.item("", "x") == item("x")


async def test_writers_at_once_lose_nothing(open_: OpenStore) -> None:
    first, second = open_(), open_()

    async def write(store: Store, name: str) -> None:
        for n in range(20):
            await store.put("", thing(f"{name}{n}", inputs=("i",)))

    await asyncio.gather(write(first, "a"), write(second, "b"), write(first, "c"), write(second, "d"))
    found = await first.page("", "response", Page(100))
    assert len(found[0]) == 80


async def test_what_is_kept_outlives_the_store(open_: OpenStore) -> None:
    first = open_()
    first.put_later("", thing("r"))
    await first.close()
    assert await open_().get("", "response", "r")


async def test_write_is_done_though_nobody_waits_any_more(open_: OpenStore) -> None:
    store = open_()
    waiting = asyncio.ensure_future(store.put("", thing("r")))
    await asyncio.sleep(0)
    waiting.cancel()
    assert await store.get("", "response", "r")
