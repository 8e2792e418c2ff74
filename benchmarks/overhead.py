"""What a generated token costs beside the kernels: CPU microseconds in the worker and in the API process.

The worker's loop runs here, in one thread, over real contexts; of that thread's CPU time, what is spent within
llama.cpp's decode is left out. The API process is a server's, asked by as many clients, all threads and system calls
included. CPU time and not time on the clock, so a busy machine matters little. Writes `results/overhead.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import os
import pstats
import queue
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from load import Load, run, words
from localchat.engine.engine import Engine
from localchat.sampling_params import SamplingParams
from localchat.worker import messages as m
from localchat.worker.intake import Inbox, Intake, Output, read
from localchat.worker.process import Parts, load, start
from run import RESULTS, WORK, embedded_q4_0
from servers import Setup, free_port, localchat_command, running

MICROSECONDS = 1e6
TOKENS = 96
KINDS = {
    "greedy": SamplingParams(temperature=0, ignore_eos=True),
    "default sampling": SamplingParams(seed=1, ignore_eos=True),
}


@dataclass
class Meter:
    """CPU seconds of this thread within llama.cpp."""

    seconds: float = 0.0

    def around(self, parts: Parts) -> None:
        """Count what the contexts' decodes take."""
        for context in (parts.context, parts.draft):
            if context is not None:
                context.decode = self._timed(context.decode)  # type: ignore[method-assign]

    def _timed(self, decode: Callable[[], None]) -> Callable[[], None]:
        def timed() -> None:
            begun = time.thread_time()
            decode()
            self.seconds += time.thread_time() - begun

        return timed


@contextmanager
def sink() -> Iterator[int]:
    """A pipe whose other end is read and thrown away."""
    reading, writing = os.pipe()

    def drain() -> None:
        while os.read(reading, 1 << 20):
            pass

    thread = threading.Thread(target=drain)
    thread.start()
    try:
        yield writing
    finally:
        os.close(writing)
        thread.join()
        os.close(reading)


def requests(params: SamplingParams, streams: int, seed: int) -> list[m.Request]:
    """As many different stories."""
    rng = random.Random(seed)
    return [
        m.Submit(
            index + 1, f"Story {index}, long, with these words: {words(rng, 40)}\n", params, max_tokens=TOKENS
        )
        for index in range(streams)
    ]  # fmt: skip


def worker(
    engine: Engine, parts: Parts, meter: Meter, batch: list[m.Request], profile: cProfile.Profile | None
) -> float:
    """CPU microseconds per token outside of decoding, of a batch of requests."""
    inbox: Inbox = queue.SimpleQueue()
    with sink() as fd:
        output = Output(fd)
        read([batch], Intake(engine, parts.context, output, queue_size=256).handle, inbox)
        meter.seconds, begun = 0.0, time.thread_time()
        if profile is not None:
            profile.enable()
        while (job := inbox.get()) is not None:
            job()
        while not engine.is_idle:  # as the worker's own loop does it, which would wait for more
            deltas, _ = engine.step()
            if deltas:
                output.send(m.Step(deltas))
        if profile is not None:
            profile.disable()
        spent = time.thread_time() - begun - meter.seconds
    return spent / (len(batch) * TOKENS) * MICROSECONDS


def workers(model: Path, streams: int, rounds: int, *, speculate: bool, profiled: bool) -> dict[str, float]:
    """The worker's microseconds for each kind of sampling, medians of rounds."""
    request = m.Load(
        path=str(model), n_ctx=1024, parallel=streams, batch_size=512, ubatch_size=512, threads=2, gpu_layers=0,
        kv_type="f16", kv_unified=False, flash_attn="auto", mmap=True, queue_size=256, outputs=streams * 9,
        speculate=speculate,
    )  # fmt: skip
    parts, _ = load(request)
    engine, meter = start(request, parts, lambda job: job()), Meter()
    meter.around(parts)
    found: dict[str, float] = {}
    for kind, params in KINDS.items():
        profile = cProfile.Profile(time.thread_time) if profiled else None
        worker(engine, parts, meter, requests(params, streams, 0), None)
        tries = [
            worker(engine, parts, meter, requests(replace(params, seed=round), streams, round), profile)
            for round in range(1, rounds + 1)
        ]
        found[kind] = statistics.median(tries)
        if profile is not None:
            pstats.Stats(profile).sort_stats("tottime").print_stats(32)
    return found


def api(model: Path, streams: int, rounds: int) -> float:
    """The API process's microseconds per token, median of rounds."""
    setup, port = Setup(model, 2, streams, 1024), free_port()
    with running("localchat", localchat_command(setup, port), port, model.stem, WORK / f"{port}.log") as server:
        process, tries = psutil.Process(server.pid), list[float]()
        for round in range(rounds + 1):
            before = process.cpu_times()
            row = asyncio.run(run(Load(server.base, server.model_id, streams, streams, TOKENS, 40, 0, round, True)))
            after = process.cpu_times()
            tries.append((after.user + after.system - before.user - before.system) / row.tokens * MICROSECONDS)
    return statistics.median(tries[1:])


def main() -> None:
    """A line for each figure, and all of them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["worker", "api"])
    parser.add_argument("--profile", action="store_true", help="of the worker; it makes the figures larger")
    arguments = parser.parse_args()
    model = arguments.model or embedded_q4_0()
    WORK.mkdir(parents=True, exist_ok=True)
    figures: dict[str, float] = {}
    if arguments.only != "api":
        for speculate in (False, True):
            found = workers(model, arguments.streams, arguments.rounds, speculate=speculate, profiled=arguments.profile)
            figures |= {f"worker, {kind}{', guessing ahead' * speculate}": value for kind, value in found.items()}
    if arguments.only != "worker":
        figures["API process"] = api(model, arguments.streams, arguments.rounds)
    for name, value in figures.items():
        print(f"{name}: {value:.1f} us per token")
    RESULTS.mkdir(exist_ok=True)
    content = {"model": model.name, "streams": arguments.streams, "microseconds": figures}
    (RESULTS / "overhead.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
