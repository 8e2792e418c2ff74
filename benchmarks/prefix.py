"""What is not computed twice: a system prompt that users share, a conversation after a restart, and 16 streams.

`users` and `restart` set the time to the first token against that of a prompt of the same length that nobody has seen.
`streams` loads our two layouts of the KV cache and llama-server's in turn: 16 prompts that share 300 words, 16 that
share nothing, and a long one alone. Results go to `benchmarks/results/prefix.json`.

    python benchmarks/prefix.py --llama-server BIN/llama-server [users] [restart] [streams]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import httpx

from load import words
from run import RESULTS, WORK, Workload, embedded_q4_0, machine, measure
from servers import Running, Setup, free_port, llama_server_command, localchat_command, running

WORDS = 990
"""About 1,000 tokens, with the template."""
SHARED = Workload("16 streams, 300 words shared", 16, 32, 96, 300)
DISTINCT = Workload("16 streams", 16, 32, 96)
LONG = Workload("1 stream, 2,500 words", 1, 2, 96, 0, 2500)

Message = dict[str, str]


def turn(role: str, content: str) -> Message:
    """One message."""
    return {"role": role, "content": content}


def ask(server: Running, messages: list[Message]) -> dict[str, Any]:
    """Milliseconds to the first token, the answer, and how much of the prompt was cached."""
    body = {
        "model": server.model_id, "messages": messages, "stream": True, "stream_options": {"include_usage": True},
        "temperature": 0, "max_tokens": 16, "ignore_eos": True,
    }  # fmt: skip
    text, first, usage = "", 0.0, dict[str, Any]()
    start = time.perf_counter()
    with httpx.stream("POST", f"{server.base}/chat/completions", json=body, timeout=600) as response:
        response.raise_for_status()
        for line in response.iter_lines():
            if '"content":"' in line and '"content":""' not in line:
                first = first or time.perf_counter() - start
                text += json.loads(line[6:])["choices"][0]["delta"]["content"]
            elif '"usage":{' in line:
                usage = json.loads(line[6:])["usage"]
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    return {"first": first * 1e3, "text": text, "prompt": usage["prompt_tokens"], "cached": cached}


def ours(
    setup: Setup, folder: Path, extra: tuple[str, ...] = (), name: str = "localchat"
) -> AbstractContextManager[Running]:
    """Our server, with files of prefixes in a folder."""
    port = free_port()
    command = localchat_command(setup, port, ("--prefix-dir", str(folder), *extra))
    return running(name, command, port, setup.model.stem, WORK / f"{name.replace(' ', '-')}.log")


def note(rows: list[dict[str, Any]], part: str, round: int, fresh: dict[str, Any], cached: dict[str, Any]) -> None:
    """A row of the first two parts."""
    ratio = cached["first"] / fresh["first"]
    rows.append({
        "part": part, "round": round, "fresh_ms": fresh["first"], "cached_ms": cached["first"], "ratio": ratio,
        "prompt_tokens": cached["prompt"], "cached_tokens": cached["cached"],
    })  # fmt: skip
    print(f"{part:<8} fresh {fresh['first']:6.0f} ms, cached {cached['first']:5.0f} ms, ratio {ratio:.3f}, "
          f"{cached['cached']} of {cached['prompt']} tokens", flush=True)  # fmt: skip


def users(setup: Setup, rounds: int) -> list[dict[str, Any]]:
    """The first user of a system prompt, and the second."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, ours(setup, Path(folder)) as server:
        ask(server, [turn("user", "Hello")])
        for round in range(rounds):
            rng = random.Random(round)
            system = turn("system", f"You know these words: {words(rng, WORDS)}")
            first, second = (ask(server, [system, turn("user", words(rng, 12))]) for _ in range(2))
            note(rows, "users", round, first, second)
    return rows


def restart(setup: Setup, rounds: int) -> list[dict[str, Any]]:
    """A conversation that goes on after a restart, and another that begins with as much text."""
    rows: list[dict[str, Any]] = []
    for round in range(rounds):
        rng = random.Random(1000 + round)
        one, other = (turn("user", f"Tell a story with {words(rng, WORDS)}") for _ in range(2))
        with tempfile.TemporaryDirectory() as folder:
            with ours(setup, Path(folder)) as server:
                said = turn("assistant", ask(server, [one])["text"])
            with ours(setup, Path(folder)) as server:
                ask(server, [turn("user", "Hello")])
                cached = ask(server, [one, said, turn("user", "Go on.")])
                note(rows, "restart", round, ask(server, [other, said, turn("user", "Go on.")]), cached)
    return rows


def streams(setup: Setup, rounds: int, binary: Path) -> list[dict[str, Any]]:
    """All layouts of both servers under the same loads, in turn."""
    rows: list[dict[str, Any]] = []
    for workloads, shape in (((SHARED, DISTINCT), setup), ((LONG,), Setup(setup.model, setup.threads, 2, 6144))):
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            servers = [
                stack.enter_context(ours(shape, Path(folder), extra, f"localchat {name}"))
                for name, extra in (("streams", ()), ("unified", ("--kv-unified",)))
            ]
            for name, unified in (("streams", False), ("unified", True)):
                port = free_port()
                command = llama_server_command(binary, shape, port, unified=unified)
                log = WORK / f"llama-server-{name}.log"
                server = running(f"llama-server {name}", command, port, shape.model.stem, log)
                servers.append(stack.enter_context(server))
            for workload in workloads:
                for round in range(rounds):
                    order = servers[round % len(servers) :] + servers[: round % len(servers)]
                    seed = int(time.time())
                    rows += [
                        {"part": "streams", "server": server.name, "workload": workload.name, "round": round}
                        | measure(server, workload, seed)
                        for server in order
                    ]
    return rows


def others(parts: list[str]) -> list[dict[str, Any]]:
    """What an earlier run found of parts that were not measured now."""
    file = RESULTS / "prefix.json"
    rows: list[dict[str, Any]] = json.loads(file.read_text())["parts"] if file.is_file() else []
    return [row for row in rows if row["part"] not in parts]


def summarize(rows: list[dict[str, Any]]) -> None:
    """Medians, and the ratio to the better of llama-server's in each round."""
    for part in ("users", "restart"):
        ratios = [row["ratio"] for row in rows if row["part"] == part]
        if ratios:
            print(f"{part}: time to the first token {statistics.median(ratios):.3f} of that without a cache")
    loads = [row for row in rows if row["part"] == "streams"]
    for workload in dict.fromkeys(row["workload"] for row in loads):
        mine = [row for row in loads if row["workload"] == workload]
        peers: dict[int, float] = {}
        for row in mine:
            if row["server"].startswith("llama-server"):
                peers[row["round"]] = max(peers.get(row["round"], 0.0), row["tokens_per_second"])
        for server in dict.fromkeys(row["server"] for row in mine):
            own = [row for row in mine if row["server"] == server]
            rate = statistics.median(row["tokens_per_second"] for row in own)
            ratio = statistics.median(row["tokens_per_second"] / peers[row["round"]] for row in own)
            decode = statistics.median(row["decode_per_second"] for row in own)
            print(
                f"{workload}, {server}: {rate:.1f} tok/s, {ratio:.2f} of the better llama-server, decode {decode:.1f}"
            )


def main() -> None:
    """The parts that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=["users", "restart", "streams"], default=[])
    parser.add_argument("--llama-server", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    parts = arguments.parts or ["users", "restart", "streams"]
    model, threads, rounds = arguments.model or embedded_q4_0(), arguments.threads, arguments.rounds
    WORK.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    if "users" in parts:
        rows += users(Setup(model, threads, 4, 2048), rounds)
    if "restart" in parts:
        rows += restart(Setup(model, threads, 4, 2048), rounds)
    if "streams" in parts:
        rows += streams(Setup(model, threads, 16, 1024), rounds, arguments.llama_server)
    RESULTS.mkdir(exist_ok=True)
    result = {"machine": machine(), "model": model.name, "parts": others(parts) + rows}
    (RESULTS / "prefix.json").write_text(json.dumps(result, indent=1) + "\n")
    summarize(rows)


if __name__ == "__main__":
    main()
