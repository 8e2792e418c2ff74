"""What strangers send takes bounded time and stack."""

from __future__ import annotations

import threading

import pytest

from localchat.llama.bounded import within


def test_result_comes_back() -> None:
    assert within(60, lambda: 3) == 3


def test_what_went_wrong_is_raised() -> None:
    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        within(60, fail)


def test_what_takes_too_long_is_no_longer_waited_for() -> None:
    done = threading.Event()
    with pytest.raises(TimeoutError, match="it takes longer than"):
        within(0.01, lambda: done.wait(60))
    done.set()


def test_stack_of_other_threads_stays_as_it_was() -> None:
    before = threading.stack_size()
    within(60, lambda: None)
    assert threading.stack_size() == before
