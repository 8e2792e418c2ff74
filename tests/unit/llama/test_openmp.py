"""How long llama.cpp's compute threads spin, which is set before the library is loaded."""

import os
import subprocess
import sys

import pytest

_SHOW = "import os, localchat.llama.library; print(os.environ.get('GOMP_SPINCOUNT'))"


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "2000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
    ids=["briefly", "as the user says", "as the user's policy implies"],
)
def test_threads_spin(given: dict[str, str], expected: str) -> None:
    clean = {key: value for key, value in os.environ.items() if key not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    shown = subprocess.run([sys.executable, "-c", _SHOW], env=clean | given, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == expected
