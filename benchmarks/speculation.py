"""What guessing ahead gains where the answer copies or repeats, and costs where it does not: ours and llama-server's.

Servers run side by side and are asked in turn, greedily. Rates are of decoding: tokens after the first, by the time
since the first. Each is set against the same program without guesses, in the same round; the table has the medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from run import RESULTS, WORK, Workload, embedded_q4_0, measure
from servers import Running, Setup, free_port, llama_server_command, localchat_command, running

TEXT = (
    "The lighthouse stood on the northern edge of the island, where the cliffs were steep and the wind never rested. "
    "Every evening the keeper climbed one hundred and twelve steps with a can of oil, cleaned the great lens, and lit "
    "the lamp. Ships from distant harbors trusted his light. In winter the storms were so loud that he could not hear "
    "his own voice, and in summer the fog lay on the water like wool. He had lived there for thirty years, and he knew "
    "every rock and every bird."
)
DATA = ",\n".join(
    f'  {{"name": "{name}", "age": {age}, "city": "{city}"}}'
    for name, age, city in (
        ("Anna", 31, "Berlin"),
        ("Marc", 45, "Paris"),
        ("Lucia", 27, "Madrid"),
        ("Erik", 29, "Oslo"),
    )
)
PLAIN = {"localchat": "localchat without", "llama-server": "llama-server without"}
"""What each program's rates are set against."""
MODES = ("ngram-simple", "ngram-map-k", "ngram-mod", "ngram-cache")


@dataclass(frozen=True)
class Request:
    """What is asked, and what the answer is like."""

    name: str
    content: str
    max_tokens: int = 256
    prediction: str = ""


REQUESTS = (
    Request("copies from the prompt", f"Copy the following text word for word.\n\nText: {TEXT}\n\nCopy:"),
    Request("copies data", f"Here is some JSON data:\n[\n{DATA}\n]\nPrint this JSON data again, unchanged."),
    Request("rewrites the prompt", f"Rewrite this text in English: {TEXT}"),
    Request("repeats itself", "Write a multiplication table from 1 to 12."),
    Request("is predicted", f"Rewrite this text in English: {TEXT}", prediction=TEXT),
    Request("neither", "List the names of all fifty states of the USA, one on each line, with their capitals."),
    Request("neither, longer", "Explain how a bicycle stays upright, in detail.", 100),
)


def ask(server: Running, request: Request) -> dict[str, Any]:
    """One answer: its decode rate, its length, and how much of it was guessed."""
    body: dict[str, Any] = {
        "model": server.model_id, "stream": True, "temperature": 0, "max_tokens": request.max_tokens,
        "stream_options": {"include_usage": True}, "messages": [{"role": "user", "content": request.content}],
    }  # fmt: skip
    if request.prediction and server.name.startswith("localchat"):
        body["prediction"] = {"type": "content", "content": request.prediction}
    head = {"content-type": "application/json"}
    post = urllib.request.Request(f"{server.base}/chat/completions", json.dumps(body).encode(), head)
    first = end = 0.0
    tokens, text = 0, ""
    guessed: dict[str, Any] = {}
    with urllib.request.urlopen(post, timeout=600) as reply:
        for line in reply:
            if not line.startswith(b"data: {"):
                continue
            end = time.perf_counter()
            chunk = json.loads(line[6:])
            delta = chunk["choices"][0]["delta"].get("content") if chunk["choices"] else None
            if delta:
                first, text = first or end, text + delta
            if usage := chunk.get("usage"):
                tokens = usage["completion_tokens"]
                guessed = usage.get("timings") or chunk.get("timings") or {}
    drafted = guessed.get("drafted_tokens", guessed.get("draft_n", 0))
    accepted = guessed.get("accepted_tokens", guessed.get("draft_n_accepted", 0))
    return {"server": server.name, "request": request.name, "rate": (tokens - 1) / (end - first), "tokens": tokens,
            "drafted": drafted, "accepted": accepted, "text": text}  # fmt: skip


def start(stack: ExitStack, setup: Setup, binary: Path, modes: list[str], extra: list[str]) -> list[Running]:
    """All servers; those that are not asked do nothing."""
    servers = []

    def add(name: str, command: list[str], port: int) -> None:
        log = WORK / f"{name.replace(' ', '-')}.log"
        servers.append(stack.enter_context(running(name, command, port, setup.model.stem, log)))

    for name, flags in (("localchat", extra), ("localchat without", ["--speculate", "off"])):
        port = free_port()
        add(name, localchat_command(setup, port, flags), port)
    for mode in ("without", *modes):
        port = free_port()
        command = llama_server_command(binary, setup, port, unified=True)
        add(f"llama-server {mode}", command + ([] if mode == "without" else ["--spec-type", mode]), port)
    return servers


def table(rows: list[dict[str, Any]], kind: str) -> None:
    """Medians of the rates, and of the ratios to the same program without guesses and to llama-server without."""
    rate = {(row["server"], row[kind], row["round"]): row["rate"] for row in rows}
    print(
        f"\n| {kind} | server | tok/s | ÷ itself without | ÷ llama-server without | guessed | right |\n|" + "---|" * 7
    )
    for asked in dict.fromkeys(row[kind] for row in rows):
        for server in dict.fromkeys(row["server"] for row in rows):
            mine = [row for row in rows if (row["server"], row[kind]) == (server, asked)]
            cells = [statistics.median(row["rate"] for row in mine)]
            for other in (PLAIN[server.split()[0]], "llama-server without"):
                cells.append(statistics.median(row["rate"] / rate[other, asked, row["round"]] for row in mine))
            last = mine[-1]
            print(f"| {asked} | {server} | {cells[0]:.1f} | {cells[1]:.2f} | {cells[2]:.2f} "
                  f"| {last.get('drafted', '')} | {last.get('accepted', '')} |")  # fmt: skip


def main() -> None:
    """All rounds; tables, and the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llama-server", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--modes", default=",".join(MODES), help="llama-server's, after --spec-type")
    parser.add_argument("--streams", type=int, default=16, help="of distinct prompts; 0 leaves them out")
    parser.add_argument("--draft", default="", help="a draft model for localchat")
    arguments = parser.parse_args()
    setup = Setup(arguments.model or embedded_q4_0(), arguments.threads, max(arguments.streams, 1), 2048)
    modes = [mode for mode in arguments.modes.split(",") if mode]
    workload = Workload(f"{arguments.streams} streams", arguments.streams, 2 * arguments.streams, 96)
    rows: list[dict[str, Any]] = []
    streams: list[dict[str, Any]] = []
    WORK.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        extra = ["--draft", arguments.draft] if arguments.draft else []
        servers = start(stack, setup, arguments.llama_server, modes, extra)
        for turn in range(arguments.rounds):
            order = servers[turn % len(servers) :] + servers[: turn % len(servers)]
            for request in REQUESTS:
                for server in order:
                    rows.append(ask(server, request) | {"round": turn})
                    print(f"  {request.name:<24} {server.name:<26} {rows[-1]['rate']:7.1f} tok/s", flush=True)
            seed = int(time.time())
            for server in order if arguments.streams else ():
                row = measure(server, workload, seed)
                streams.append({"server": server.name, "workload": workload.name, "rate": row["tokens_per_second"],
                                "round": turn, **row})  # fmt: skip
    table(rows, "request")
    if streams:
        table(streams, "workload")
    RESULTS.mkdir(exist_ok=True)
    result = {"model": setup.model.name, "rows": rows, "streams": streams}
    (RESULTS / "speculation.json").write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
