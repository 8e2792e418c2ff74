"""How speed and latency change as work grows: over 1 to 64 streams, and over prompts of 512 to 16k tokens.

    python benchmarks/scaling.py --model q40.gguf --llama-cpp FOLDER [--rounds 3] [--minutes 30]
    python benchmarks/scaling.py --draw

localchat and llama-server, with either of its KV layouts, run side by side and are asked in turn. Prompts longer than
the model was trained for are measured on a copy of the file that claims more: the words that come are nonsense there,
the work is the same. A length counts the prompt and its reply. Figures go to `results/scaling.json`, drawn to
`results/scaling.svg` and `.png`.
"""

from __future__ import annotations

import argparse
import json
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil

import peers
from run import RESULTS, WORK, Workload, embedded_q4_0, machine, measure, start
from scaling_plot import draw
from servers import Running, Setup

STREAMS = (1, 2, 4, 8, 16, 32, 64)
CONTEXTS = (512, 1024, 2048, 4096, 8192, 16384)
STREAM_CONTEXT = 512
_TOKENS, _TOKENS_AFTER_LONG = 64, 48
_SPARE = 48
"""Tokens of the template and around it, at most; the words that `load.py` picks are a token each."""


@dataclass(frozen=True)
class Point:
    """One load, and where it stands on the axis of its sweep."""

    sweep: str
    at: int
    workload: Workload


def stream_points(most: int) -> list[Point]:
    """The same short requests, more and more at a time."""
    return [
        Point(
            "streams",
            count,
            Workload(f"{count} streams" if count > 1 else "1 stream", count, max(4, 2 * count), _TOKENS),
        )
        for count in STREAMS
        if count <= most
    ]


def context_points(most: int) -> list[Point]:
    """One stream, whose prompt is longer and longer."""
    return [
        Point(
            "context",
            size,
            Workload(f"{size} tokens", 1, 2, _TOKENS_AFTER_LONG, prompt_words=size - _SPARE - _TOKENS_AFTER_LONG),
        )
        for size in CONTEXTS
        if size <= most
    ]


def claiming(model: Path, tokens: int, target: Path) -> Path:
    """A copy of a GGUF file that says it was trained for so many tokens; the file itself if it says so already."""
    data = bytearray(model.read_bytes())
    at = data.index(b".context_length") + len(b".context_length")
    kind, trained = struct.unpack_from("<II", data, at)
    assert kind == 4, "the context length is no 32-bit number"
    if trained >= tokens:
        return model
    struct.pack_into("<I", data, at + 4, tokens)
    target.write_bytes(data)
    return target


def sweep(points: list[Point], setup: Setup, binaries: Path, rounds: int, deadline: float) -> Iterator[dict[str, Any]]:
    """All points, round after round, until the time is over; servers take turns, and so does who begins."""
    with ExitStack() as stack:
        servers = start(stack, binaries, setup, WORK)
        for turn in range(rounds):
            for point in points:
                order = servers[turn % len(servers) :] + servers[: turn % len(servers)]
                seed = int(time.time())
                for server in order:
                    if time.monotonic() > deadline:
                        return
                    yield _row(server, point, turn, seed)


def _row(server: Running, point: Point, turn: int, seed: int) -> dict[str, Any]:
    found = measure(server, point.workload, seed)
    return {"server": server.name, "sweep": point.sweep, "at": point.at, "round": turn, **found}


def main() -> None:
    """Measure, store, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="GGUF to use instead of the embedded model as Q4_0")
    parser.add_argument("--llama-cpp", type=Path, help="folder of built llama.cpp programs; built when not given")
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False) or 1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=40, help="no new load is begun afterwards")
    parser.add_argument("--streams", type=int, default=STREAMS[-1], help="most streams; 0 leaves the sweep out")
    parser.add_argument("--context", type=int, default=CONTEXTS[-1], help="longest prompt; 0 leaves the sweep out")
    parser.add_argument("--draw", action="store_true", help="only draw what was measured before")
    arguments = parser.parse_args()
    path = RESULTS / "scaling.json"
    if not arguments.draw:
        path.write_text(json.dumps(_measure(arguments), indent=1) + "\n")
    draw(json.loads(path.read_text()), RESULTS / "scaling")
    print(f"wrote {path.name}, scaling.svg and scaling.png to {RESULTS}")


def _measure(arguments: argparse.Namespace) -> dict[str, Any]:
    RESULTS.mkdir(exist_ok=True)
    WORK.mkdir(parents=True, exist_ok=True)
    binaries = arguments.llama_cpp or peers.build(WORK / "llama.cpp")
    model = arguments.model or embedded_q4_0()
    begin = time.monotonic()
    half, end = begin + arguments.minutes * 30, begin + arguments.minutes * 60
    setup = Setup(model, arguments.threads, arguments.streams, STREAM_CONTEXT)
    points: list[dict[str, Any]] = []
    if arguments.streams:
        points += sweep(stream_points(arguments.streams), setup, binaries, arguments.rounds, half)
    if arguments.context:
        long = claiming(model, arguments.context, WORK / f"{model.stem}.long.gguf")
        setup = replace(setup, model=long, parallel=1, ctx_size=arguments.context)
        points += sweep(context_points(arguments.context), setup, binaries, arguments.rounds, end)
    shown = {**asdict(setup), "model": model.name}
    return {"machine": machine(), "model": model.name, "setup": shown, "points": points}


if __name__ == "__main__":
    main()
