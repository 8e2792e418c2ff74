"""How long running streams freeze when a long prompt arrives, and what its first token waits: ours and llama-server's.

Servers run side by side and are asked in turn. A freeze is the longest gap between two tokens of any running stream
while the long prompt, never seen before, is read. `--steps` compares several `--max-step-ms`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import httpx

from load import words
from run import RESULTS, WORK, embedded_q4_0
from servers import Running, Setup, free_port, llama_server_command, localchat_command, running

DEFAULT_STEPS = "0"


@dataclass(frozen=True)
class Freeze:
    """One try; milliseconds."""

    longest: float
    usual: float
    first_token: float
    tokens: int


async def stream(client: httpx.AsyncClient, server: Running, content: str, tokens: int, stamps: list[float]) -> None:
    """Note when each piece of an answer arrives."""
    body = {
        "model": server.model_id, "stream": True, "temperature": 0, "max_tokens": tokens, "ignore_eos": True,
        "messages": [{"role": "user", "content": content}],
    }  # fmt: skip
    async with client.stream("POST", f"{server.base}/chat/completions", json=body) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if '"content":"' in line and '"content":""' not in line:
                stamps.append(time.perf_counter())


async def freeze(server: Running, seed: int, streams: int = 2, long_words: int = 1500) -> Freeze:
    """Let streams run, send the long prompt, and look at the gaps until its first token."""
    rng = random.Random(seed)
    async with httpx.AsyncClient(timeout=600) as client:
        stamps: list[list[float]] = [[] for _ in range(streams)]
        tasks = [
            asyncio.create_task(stream(client, server, f"A very long story with {words(rng, 20)}", 800, each))
            for each in stamps
        ]
        while not all(len(each) > 20 for each in stamps):
            await asyncio.sleep(0.01)
        start, long = time.perf_counter(), list[float]()
        await stream(client, server, f"Summarise: {words(rng, long_words)}", 4, long)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    gaps = [(a, b - a) for each in stamps for a, b in pairwise(each)]
    during = [gap for at, gap in gaps if at <= long[0] and at + gap >= start]
    before = [gap for at, gap in gaps if at + gap < start]
    return Freeze(max(during) * 1e3, statistics.median(before) * 1e3, (long[0] - start) * 1e3, len(during))


def main() -> None:
    """All servers in turn, as many rounds as asked; a table, and the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llama-server", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", default=DEFAULT_STEPS, help="as in 50,70,100; 0 is the default")
    arguments = parser.parse_args()
    setup = Setup(arguments.model or embedded_q4_0(), arguments.threads, 4, 4096)
    rows: list[dict[str, object]] = []
    WORK.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        servers: list[Running] = []
        for step in arguments.steps.split(","):
            port = free_port()
            command = localchat_command(setup, port, () if step == "0" else ("--max-step-ms", step))
            name = "localchat" if step == "0" else f"localchat {step} ms"
            servers.append(stack.enter_context(running(name, command, port, setup.model.stem, WORK / f"{port}.log")))
        port = free_port()
        command = llama_server_command(arguments.llama_server, setup, port, unified=True)
        servers.append(
            stack.enter_context(running("llama-server", command, port, setup.model.stem, WORK / f"{port}.log"))
        )
        for round in range(arguments.rounds):
            for server in servers if round % 2 else servers[::-1]:
                found = asyncio.run(freeze(server, seed=round))
                rows.append({"server": server.name, "round": round, **asdict(found)})
                print(
                    f"{server.name:<18} longest {found.longest:7.0f} ms, usual {found.usual:5.1f} ms, "
                    f"{found.tokens:3d} tokens meanwhile, first token of the long prompt {found.first_token:6.0f} ms",
                    flush=True,
                )
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "freeze.json").write_text(json.dumps({"model": setup.model.name, "rows": rows}, indent=1) + "\n")
    summarize(rows)


def summarize(rows: list[dict[str, object]]) -> None:
    """Medians, and of the first token's time the ratio to llama-server's in the same round."""
    theirs = {row["round"]: float(str(row["first_token"])) for row in rows if row["server"] == "llama-server"}
    for name in dict.fromkeys(row["server"] for row in rows):
        mine = [row for row in rows if row["server"] == name]
        longest = statistics.median(float(str(row["longest"])) for row in mine)
        ratios = [float(str(row["first_token"])) / theirs[row["round"]] for row in mine]
        print(f"{name}: longest freeze {longest:.0f} ms, first token {statistics.median(ratios):.2f} of llama-server's")


if __name__ == "__main__":
    main()
