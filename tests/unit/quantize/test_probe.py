"""What a process says of its own memory."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from localchat_quantize.probe import peak_rss

PROGRAM = "from localchat_quantize.probe import peak_rss; print(peak_rss())"


def test_peak_is_not_that_of_whoever_started_the_process() -> None:
    ballast = np.ones(2**26)  # half a GiB that is really there
    own = peak_rss()
    assert own > ballast.nbytes
    del ballast
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert int(done.stdout) < own // 2


def test_peak_stays_when_memory_is_given_back() -> None:
    ballast = np.ones(2**25)
    size = ballast.nbytes
    del ballast
    assert peak_rss() > size
