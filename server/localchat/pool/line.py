"""Those who use a model, and those who wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from localchat.chat.model import ChatModel
from localchat.errors import LocalchatError

Place = asyncio.Future[ChatModel]
"""A place in line for a model. It has a result as soon as the model is there to be used."""


class Line:
    """Places, each from its beginning until it is given back, whatever has become of it."""

    def __init__(self, call_later: Callable[..., asyncio.TimerHandle], seconds: float) -> None:
        self._call_later = call_later
        self._seconds = seconds
        self._waiting: dict[Place, asyncio.TimerHandle] = {}
        self._users: set[Place] = set()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(not place.done() for place in self._waiting)

    @property
    def users(self) -> int:
        """How many have been admitted and have not left."""
        return len(self._users)

    def join(self, late: Callable[[], LocalchatError]) -> Place:
        """A place; it gets the error that `late` makes when it has waited too long."""
        place: Place = asyncio.get_running_loop().create_future()
        self._waiting[place] = self._call_later(self._seconds, _give_up, place, late)
        return place

    def leave(self, place: Place) -> None:
        """Give a place back. May be called twice."""
        if timer := self._waiting.pop(place, None):
            timer.cancel()
        place.cancel()
        if not place.cancelled():
            place.exception()  # so that asyncio does not complain that nobody looked at it
        self._users.discard(place)

    def admit(self, model: ChatModel) -> None:
        """Let in whoever waits."""
        for place in self._called_up():
            self._users.add(place)
            place.set_result(model)

    def refuse(self, error: LocalchatError) -> None:
        """Turn away whoever waits."""
        for place in self._called_up():
            # One error for each, since whoever raises it hangs a trace on it.
            place.set_exception(type(error)(error.message, param=error.param))

    def _called_up(self) -> list[Place]:
        places = [place for place in self._waiting if not place.done()]
        for timer in self._waiting.values():
            timer.cancel()
        self._waiting.clear()
        return places


def _give_up(place: Place, late: Callable[[], LocalchatError]) -> None:
    if not place.done():
        place.set_exception(late())
