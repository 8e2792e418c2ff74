"""Tokens a second under a JSON schema over those without one, ours and llama-server's.

    python benchmarks/schema.py --llama-server PATH [--model Q4_0.gguf] [--rounds 5] [--streams 1 --streams 4]

Servers run side by side; each is asked with and without the schema in turn, the same prompts, sampled with a seed.
Every answer that was not cut by length is checked against the schema.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import jsonschema

from run import RESULTS, WORK, embedded_q4_0
from servers import Running, Setup, free_port, llama_server_command, localchat_command, running

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "maxLength": 60},
        "year": {"type": "integer", "minimum": 1900, "maximum": 2030},
        "tags": {"type": "array", "items": {"enum": ["drama", "comedy", "noir", "war"]}, "minItems": 3, "maxItems": 6},
        "cast": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "maxLength": 30},
                    "role": {"type": "string", "maxLength": 30},
                },
                "required": ["name", "role"],
                "additionalProperties": False,
            },
            "minItems": 4,
            "maxItems": 9,
        },
    },
    "required": ["title", "year", "tags", "cast"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "movie", "strict": True, "schema": SCHEMA}}


def ask(client: httpx.Client, server: Running, index: int, *, constrained: bool) -> tuple[int, bool]:
    """Tokens of one answer, and whether it broke the schema."""
    question = f"Describe old movie number {index} as JSON with title, year, tags and a cast of many."
    body: dict[str, Any] = {
        "model": server.model_id, "temperature": 0.7, "seed": index, "max_tokens": 200,
        "messages": [{"role": "user", "content": question}],
    }  # fmt: skip
    if constrained:
        body["response_format"] = FORMAT
    reply = client.post(f"{server.base}/chat/completions", json=body).raise_for_status().json()
    [choice] = reply["choices"]
    breaks = False
    if constrained and choice["finish_reason"] == "stop":
        try:
            jsonschema.validate(json.loads(choice["message"]["content"]), SCHEMA)
        except ValueError:
            breaks = True
    return reply["usage"]["completion_tokens"], breaks


def rate(server: Running, seed: int, streams: int, *, constrained: bool) -> tuple[float, int]:
    """Tokens a second of so many streams with two answers each, and how many broke the schema."""
    with httpx.Client(timeout=600) as client, ThreadPoolExecutor(streams) as pool:
        numbers = range(seed * 1000, seed * 1000 + 2 * streams)
        start = time.perf_counter()
        answers = list(pool.map(lambda index: ask(client, server, index, constrained=constrained), numbers))
        seconds = time.perf_counter() - start
    return sum(tokens for tokens, _ in answers) / seconds, sum(breaks for _, breaks in answers)


def measure(servers: list[Running], streams: int, rounds: int) -> list[dict[str, Any]]:
    """A row for each server."""
    ratios: dict[str, list[float]] = {server.name: [] for server in servers}
    broken = dict.fromkeys(ratios, 0)
    for server in servers:
        rate(server, 999, streams, constrained=True)
    for number in range(rounds):
        for server in servers if number % 2 else reversed(servers):
            free, _ = rate(server, number, streams, constrained=False)
            bound, breaks = rate(server, number, streams, constrained=True)
            ratios[server.name].append(bound / free)
            broken[server.name] += breaks
    return [
        {
            "server": name,
            "streams": streams,
            "ratio": round(statistics.median(each), 3),
            "rounds": [round(one, 3) for one in each],
            "broken": broken[name],
        }
        for name, each in ratios.items()
    ]


def main() -> None:
    """A table, and the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama-server", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streams", type=int, action="append")
    given = parser.parse_args()
    setup = Setup(given.model or embedded_q4_0(), given.threads, 4, 1024)
    WORK.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        port = free_port()
        command = localchat_command(setup, port)
        servers = [stack.enter_context(running("localchat", command, port, setup.model.stem, WORK / "localchat.log"))]
        if given.llama_server:
            port = free_port()
            command = llama_server_command(given.llama_server, setup, port, unified=False)
            servers.append(stack.enter_context(running("llama-server", command, port, "any", WORK / "llama.log")))
        rows = [row for streams in given.streams or [1, 4] for row in measure(servers, streams, given.rounds)]
    (RESULTS / "schema.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(
        "| server | streams | with a schema over without | each round | answers that broke it |\n|---|---|---|---|---|"
    )
    for row in rows:
        print(
            f"| {row['server']} | {row['streams']} | **{row['ratio']:.2f}** |"
            f" {' '.join(f'{one:.2f}' for one in row['rounds'])} | {row['broken']} |"
        )


if __name__ == "__main__":
    main()
