"""What is too old or too much goes, conversation by conversation."""

from __future__ import annotations

import math
from pathlib import Path

from localchat.store import Page, Store
from localchat.store.cleaning import Limits

from .conftest import OpenStore
from .things import thing

BIG = {"text": "x" * 1000}


async def left(store: Store) -> list[str]:
    return [found.id for found in (await store.page("", "response", Page(100)))[0]]


async def test_what_is_older_than_allowed_goes(open_: OpenStore) -> None:
    store = open_(Limits(60, 1 << 30))
    await store.put("", thing("old", created=0))
    await store.put("", thing("new", created=1 << 40))
    await store.clean()
    assert await left(store) == ["new"]


async def test_old_turns_stay_as_long_as_somebody_goes_on_from_them(open_: OpenStore) -> None:
    store = open_(Limits(60, 1 << 30))
    await store.put("", thing("a", created=0))
    await store.put("", thing("b", created=1, previous="a"))
    await store.put("", thing("c", created=1 << 40, previous="b"))
    await store.put("", thing("fork", created=1, previous="a"))
    await store.put("other", thing("theirs", created=0))
    await store.clean()
    assert await left(store) == ["a", "b", "c"]


async def test_long_old_conversation_goes_whole(open_: OpenStore) -> None:
    store = open_(Limits(60, 1 << 30))
    await store.put("", thing("0", created=0))
    for n in range(1, 100):
        await store.put("", thing(str(n), created=n, previous=str(n - 1)))
    await store.clean()
    assert await left(store) == []


async def test_what_still_runs_stays(open_: OpenStore) -> None:
    store = open_(Limits(60, 10))
    await store.put("", thing("r", created=0, runner="1:2", body=BIG))
    await store.clean()
    assert await left(store) == ["r"]


async def test_the_longest_unused_go_when_there_are_too_many_bytes(open_: OpenStore) -> None:
    store = open_(Limits(math.inf, 3500))
    await store.put("", thing("a", created=1, body=BIG))
    await store.put("", thing("lone", created=2, body=BIG))
    await store.put("", thing("b", created=3, body=BIG, previous="a"))
    await store.put("", thing("late", created=4, body=BIG))
    await store.clean()
    assert await left(store) == ["a", "b", "late"]


async def test_size_is_kept_while_things_are_put(open_: OpenStore) -> None:
    store = open_(Limits(math.inf, 20_000))
    for n in range(100):
        await store.put("", thing(str(n), created=n, body=BIG))
    assert 1 < len(await left(store)) <= 20


async def test_cleaning_gives_room_back_to_the_disk(open_: OpenStore, path: Path) -> None:
    store = open_(Limits(60, 1 << 30))
    for n in range(300):
        await store.put("", thing(str(n), created=0, body={"text": "x" * 4000}))
    await store.clean()
    await store.close()
    assert path.stat().st_size < 300 * 1000
