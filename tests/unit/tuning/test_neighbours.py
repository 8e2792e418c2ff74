"""How busy others keep the machine."""

from __future__ import annotations

import os
import time

from localchat.tuning.neighbours import Neighbours, busy_now, cpu_seconds


def test_own_work_is_not_others() -> None:
    neighbours, before = Neighbours(), cpu_seconds(None)
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    own = cpu_seconds(None) - before
    assert own > 0.1
    assert neighbours.cores(own) <= (os.cpu_count() or 1)
    assert neighbours.cores(1e9) == 0


def test_process_that_has_ended_has_taken_no_time() -> None:
    assert cpu_seconds(2**22 + 1) == 0


def test_nobody_keeps_more_processors_busy_than_there_are() -> None:
    assert 0 <= busy_now(0.05) <= (os.cpu_count() or 1) * 1.5
