"""A process's name tells whether it still runs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from localchat.store.runner import is_running, this_process


def test_we_run() -> None:
    assert is_running(this_process())


def test_process_that_has_ended_does_not_run() -> None:
    code = "from localchat.store.runner import this_process; print(this_process())"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not is_running(ended.stdout.strip())


@pytest.mark.parametrize(
    "name",
    ["", "x:1", f"{os.getpid()}:1.00", f"{os.getpid()}"],
    ids=["nothing", "no number", "another start", "no start"],
)
def test_name_of_nobody(name: str) -> None:
    assert not is_running(name)
