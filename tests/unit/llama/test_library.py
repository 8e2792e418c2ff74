"""When llama.cpp's library is loaded."""

import subprocess
import sys

import pytest

_ORDER = """
import importlib, sys
seen = []
def note(event, arguments):
    wanted = {"ctypes.dlopen": "libllama", "import": "multiarray"}.get(event)
    if wanted and wanted in str(arguments[0]):
        seen.append(event)
sys.addaudithook(note)
importlib.import_module(sys.argv[1])
print(seen[0])
"""


@pytest.mark.parametrize(
    "process",
    [
        "localchat.worker.process",
        "localchat.tuning.process",
        "localchat_quantize.probe",
        "localchat_quantize.quantizing",
    ],
)
def test_a_process_that_computes_loads_llama_cpp_before_numpy(process: str) -> None:
    shown = subprocess.run([sys.executable, "-c", _ORDER, process], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "ctypes.dlopen"
