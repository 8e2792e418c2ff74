"""A pool over scripted workers: on demand, for as long as wanted, in bounded lines, and with nobody lost."""

from __future__ import annotations

import asyncio
import random

import pytest

from localchat.errors import EngineError, LicenseForbids, ModelLoading, ModelNotFound, QueueFull, ShuttingDown

from .conftest import Open
from .house import House, generate, held_in_line, read, registry_of, spec_of, within

SHARED = {"license": "MIT", "commercial": {"use": "yes", "why": "MIT allows it"}}


async def test_model_is_loaded_by_its_first_request_and_once(open_house: Open) -> None:
    house = open_house()
    await within(asyncio.gather(*[house.touch("b") for _ in range(5)]))
    assert house.starts == ["b"]


async def test_least_recently_used_makes_room(open_house: Open) -> None:
    house = open_house(room=2)
    for id in ("a", "b", "a", "c"):
        await within(house.touch(id))
    assert house.loaded == {"a", "c"}


async def test_answering_model_stays_until_its_last_word(open_house: Open) -> None:
    house = open_house(room=1)
    async with house.entry("a").use() as model:
        newcomer = asyncio.ensure_future(house.touch("b"))
        await house.reaches(lambda: house.entry("b").waiting == 1)
        assert await within(read(generate(model, "say one two three")))
        assert house.loaded == {"a"}
    await within(newcomer)
    assert house.loaded == {"b"}


async def test_twenty_requests_for_three_models_with_room_for_one_are_all_answered(open_house: Open) -> None:
    house = open_house(room=1)
    dice = random.Random(7)

    async def ask(id: str) -> str:
        async with house.entry(id).use() as model:
            assert await read(generate(model, "say one two"))
            return model.id

    wanted = [dice.choice("abc") for _ in range(20)]
    assert await within(asyncio.gather(*map(ask, wanted))) == wanted
    assert len(house.loaded) == 1


async def test_unused_model_is_unloaded_after_its_keep_alive(open_house: Open) -> None:
    house = open_house(keep_alive=600)
    await within(house.touch("a"))
    house.clock.ring(600)
    await house.reaches(lambda: house.loaded == set())
    await within(house.touch("a"))
    assert house.loaded == {"a"}


async def test_registry_has_a_say_in_keep_alive_and_the_request_the_last(open_house: Open) -> None:
    house = open_house(keep_alive=600, registry=registry_of(spec_of("a", keep_alive="5m"), spec_of("b")))
    await within(house.touch("a"))
    assert house.clock.set(300)
    await within(house.touch("a", keep_alive=7))
    assert house.clock.set(7)
    assert not house.clock.set(300)


async def test_use_stops_the_clock(open_house: Open) -> None:
    house = open_house(keep_alive=600)
    await within(house.touch("a"))
    async with house.entry("a").use():
        assert not house.clock.set(600)
    assert house.clock.set(600)


async def test_waiting_for_a_load_is_bounded_in_number(open_house: Open) -> None:
    house = open_house(room=1, load_queue=2)
    async with house.entry("a").use():
        with held_in_line(house.entry("b")), held_in_line(house.entry("b")), pytest.raises(QueueFull):
            house.entry("c").enter()
        with held_in_line(house.entry("c")):  # who left has given the place back
            assert house.entry("c").waiting == 1


async def test_waiting_for_a_load_is_bounded_in_time(open_house: Open) -> None:
    house = open_house(room=1, load_seconds=33)
    async with house.entry("a").use():
        waiting = asyncio.ensure_future(house.touch("b"))
        await house.reaches(lambda: house.clock.set(33))
        house.clock.ring(33)
        with pytest.raises(ModelLoading, match="after 33 s"):
            await within(waiting)


async def test_failure_is_told_kept_and_tried_again(open_house: Open) -> None:
    house = open_house()
    house.script.failures["b"] = EngineError("broken")
    with pytest.raises(EngineError, match="broken"):
        await within(house.touch("b"))
    assert house.entry("b").state == "failed"
    house.script.failures.clear()
    await within(house.touch("b"))
    assert house.entry("b").state == "ready"


async def test_unknown_name_is_told_what_is_served(open_house: Open) -> None:
    house = open_house(on_demand=False)
    with pytest.raises(ModelNotFound, match="these are: a"):
        house.pool.find("b")


async def test_alias_leads_to_a_model_and_only_where_configured(open_house: Open) -> None:
    house = open_house(alias=["gpt-4o-mini=a"])
    assert house.pool.find("gpt-4o-mini").id == "a"
    with pytest.raises(ModelNotFound):
        house.pool.find("gpt-4o")


async def test_license_counts_on_demand_too(open_house: Open) -> None:
    house = open_house(commercial=True, registry=registry_of(spec_of("a", **SHARED), spec_of("b")))
    with pytest.raises(LicenseForbids, match="the registry does not say"):
        house.pool.find("b")


async def test_closing_pool_takes_nobody(open_house: Open) -> None:
    house: House = open_house()
    house.pool.refuse_new()
    with pytest.raises(ShuttingDown):
        house.entry("a").enter()
