"""Quantization in a process of its own: what llama.cpp cannot round ends that one, and so does Ctrl-C at any moment.

    python -m localchat_quantize.quantizing < ORDER

The order is one `Order` in msgpack; a `Failure` in JSON comes back, or nothing.
"""

from __future__ import annotations

import localchat.llama.library  # noqa: F401  before numpy: see there

# isort: split
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np

from localchat.errors import BY_NAME, ConfigError, EngineError, LocalchatError
from localchat.hardware import read_header
from localchat.llama.quantize import Importance, check_format, quantize

_SECONDS_PER_LOOK = 0.2


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of `quantize`."""

    source: str
    target: str
    format: str
    threads: int
    requantize: bool
    importance: dict[str, bytes] | None
    metadata: dict[str, str | int]


class Failure(msgspec.Struct, frozen=True):
    """An error of ours, by the name of its class."""

    kind: str
    message: str


def quantize_apart(
    source: Path,
    target: Path,
    format: str,
    *,
    threads: int,
    requantize: bool,
    importance: Importance | None = None,
    metadata: Mapping[str, str | int] | None = None,
    step: Callable[[int], None] = lambda _written: None,
) -> None:
    """As `quantize`; `step` is told now and then how many bytes are written. Raises ConfigError, EngineError.

    The target may be half written when this fails.
    """
    check_format(format)
    if importance is not None:
        check_importance(source, importance)
    order = Order(
        source=str(source),
        target=str(target),
        format=format,
        threads=threads,
        requantize=requantize,
        importance=None if importance is None else {name: values.tobytes() for name, values in importance.items()},
        metadata=dict(metadata or {}),
    )
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complaints:
        given.write(msgspec.msgpack.encode(order))
        given.seek(0)
        status = _run_child(given.fileno(), said.fileno(), complaints.fileno(), lambda: step(_size(target)))
        said.seek(0)
        complaints.seek(0)
        _raise_failure(status, said.read(), complaints.read().decode(errors="replace"), order)


def check_importance(source: Path, importance: Importance) -> None:
    """Raise ConfigError for an importance matrix that was gathered from another model."""
    columns = {tensor.name: tensor.shape[0] * math.prod(tensor.shape[2:]) for tensor in read_header(source).tensors}
    if not columns.keys() & importance.keys():
        raise ConfigError(f"the importance matrix knows none of the matrices of {source.name}; it is another model's")
    for name, values in importance.items():
        if name in columns and values.size != columns[name]:
            raise ConfigError(
                f"the importance matrix has {values.size} columns of {name}, and {source.name} {columns[name]};"
                " it is another model's"
            )


def _run_child(given: int, said: int, complaints: int, look: Callable[[], None]) -> int:
    command = [sys.executable, "-m", "localchat_quantize.quantizing"]
    # A debugger's view of the stack, which ggml asks for when it gives up, takes seconds and helps nobody here.
    env = {**os.environ, "GGML_NO_BACKTRACE": "1"}
    with subprocess.Popen(command, stdin=given, stdout=said, stderr=complaints, env=env) as child:
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    return child.wait(_SECONDS_PER_LOOK)
                look()
        except BaseException:
            child.kill()
            raise


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _raise_failure(status: int, said: bytes, complaints: str, order: Order) -> None:
    if said:
        failure = msgspec.json.decode(said, type=Failure)
        raise BY_NAME[failure.kind](failure.message)
    if status:
        found = re.search(r"[\w.-]+:\d+: (?:GGML_ASSERT|fatal error).*", complaints)
        why = found[0] if found else f"status {status}"
        raise EngineError(
            f"llama.cpp gave up turning {Path(order.source).name} into {order.format} ({why});"
            " its weights may hold numbers out of range: try another format"
        )


def main() -> None:
    """Read the order, carry it out."""
    order = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Order)
    importance = None
    if order.importance is not None:
        importance = {name: np.frombuffer(values, np.float32) for name, values in order.importance.items()}
    try:
        quantize(
            Path(order.source),
            Path(order.target),
            order.format,
            threads=order.threads,
            requantize=order.requantize,
            importance=importance,
            metadata=order.metadata,
        )
    except LocalchatError as error:
        sys.stdout.buffer.write(msgspec.json.encode(Failure(type(error).__name__, error.message)))


if __name__ == "__main__":
    main()
