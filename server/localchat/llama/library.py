"""Starts llama.cpp's library once for this process.

A process that computes imports this before numpy. Both need a C++ runtime, and a llama.cpp whose compiler had one of
its own ended in a segmentation fault while it loaded a model where numpy had brought the system's before.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import llama_cpp.llama_cpp as C
from llama_cpp._ggml import libggml

GGML_TYPES: dict[str, int] = {
    "f32": 0,
    "f16": 1,
    "q4_0": 2,
    "q4_1": 3,
    "q5_0": 6,
    "q5_1": 7,
    "q8_0": 8,
    "iq4_nl": 20,
    "bf16": 30,
}
"""KV cache types by name → `enum ggml_type`."""


@C.llama_log_callback  # type: ignore[untyped-decorator]
def _to_stderr(level: int, text: bytes, _data: object) -> None:
    """Pass on warnings and errors; llama.cpp's chatter at load stays out of the log."""
    if level in (3, 4):
        import sys  # noqa: PLC0415 - the callback may run while the interpreter shuts down

        sys.stderr.write(text.decode(errors="replace"))


@cache
def start() -> None:
    """Initialise the backends; safe to call again.

    A build with run-time dispatch (GGML_BACKEND_DL) keeps each CPU variant in a library of its own beside the
    others, and finds none of them unless told where they are.
    """
    C.llama_log_set(_to_stderr, ctypes.c_void_p(0))
    folder = Path(C.__file__).parent / "lib"
    if any(folder.glob("*ggml-cpu-*")):
        load_all = libggml.ggml_backend_load_all_from_path
        load_all.argtypes, load_all.restype = [ctypes.c_char_p], None
        load_all(str(folder).encode())
    C.llama_backend_init()


@contextmanager
def complaints() -> Iterator[list[str]]:
    """What llama.cpp warns of meanwhile, in lines, instead of on stderr."""
    start()
    lines: list[str] = []

    @C.llama_log_callback  # type: ignore[untyped-decorator]
    def keep(level: int, text: bytes, _data: object) -> None:
        if level in (3, 4):
            lines.extend(filter(None, text.decode(errors="replace").splitlines()))

    C.llama_log_set(keep, ctypes.c_void_p(0))
    try:
        yield lines
    finally:
        C.llama_log_set(_to_stderr, ctypes.c_void_p(0))


def supports_gpu() -> bool:
    """Whether this build can offload layers."""
    start()
    return bool(C.llama_supports_gpu_offload())


def system_info() -> str:
    """llama.cpp's own line about the CPU features and backends it uses."""
    start()
    return C.llama_print_system_info().decode()  # type: ignore[no-any-return]
