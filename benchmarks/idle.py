"""256 idle keep-alive connections beside 16 streams: do they slow anybody down, and are they still there afterwards?

    python benchmarks/idle.py [--model FILE.gguf] [--connections 256] [--rounds 4]

The same load is measured without and with the connections, in turn; each of them asks for `/health` before and after.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from run import RESULTS, WORK, Workload, embedded_q4_0, machine, measure, start
from servers import Running, Setup

WORKLOAD = Workload("16 streams", 16, 32, 64)
_REQUEST = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: keep-alive\r\n\r\n"


class Idler:
    """A connection that asks once in a while."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address, timeout=30)

    def ask(self) -> bool:
        """Whether an answer comes."""
        with suppress(OSError):
            self._socket.sendall(_REQUEST)
            return self._answer().startswith(b"HTTP/1.1 200")
        return False

    def close(self) -> None:
        """End it."""
        self._socket.close()

    def _answer(self) -> bytes:
        """A whole response: the next one on this connection must not begin with the rest of it."""
        data = b""
        while b"\r\n\r\n" not in data:
            part = self._socket.recv(65536)
            if not part:
                return b""
            data += part
        head, body = data.split(b"\r\n\r\n", 1)
        lengths = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        while len(body) < int(lengths[0].split(b":")[1]):
            body += self._socket.recv(65536)
        return data


@contextmanager
def idlers(server: Running, count: int) -> Iterator[list[Idler]]:
    """So many connections, each of which has been answered once."""
    parts = urlsplit(server.base)
    assert parts.hostname, server.base
    assert parts.port, server.base
    found = [Idler((parts.hostname, parts.port)) for _ in range(count)]
    try:
        assert all(idler.ask() for idler in found), "a connection was not answered at all"
        yield found
    finally:
        for idler in found:
            idler.close()


def round_of(server: Running, connections: int, turn: int) -> dict[str, Any]:
    """The load without and with idlers, who comes first by turns."""
    seed, row = int(time.time()), {"round": turn, "connections": connections}
    for is_idle in (False, True) if turn % 2 else (True, False):
        with idlers(server, connections if is_idle else 0) as others:
            found = measure(server, WORKLOAD, seed + is_idle)
            row["dropped"] = row.get("dropped", 0) + sum(not idler.ask() for idler in others)
        kind = "with" if is_idle else "without"
        row |= {f"{kind}_{name}": found[name] for name in ("tokens_per_second", "first_token_p50", "gap_p99", "failed")}
    return row


def main() -> None:
    """Measure, store, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="GGUF to use instead of the embedded model as Q4_0")
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False) or 1)
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=4)
    arguments = parser.parse_args()
    for folder in (WORK, RESULTS):
        folder.mkdir(parents=True, exist_ok=True)
    setup = Setup(arguments.model or embedded_q4_0(), arguments.threads, WORKLOAD.concurrency, 1024)
    with ExitStack() as stack:
        (server,) = start(stack, WORK, setup, WORK, alone=True)
        measure(server, WORKLOAD, 0)  # warms everything up
        rows = [round_of(server, arguments.connections, turn) for turn in range(arguments.rounds)]
    result = {"machine": machine(), "model": setup.model.name, "rounds": rows}
    (RESULTS / "idle.json").write_text(json.dumps(result, indent=1) + "\n")
    ratios = [row["with_tokens_per_second"] / row["without_tokens_per_second"] for row in rows]
    print(
        f"{WORKLOAD.name} beside {arguments.connections} idle connections: {statistics.median(ratios):.2f} of the speed"
        f" without them (rounds {' '.join(f'{ratio:.2f}' for ratio in ratios)}); {sum(row['dropped'] for row in rows)}"
        f" connections dropped, {sum(row['with_failed'] + row['without_failed'] for row in rows)} requests failed"
    )


if __name__ == "__main__":
    main()
