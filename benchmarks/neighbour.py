"""Tokens per second while another program keeps a core busy, and while none does: ours and llama-server's.

Servers run side by side and are asked in turn. The neighbour is a process that counts, starts a second before the load,
and ends by itself. llama-server is asked with as many threads as we have, which is how it is usually run, and with one
less, which is what somebody would choose who knew of the neighbour.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from load import Load, run
from run import RESULTS, WORK, embedded_q4_0
from servers import Running, Setup, free_port, llama_server_command, localchat_command, running

AT_MOST = 300
_COUNT = "import sys, time\nend = time.monotonic() + float(sys.argv[1])\nwhile time.monotonic() < end: pass"


@contextmanager
def neighbour(count: int) -> Iterator[None]:
    """So many processes that keep a core busy, each until the block is left or its time is over."""
    processes = [subprocess.Popen([sys.executable, "-c", _COUNT, str(AT_MOST)]) for _ in range(count)]
    try:
        time.sleep(1)
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def start(stack: ExitStack, name: str, command: list[str], port: int, setup: Setup) -> Running:
    """A server, for as long as the stack lasts."""
    return stack.enter_context(running(name, command, port, setup.model.stem, WORK / f"{port}.log"))


def main() -> None:
    """All servers in turn, quiet and not, as many rounds as asked; ratios, and the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llama-server", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-threads", help="llama-server's, as in 2,1; ours and one less when not given")
    arguments = parser.parse_args()
    setup = Setup(arguments.model or embedded_q4_0(), arguments.threads, arguments.streams, 1024)
    given = arguments.peer_threads or f"{setup.threads},{max(setup.threads - 1, 1)}"
    WORK.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, float | str]] = []
    with ExitStack() as stack:
        port = free_port()
        servers = [start(stack, "localchat", localchat_command(setup, port), port, setup)]
        for threads in dict.fromkeys(int(count) for count in given.split(",")):
            port = free_port()
            command = llama_server_command(arguments.llama_server, replace(setup, threads=threads), port, unified=False)
            servers.append(start(stack, f"llama-server -t {threads}", command, port, setup))
        for round in range(arguments.rounds):
            for neighbours in (0, 1):
                for server in servers if round % 2 else servers[::-1]:
                    load = Load(
                        server.base, server.model_id, setup.parallel, 4 * setup.parallel, 96, 40, 0, round, True
                    )
                    with neighbour(neighbours):
                        speed = asyncio.run(run(load)).tokens_per_second
                    rows.append({"server": server.name, "round": round, "neighbours": neighbours, "speed": speed})
                    print(f"{server.name:<18} {neighbours} neighbours {speed:7.1f} tok/s", flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "neighbour.json").write_text(json.dumps({"model": setup.model.name, "rows": rows}, indent=1) + "\n")
    summarize(rows)


def summarize(rows: list[dict[str, float | str]]) -> None:
    """Medians of the rounds' ratios to the faster llama-server, each under the same load."""
    best: dict[tuple[float | str, float | str], float] = {}
    for row in rows:
        if str(row["server"]).startswith("llama-server"):
            load = row["round"], row["neighbours"]
            best[load] = max(best.get(load, 0.0), float(row["speed"]))
    for neighbours in (0, 1):
        for name in sorted({str(row["server"]) for row in rows}):
            ratios = [
                float(row["speed"]) / best[row["round"], neighbours]
                for row in rows
                if row["server"] == name and row["neighbours"] == neighbours
            ]
            print(f"{name}, {neighbours} neighbours: {statistics.median(ratios):.2f} of the faster llama-server")


if __name__ == "__main__":
    main()
