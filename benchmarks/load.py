"""A closed-loop load on any OpenAI-compatible chat endpoint: so many clients, each sending its next request at once."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import statistics
import sys
import time
from dataclasses import asdict, dataclass

import httpx

WORDS = (
    "river stone lantern copper winter orchard signal harbor velvet thunder meadow compass marble whisper engine "
    "garden silver mountain ledger candle forest anchor bridge summer falcon mirror paper island clock wagon"
)


@dataclass(frozen=True)
class Load:
    """What to send."""

    base: str
    model: str
    concurrency: int
    requests: int
    max_tokens: int
    prompt_words: int = 40
    shared_words: int = 0
    seed: int = 0
    ignore_eos: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of one request; times in seconds."""

    tokens: int
    first: float
    total: float
    gaps: tuple[float, ...]
    error: str = ""
    prompt_tokens: int = 0


@dataclass(frozen=True)
class Row:
    """A whole load in figures; times in milliseconds."""

    concurrency: int
    requests: int
    failed: int
    tokens: int
    tokens_per_second: float
    decode_per_second: float
    first_token_p50: float
    first_token_p99: float
    gap_p50: float
    gap_p99: float
    errors: tuple[str, ...]
    prompt_tokens: int
    """Of a request, in the median."""


def words(rng: random.Random, count: int) -> str:
    """So many words."""
    return " ".join(rng.choice(WORDS.split()) for _ in range(count))


def body(load: Load, index: int, rng: random.Random) -> dict[str, object]:
    """The request with this number; no two are alike."""
    shared = words(random.Random(7), load.shared_words)
    content: dict[str, object] = {
        "model": load.model,
        "stream": True,
        "temperature": 0,
        "max_tokens": load.max_tokens,
        "stream_options": {"include_usage": True},
        "messages": [
            {"role": "system", "content": f"You are a storyteller. {shared}"},
            {"role": "user", "content": f"Story {index}, long, with these words: {words(rng, load.prompt_words)}"},
        ],
    }
    if load.ignore_eos:
        content["ignore_eos"] = True
    return content


async def one(client: httpx.AsyncClient, load: Load, index: int, rng: random.Random) -> Outcome:
    """Send one request and read it to its end."""
    stamps: list[float] = []
    tokens, prompt_tokens, start = 0, 0, time.perf_counter()
    try:
        async with client.stream("POST", f"{load.base}/chat/completions", json=body(load, index, rng)) as response:
            if response.status_code != 200:
                return Outcome(0, 0, 0, (), f"{response.status_code} {(await response.aread())[:200]!r}")
            async for line in response.aiter_lines():
                # Parsing every chunk would take a good part of the core that the server is measured on.
                if '"content":"' in line and '"content":""' not in line:
                    stamps.append(time.perf_counter())
                elif '"usage":{' in line:
                    usage = json.loads(line[6:])["usage"]
                    tokens, prompt_tokens = usage["completion_tokens"], usage["prompt_tokens"]
                elif line.startswith(('data: {"error"', "error:")):
                    return Outcome(0, 0, 0, (), line[:200])
    except httpx.HTTPError as error:
        return Outcome(0, 0, 0, (), repr(error)[:200])
    end = time.perf_counter()
    first = (stamps or [end])[0]
    gaps = tuple(b - a for a, b in itertools.pairwise(stamps))
    return Outcome(tokens, first - start, end - start, gaps, prompt_tokens=prompt_tokens)


async def run(load: Load) -> Row:
    """The whole load."""
    rng, outcomes = random.Random(load.seed), list[Outcome]()
    numbers = iter(range(load.requests))
    seeds = [rng.random() for _ in range(load.requests)]
    limits = httpx.Limits(max_connections=load.concurrency + 4)
    async with httpx.AsyncClient(timeout=1200, limits=limits) as client:

        async def keep_asking() -> None:
            for index in numbers:
                outcomes.append(await one(client, load, index, random.Random(seeds[index])))

        start = time.perf_counter()
        await asyncio.gather(*[keep_asking() for _ in range(load.concurrency)])
        wall = time.perf_counter() - start
    return summarize(load, outcomes, wall)


def summarize(load: Load, outcomes: list[Outcome], wall: float) -> Row:
    """Figures of a finished load."""
    good = [outcome for outcome in outcomes if not outcome.error]
    tokens = sum(outcome.tokens for outcome in good)
    gaps = sorted(gap for outcome in good for gap in outcome.gaps)
    firsts = sorted(outcome.first for outcome in good)
    rates = [(o.tokens - 1) / (o.total - o.first) for o in good if o.tokens > 1]
    return Row(
        concurrency=load.concurrency,
        requests=len(outcomes),
        failed=len(outcomes) - len(good),
        tokens=tokens,
        tokens_per_second=tokens / wall,
        decode_per_second=statistics.median(rates) if rates else 0.0,
        first_token_p50=_percentile(firsts, 0.5),
        first_token_p99=_percentile(firsts, 0.99),
        gap_p50=_percentile(gaps, 0.5),
        gap_p99=_percentile(gaps, 0.99),
        errors=tuple(outcome.error for outcome in outcomes if outcome.error)[:3],
        prompt_tokens=int(statistics.median(outcome.prompt_tokens for outcome in good)) if good else 0,
    )


def _percentile(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))] * 1e3 if values else 0.0


def main() -> None:
    """One load as JSON on standard output; exit code 1 if a request failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", required=True, help="as in http://127.0.0.1:8000/v1")
    parser.add_argument("--model", required=True)
    for flag, default in (
        ("concurrency", 1), ("requests", 8), ("max-tokens", 96), ("prompt-words", 40), ("shared-words", 0), ("seed", 0)
    ):  # fmt: skip
        parser.add_argument(f"--{flag}", type=int, default=default)
    parser.add_argument("--ignore-eos", action="store_true")
    row = asyncio.run(run(Load(**vars(parser.parse_args()))))
    json.dump(asdict(row), sys.stdout)
    sys.exit(1 if row.failed else 0)


if __name__ == "__main__":
    main()
