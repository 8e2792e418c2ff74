"""A pool over scripted workers: on demand, for as long as wanted, in bounded lines, and with nobody lost."""

from __future__ import annotations

import asyncio
import math
import random
import re
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from localchat.errors import (
    ConfigError,
    DoesNotFit,
    EngineError,
    LicenseForbids,
    ModelLoadFailed,
    ModelLoading,
    ModelNotFound,
    QueueFull,
    ShuttingDown,
    UnsupportedModel,
    WorkerDied,
)
from localchat.hub.progress import SilentProgress
from localchat.pool import ModelPool
from localchat.quantities import parse_duration
from localchat.registry import Choice, ModelSpec

from .conftest import Open
from .house import GIB, House, Script, generate, held_in_line, read, registry_of, spec_of, within

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


# Names


async def test_every_model_is_a_process_of_its_own(open_house: Open) -> None:
    house = open_house(model=["a", "b"])
    house.pool.start()
    await house.reaches(lambda: house.pool.is_ready)
    assert sorted(house.starts) == ["a", "b"]
    async with house.entry("a").use() as first, house.entry("b").use() as second:
        assert first.worker.pid != second.worker.pid


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "./a", "a.gguf", "../a", "~/a.gguf", "hf:owner/repo/a.gguf", "hf:a", "", ":", "a:", "a:F16"]
)
async def test_name_that_is_no_id_reaches_no_file_and_no_repository(open_house: Open, name: str) -> None:
    house = open_house()
    prepared = list(house.script.prepared)
    with pytest.raises(ModelNotFound):
        house.pool.find(name)
    assert house.script.prepared == prepared


async def test_quant_can_be_asked_for_and_the_one_that_is_loaded_is_not_loaded_twice(open_house: Open) -> None:
    house = open_house()
    await within(house.touch("a"))
    assert house.pool.find("a:q4_0") is house.pool.find("a")
    await within(house.touch("a:Q8_0"))
    assert house.loaded == {"a", "a:Q8_0"}
    assert house.script.prepared[-1] == "a:Q8_0"


async def test_unknown_name_is_guessed_at(open_house: Open) -> None:
    house = open_house(model=["mpt-7b-chat"], on_demand=False, registry=registry_of(spec_of("mpt-7b-chat")))
    with pytest.raises(ModelNotFound, match="did you mean mpt-7b-chat"):
        house.pool.find("mpt-7b-cat")


async def test_model_of_the_registry_that_is_not_served_is_said_to_be_one(open_house: Open) -> None:
    house = open_house(on_demand=False)
    with pytest.raises(ModelNotFound, match="--on-demand"):
        house.pool.find("b")


async def test_model_that_cannot_run_says_why(open_house: Open) -> None:
    house = open_house(registry=registry_of(spec_of("a"), spec_of("odd", unsupported="nobody has written its graph")))
    with pytest.raises(UnsupportedModel, match="odd cannot run: nobody has written its graph"):
        house.pool.find("odd")


@pytest.mark.parametrize("alias", ["gpt", "gpt=", "=a", "gpt=nobody", "gpt=/etc/passwd"])
async def test_alias_that_leads_nowhere_is_refused_at_the_start(open_house: Open, alias: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"--alias {alias}: ")):
        open_house(alias=[alias])


async def test_alias_of_a_registry_counts_where_its_model_may_be_served(open_house: Open) -> None:
    registry = registry_of(spec_of("a", **SHARED), spec_of("b"), one="a", two="b", three="nobody")
    assert open_house(registry=registry).pool.aliases == {"one": "a", "two": "b"}
    assert open_house(registry=registry, commercial=True).pool.aliases == {"one": "a"}
    assert open_house(registry=registry, on_demand=False).pool.aliases == {"one": "a"}


async def test_list_has_what_was_named_at_the_start_or_is_loaded(open_house: Open) -> None:
    house = open_house()
    house.pool.find("b")
    assert [entry.id for entry in await house.pool.listed()] == ["a"]
    await within(house.touch("c"))
    assert [entry.id for entry in await house.pool.listed()] == ["a", "c"]


async def test_list_has_what_is_installed_where_requests_may_name_it(open_house: Open, tmp_path: Path) -> None:
    file = tmp_path / "b.gguf"
    file.write_bytes(b"GGUF")
    quant = {"name": "Q4_0", "source": {"kind": "path", "path": str(file)}}
    here = ModelSpec.model_validate({"id": "here", "title": "here", "quant": [quant]})
    house = open_house(registry=registry_of(spec_of("a"), here))
    assert [entry.id for entry in await house.pool.listed()] == ["a", "here"]
    house = open_house(registry=registry_of(spec_of("a"), here), on_demand=False)
    assert [entry.id for entry in await house.pool.listed()] == ["a"]


async def test_two_files_of_one_name_are_refused(open_house: Open) -> None:
    house = open_house()
    launch = house.launcher.prepare("a", SilentProgress())
    other = replace(launch, choice=Choice(spec_of("a", title="another"), launch.choice.quant))
    with pytest.raises(ConfigError, match="two models would be served as a"):
        ModelPool([launch, other], house.launcher)


# Leases


async def test_generation_keeps_its_model_after_the_block_that_began_it(open_house: Open) -> None:
    house = open_house(room=1)
    async with house.entry("a").use() as model:
        generation = generate(model, "start something")
        await within(generation.accepted())
    newcomer = asyncio.ensure_future(house.touch("b"))
    await house.reaches(lambda: house.entry("b").waiting == 1)
    await asyncio.sleep(0)
    assert house.loaded == {"a"}
    generation.close()
    await within(newcomer)
    assert house.loaded == {"b"}


async def test_call_keeps_its_model(open_house: Open) -> None:
    house = open_house(room=1)
    async with house.entry("a").use() as model:
        call = asyncio.ensure_future(model.worker.tokenize("stall"))
        await house.reaches(lambda: model.worker.is_busy)
    newcomer = asyncio.ensure_future(house.touch("b"))
    await house.reaches(lambda: house.entry("b").waiting == 1)
    assert house.loaded == {"a"}
    model.worker.kill()
    with pytest.raises(WorkerDied):
        await within(call)
    await within(newcomer)


async def test_reader_who_is_slow_keeps_no_model_that_has_ended_its_answer(open_house: Open) -> None:
    house = open_house(room=1)
    async with house.entry("a").use() as model:
        generation = generate(model, "say hello")
    await house.reaches(lambda: not model.worker.is_busy)
    await within(house.touch("b"))
    assert await within(read(generation)) == "hello"


@pytest.mark.parametrize("seed", range(3))
async def test_nothing_is_left_of_those_who_leave_at_any_moment(open_house: Open, seed: int) -> None:
    house, dice = open_house(room=2), random.Random(seed)

    async def ask(id: str, patience: int) -> None:
        async with house.entry(id).use() as model:
            generation = generate(model, dice.choice(["say hello", "start", "stall", "refuse it"]))
            try:
                for _ in range(patience):
                    await asyncio.sleep(0.001)
            finally:
                generation.close()

    async def leave(asked: asyncio.Future[None], after: float) -> None:
        await asyncio.sleep(after)
        asked.cancel()

    tasks = [asyncio.ensure_future(ask(dice.choice("abc"), dice.randint(0, 20))) for _ in range(40)]
    left = [leave(task, dice.random() * 0.8) for task in tasks[::2]]
    await within(asyncio.gather(*left))
    await within(asyncio.gather(*tasks, return_exceptions=True))
    for entry in house.pool.entries.values():
        assert entry.waiting == 0
        assert not entry.is_in_use
    for id in "abc":  # so that each can go, and come again
        await within(house.touch(id))
    assert len(house.loaded) == 2


async def test_crowd_around_one_model_does_not_keep_others_out(open_house: Open) -> None:
    house, stop = open_house(room=1), asyncio.Event()

    async def crowd(number: int) -> None:
        while not stop.is_set():
            async with house.entry("a").use() as model:
                await read(generate(model, "say again and again"))

    people = [asyncio.ensure_future(crowd(number)) for number in range(4)]
    await house.reaches(lambda: "a" in house.loaded)
    await within(house.touch("b"))
    stop.set()
    await within(asyncio.gather(*people))


async def test_who_leaves_before_there_is_room_ends_nobody(open_house: Open) -> None:
    house = open_house(room=1)
    async with house.entry("a").use() as model:
        waiting = asyncio.ensure_future(house.touch("b"))
        await house.reaches(lambda: house.entry("b").state == "loading")
        waiting.cancel()
        await house.reaches(lambda: house.entry("b").state == "unloaded")
        async with house.entry("a").use() as same:  # nobody is in its way any more
            assert same is model
    assert house.loaded == {"a"}


# Memory, failures, ends


async def test_what_a_worker_takes_counts_where_it_is_more_than_was_planned(open_house: Open) -> None:
    script = Script(needs={"a": 1, "b": 1, "c": GIB})
    house = open_house(script=script, room=1)
    await within(house.touch("a"))
    await within(house.touch("b"))
    entry = house.entry("a")
    entry.measure()
    assert entry.held > 2**20


async def test_model_that_cannot_fit_even_alone_is_refused_and_ends_nobody(open_house: Open) -> None:
    house = open_house(script=Script(needs={"b": 9 * GIB}))
    await within(house.touch("a"))
    with pytest.raises(DoesNotFit, match=r"b does not fit: .* = 9.0 GiB of RAM, and 8.0 GiB can be had"):
        await within(house.touch("b"))
    assert house.loaded == {"a"}


async def test_those_named_at_the_start_load_as_far_as_they_fit_and_all_are_in_order(open_house: Open) -> None:
    house = open_house(model=["a", "b"], room=1)
    house.pool.start()
    assert not house.pool.is_ready
    await house.reaches(lambda: house.pool.is_ready)
    assert house.loaded == {"a"}
    assert house.entry("b").is_resting
    await within(house.touch("b"))
    assert house.loaded == {"b"}
    assert house.pool.is_ready


async def test_failed_load_makes_the_pool_unready_until_one_succeeds(open_house: Open) -> None:
    house = open_house(script=Script(paths={"a": "fails"}))
    house.pool.start()
    await house.reaches(lambda: house.entry("a").state == "failed")
    assert not house.pool.is_ready
    with pytest.raises(ModelLoadFailed, match="unknown architecture"):
        await within(house.touch("a"))
    house.script.paths["a"] = "works"
    await within(house.touch("a"))
    assert house.pool.is_ready
    assert house.entry("a").error is None


async def test_all_who_wait_are_told_of_a_failure_and_others_are_served_meanwhile(open_house: Open) -> None:
    house = open_house(script=Script(paths={"b": "dies"}))
    told = await within(asyncio.gather(*[house.touch(id) for id in ("b", "a", "b", "c", "b")], return_exceptions=True))
    assert [type(answer) for answer in told] == [
        ModelLoadFailed,
        type(None),
        ModelLoadFailed,
        type(None),
        ModelLoadFailed,
    ]
    assert len({id(answer) for answer in told if answer is not None}) == 3


async def test_load_in_progress_shows_its_state_and_keeps_nobody_else_waiting(open_house: Open) -> None:
    go = threading.Event()
    house = open_house()
    house.script.gate = go.wait
    first = asyncio.ensure_future(house.touch("b"))
    await house.reaches(lambda: house.entry("b").state == "fetching")
    await within(house.touch("a"))
    go.set()
    await within(first)


async def test_dead_worker_is_replaced_and_the_pool_unready_meanwhile(open_house: Open) -> None:
    house = open_house()
    async with house.entry("a").use() as model:
        model.worker.kill()
        await house.reaches(lambda: house.entry("a").model is not model)
        assert not house.pool.is_ready
    await house.reaches(lambda: house.pool.is_ready)
    assert house.starts == ["a", "a"]


async def test_expired_worker_is_not_replaced(open_house: Open) -> None:
    house = open_house()
    await within(house.touch("a", keep_alive=5))
    house.clock.ring(5)
    await house.reaches(lambda: not house.entry("a").is_ending)
    assert house.entry("a").state == "unloaded"
    assert house.pool.is_ready
    assert house.starts == ["a"]


@pytest.mark.parametrize("forever", [math.inf, parse_duration(-1)])
async def test_keep_alive_may_be_for_ever(open_house: Open, forever: float) -> None:
    house = open_house(keep_alive=600)
    await within(house.touch("a", keep_alive=forever))
    assert not house.clock.set(600)


async def test_keep_alive_of_nothing_counts_from_the_last_word(open_house: Open) -> None:
    house = open_house()
    async with house.entry("a").use(0) as model:
        generation = generate(model, "start something")
    assert not house.clock.set(0)
    generation.close()
    house.clock.ring(0)
    await house.reaches(lambda: house.loaded == set())


async def test_those_who_wait_are_told_when_the_server_stops(open_house: Open) -> None:
    house = open_house(script=Script(paths={"a": "never loads"}))
    waiting = asyncio.ensure_future(house.touch("a"))
    await house.reaches(lambda: house.entry("a").state == "loading")
    await within(house.pool.close())
    with pytest.raises(ShuttingDown):
        await within(waiting)
