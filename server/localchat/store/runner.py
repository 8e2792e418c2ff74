"""Names a process so that another can tell whether it still runs."""

from __future__ import annotations

import os

import psutil


def this_process() -> str:
    """Our name: the process id, and when it began, since ids are given again."""
    return f"{os.getpid()}:{psutil.Process().create_time():.2f}"


def is_running(runner: str) -> bool:
    """Whether the process of this name still runs."""
    pid, _, began = runner.partition(":")
    try:
        return f"{psutil.Process(int(pid)).create_time():.2f}" == began
    except (psutil.Error, ValueError):
        return False
