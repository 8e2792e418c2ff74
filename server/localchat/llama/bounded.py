"""Work on what strangers send: in bounded time, and with room for deep recursion."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

STACK_BYTES = 256 * 1024 * 1024
"""Of address space; what is not needed is never touched. An overflow would end the process."""


def within(seconds: float, work: Callable[[], T]) -> T:
    """What the work gives. Raises what it raises, or TimeoutError, after which it goes on with nobody waiting."""
    future: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    before = threading.stack_size(STACK_BYTES)
    try:
        threading.Thread(target=run, name="bounded", daemon=True).start()
    finally:
        threading.stack_size(before)
    try:
        return future.result(seconds)
    except concurrent.futures.TimeoutError:  # another class than the builtin one before Python 3.11
        raise TimeoutError(f"it takes longer than {seconds:g} seconds") from None
