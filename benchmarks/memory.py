"""What GGUF files are told to need, and what a worker takes that has filled its context with them.

    python benchmarks/memory.py [--ctx-size 2048] [--parallel 2] [--no-mmap] FILE.gguf...

The figure to compare is the worker's resident set after every sequence has filled its context with tokens of all kinds,
so that all of the KV cache, the compute buffers and the table of embeddings have been touched.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from dataclasses import dataclass
from pathlib import Path

import psutil

from localchat.hardware import MemoryNeed, plan_load, probe, read_header
from localchat.launch import load_request
from localchat.sampling_params import SamplingParams
from localchat.settings import Settings
from localchat.worker.client import WorkerClient
from localchat.worker.messages import Submit

MIB = 1 << 20


@dataclass(frozen=True)
class Measured:
    """The estimate, and the resident set with its part that no other program can be given."""

    need: MemoryNeed
    resident: int
    private: int

    @property
    def error(self) -> float:
        """By how much the estimate is over."""
        return self.need.total / self.resident - 1


async def measure(path: Path, settings: Settings) -> Measured:
    """Load a file in a worker, fill its context, and look."""
    header = read_header(path)
    plan = plan_load(header, probe(), settings)
    worker = await WorkerClient.start(load_request(path, plan, settings))
    try:
        tokens = range(header.vocab_size)
        chance = random.Random(0)
        prompts = [
            Submit(0, chance.choices(tokens, k=plan.n_ctx - 8), SamplingParams(), 8) for _ in range(plan.parallel)
        ]
        async for _ in worker.submit(prompts).batches():
            pass
        memory = psutil.Process(worker.pid).memory_full_info()
        return Measured(plan.memory, memory.rss, memory.uss)
    finally:
        await worker.stop()


def main() -> None:
    """One row for each file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--ctx-size", type=int, default=2048)
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--no-mmap", action="store_true")
    flags = parser.parse_args()
    settings = Settings(ctx_size=flags.ctx_size, parallel=flags.parallel, mmap=not flags.no_mmap, force=True)
    print(f"{'file':28} {'estimate':>9} {'resident':>9} {'error':>7} {'private':>9}")
    for file in flags.files:
        got = asyncio.run(measure(file, settings))
        print(
            f"{file.name:28} {got.need.total / MIB:>5.0f} MiB {got.resident / MIB:>5.0f} MiB {got.error:>+7.1%}"
            f" {got.private / MIB:>5.0f} MiB  {got.need}",
            flush=True,
        )


if __name__ == "__main__":
    main()
