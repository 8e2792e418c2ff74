"""Flags of ours against each other and against llama-server, on streams of distinct prompts.

    python benchmarks/variants.py --llama-server PATH [--streams 4,16] [--rounds 3] NAME='FLAGS' ...

Servers run side by side and are asked in turn, the order changing with every round. The table has medians of tokens a
second; `benchmarks/results/variants.json` has besides what a second of processor time brought.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from run import RESULTS, WORK, Workload, embedded_q4_0, machine, measure
from servers import Running, Setup, free_port, llama_server_command, localchat_command, running

THEIRS = "llama-server"


def processor_seconds(server: Running) -> float:
    """What a server and its children have had so far."""
    process = psutil.Process(server.pid)
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def start(stack: ExitStack, setup: Setup, llama_server: Path, variants: list[str]) -> list[Running]:
    """llama-server with a KV stream for each sequence, and one of ours for each set of flags."""
    port = free_port()
    commands = [(THEIRS, llama_server_command(llama_server, setup, port, unified=False), port)]
    for variant in variants:
        name, _, flags = variant.partition("=")
        port = free_port()
        commands.append((f"localchat {name}", localchat_command(setup, port, shlex.split(flags)), port))
    return [
        stack.enter_context(running(name, command, port, setup.model.stem, WORK / f"variants-{index}.log"))
        for index, (name, command, port) in enumerate(commands)
    ]


def load(servers: list[Running], streams: int, rounds: int) -> list[dict[str, Any]]:
    """So many streams on each server in turn."""
    workload, rows = Workload(f"{streams} streams", streams, max(8, 2 * streams), 96), []
    for turn in range(rounds):
        first = turn % len(servers)
        for server in servers[first:] + servers[:first]:
            before = processor_seconds(server)
            row = measure(server, workload, 100 * turn + streams)
            spent = processor_seconds(server) - before
            rows.append({"server": server.name, "streams": streams, "per_cpu_second": row["tokens"] / spent} | row)
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """A line of a table for each server and number of streams."""
    for streams in dict.fromkeys(row["streams"] for row in rows):
        rates: dict[str, list[float]] = {}
        for row in rows:
            if row["streams"] == streams:
                rates.setdefault(row["server"], []).append(row["tokens_per_second"])
        theirs = rates[THEIRS]
        for name, found in rates.items():
            ratios = [one / other for one, other in zip(found, theirs, strict=True)]
            each = " ".join(f"{one:.2f}" for one in ratios)
            rate, ratio = statistics.median(found), statistics.median(ratios)
            print(f"| {streams} | {name} | {rate:.0f} | **{ratio:.2f}** | {each} |")


def main() -> None:
    """Measure, show and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variants", nargs="+", metavar="NAME=FLAGS")
    parser.add_argument("--llama-server", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--streams", default="4,16")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    counts = [int(each) for each in given.streams.split(",")]
    setup = Setup(given.model or embedded_q4_0(), given.threads, max(counts), 1024)
    for folder in (WORK, RESULTS):
        folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        servers = start(stack, setup, given.llama_server, given.variants)
        rows = [row for count in counts for row in load(servers, count, given.rounds)]
    show(rows)
    found = {"machine": machine(), "variants": given.variants, "rows": rows}
    (RESULTS / "variants.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
