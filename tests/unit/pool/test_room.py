"""Who makes room for whom, and when: the rules, on tenants that only keep count."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.errors import DoesNotFit
from localchat.hardware import MemoryNeed
from localchat.pool.room import Room


@dataclass
class Guest:
    """A tenant that ends the moment it may."""

    id: str
    room: Room
    held: int = 0
    last_used: int = 0
    is_wanted: bool = True
    is_in_use: bool = False
    is_settled: bool = True
    is_ending: bool = False
    is_slow: bool = False
    """Whether its process takes its time to end."""
    resident: int = 0
    asked: bool = False
    ended: list[str] = field(default_factory=list)

    def measure(self) -> None:
        self.held = max(self.held, self.resident) if self.held else 0

    def ask_to_leave(self) -> None:
        self.asked = True
        self.settle()

    def let_stay(self) -> None:
        self.asked = False

    def settle(self) -> None:
        if self.asked and self.is_settled and not self.is_in_use:
            self.is_settled, self.is_ending = False, True
            self.ended.append(self.id)
            if not self.is_slow:
                self.end()
        self.room.ring()

    def end(self) -> None:
        self.is_ending, self.held = False, 0
        self.room.ring()


class Hotel:
    """A room with guests that are settled, the first the least recently used."""

    def __init__(self, budget: int, *held: int, force: bool = False) -> None:
        self.budget = budget
        self.room = Room(lambda: self.budget, force=force)
        self.ended: list[str] = []
        for number, size in enumerate(held):
            self.add(chr(ord("a") + number), held=size, last_used=number)
        self.newcomer = self.add("new", is_settled=False)

    def add(self, id: str, held: int = 0, last_used: int = 0, is_settled: bool = True) -> Guest:
        guest = Guest(id, self.room, held, last_used, is_settled=is_settled, ended=self.ended)
        self.room.tenants.append(guest)
        return guest

    def guest(self, id: str) -> Guest:
        [guest] = [guest for guest in self.room.tenants if guest.id == id]
        assert isinstance(guest, Guest)
        return guest

    def reserve(self, need: int) -> asyncio.Task[bool]:
        return asyncio.ensure_future(self.room.reserve(self.newcomer, MemoryNeed(weights=need)))


async def breathe() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_nobody_ends_where_there_is_room() -> None:
    hotel = Hotel(10, 3, 3)
    assert await hotel.reserve(4)
    assert hotel.ended == []
    assert hotel.newcomer.held == 4


async def test_least_recently_used_ends_first_and_only_as_many_as_needed() -> None:
    hotel = Hotel(10, 3, 3, 3)
    assert await hotel.reserve(4)
    assert hotel.ended == ["a"]
    hotel = Hotel(10, 3, 3, 3)
    hotel.guest("a").last_used = 9
    assert await hotel.reserve(5)
    assert hotel.ended == ["b", "c"]


async def test_what_a_process_really_takes_counts() -> None:
    hotel = Hotel(10, 3, 3)
    hotel.guest("b").resident = 6
    assert await hotel.reserve(4)
    assert hotel.ended == ["a"]


async def test_room_is_had_when_the_process_has_ended_and_not_before() -> None:
    hotel = Hotel(10, 8)
    hotel.guest("a").is_slow = True
    task = hotel.reserve(5)
    await breathe()
    assert hotel.ended == ["a"]
    assert not task.done()
    hotel.guest("a").end()
    assert await task


async def test_memory_that_is_about_to_be_free_is_not_asked_for_twice() -> None:
    hotel = Hotel(10, 5, 5)
    hotel.guest("a").is_slow = True
    task = hotel.reserve(5)
    await breathe()
    hotel.room.ring()
    await breathe()
    assert hotel.ended == ["a"]
    hotel.guest("a").end()
    assert await task
    assert hotel.ended == ["a"]


async def test_idle_ones_end_before_busy_ones_whenever_they_were_used() -> None:
    hotel = Hotel(10, 5, 5)
    hotel.guest("a").is_in_use = True
    assert await hotel.reserve(5)
    assert hotel.ended == ["b"]


async def test_busy_one_is_waited_for_and_ends_when_its_use_does() -> None:
    hotel = Hotel(10, 8)
    guest = hotel.guest("a")
    guest.is_in_use = True
    task = hotel.reserve(5)
    await breathe()
    assert not task.done()
    assert hotel.ended == []
    assert guest.asked
    guest.is_in_use = False
    guest.settle()
    assert await task
    assert hotel.ended == ["a"]
    assert not guest.asked


async def test_busy_one_may_stay_when_another_has_gone_idle_first() -> None:
    hotel = Hotel(10, 5, 5)
    first, second = hotel.guest("a"), hotel.guest("b")
    first.is_in_use = second.is_in_use = True
    task = hotel.reserve(5)
    await breathe()
    assert (first.asked, second.asked) == (True, False)
    second.is_in_use = False
    second.settle()
    assert await task
    assert hotel.ended == ["b"]
    assert not first.asked


async def test_one_that_is_being_loaded_is_waited_for() -> None:
    hotel = Hotel(10, 8)
    guest = hotel.guest("a")
    guest.is_settled = False
    task = hotel.reserve(5)
    await breathe()
    assert not task.done()
    guest.is_settled = True
    hotel.room.ring()
    assert await task
    assert hotel.ended == ["a"]


async def test_newcomer_that_could_not_fit_alone_is_refused_with_the_sum_and_nobody_ends() -> None:
    hotel = Hotel(10 << 20, 3)
    with pytest.raises(DoesNotFit, match=r"new does not fit: weights 11 MiB .* = 11 MiB of RAM, and 10 MiB can be had"):
        await hotel.reserve(11 << 20)
    assert hotel.ended == []


async def test_force_takes_what_can_be_had() -> None:
    hotel = Hotel(10, 3, force=True)
    assert await hotel.reserve(11)
    assert hotel.ended == ["a"]
    assert hotel.newcomer.held == 10


async def test_newcomer_whom_nobody_wants_ends_nobody() -> None:
    hotel = Hotel(10, 8)
    hotel.newcomer.is_wanted = False
    assert not await hotel.reserve(5)
    assert hotel.ended == []
    assert await hotel.reserve(2)


async def test_newcomer_gives_up_when_the_last_who_wanted_it_has_left() -> None:
    hotel = Hotel(10, 8)
    hotel.guest("a").is_in_use = True
    task = hotel.reserve(5)
    await breathe()
    hotel.newcomer.is_wanted = False
    hotel.room.ring()
    assert not await task
    assert not hotel.guest("a").asked


async def test_newcomers_come_in_turn() -> None:
    hotel = Hotel(10, 8)
    hotel.guest("a").is_in_use = True
    first = hotel.reserve(5)
    await breathe()
    later = hotel.add("later", is_settled=False)
    second = asyncio.ensure_future(hotel.room.reserve(later, MemoryNeed(weights=1)))
    await breathe()
    assert not second.done()  # although there is room for it: it might keep the first from ever fitting
    hotel.guest("a").is_in_use = False
    hotel.guest("a").settle()
    assert await first
    assert await second


async def test_cancelled_newcomer_lets_everybody_stay_and_the_next_one_in() -> None:
    hotel = Hotel(10, 8)
    hotel.guest("a").is_in_use = True
    first = hotel.reserve(5)
    await breathe()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert not hotel.guest("a").asked
    assert await hotel.reserve(2)


async def test_budget_that_shrinks_counts_as_it_is() -> None:
    hotel = Hotel(10, 3)
    hotel.budget = 5
    assert await hotel.reserve(3)
    assert hotel.ended == ["a"]


@given(
    budget=st.integers(1, 30),
    held=st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=6),
    need=st.integers(1, 30),
)
def test_budget_is_never_exceeded_nor_a_busy_one_ended(budget: int, held: list[tuple[int, bool]], need: int) -> None:
    async def check() -> None:
        hotel = Hotel(budget, *[size for size, _ in held])
        busy = {guest.id for guest, (_, used) in zip(hotel.room.tenants, held, strict=False) if used}
        for id in busy:
            hotel.guest(id).is_in_use = True
        before = sum(guest.held for guest in hotel.room.tenants)
        task = hotel.reserve(need)
        await breathe()
        assert not busy & set(hotel.ended)
        if task.done() and task.exception() is None:
            assert sum(guest.held for guest in hotel.room.tenants) <= budget
            assert hotel.newcomer.held == need
            if before + need <= budget:
                assert hotel.ended == []
        elif task.done():
            assert need > budget
        else:
            assert sum(hotel.guest(id).held for id in busy) + need > budget
            task.cancel()

    asyncio.run(check())
