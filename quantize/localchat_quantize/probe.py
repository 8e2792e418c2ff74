"""A process that loads one GGUF file, measures it and says so as JSON: memory is only its own in a process of its own.

    python -m localchat_quantize.probe FILE.gguf --threads 2 --text TEXT --reference FILE.npy [--write]

With `--write` the file's log-probabilities become the reference; without, they are compared with it.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil

from localchat.llama.context import Context, ContextParams
from localchat.llama.model import Model
from localchat_quantize.chunks import CHUNK, chunks_of
from localchat_quantize.quality import Quality, measure, open_reference, write_reference

PROMPT = 512
"""Tokens of the prompt whose speed is measured."""
DECODED = 48
"""Tokens decoded after it, one by one."""
_ROUNDS = 3


@dataclass(frozen=True)
class Speed:
    """The best of three rounds, in tokens per second."""

    prompt: float
    decode: float


@dataclass(frozen=True)
class Findings:
    """All that is measured of one file; `peak_rss` in bytes with a context of 1,024 tokens."""

    quality: Quality
    speed: Speed
    peak_rss: int


def measure_speed(context: Context, tokens: list[int]) -> Speed:
    """Read a prompt, then decode after it; what else the machine does makes single rounds slower, never faster."""
    prompt, decode = [], []
    for _ in range(_ROUNDS):
        context.drop(0)
        start = time.perf_counter()
        _decode(context, 0, tokens[:PROMPT])
        middle = time.perf_counter()
        for position in range(PROMPT, PROMPT + DECODED):
            _decode(context, position, tokens[:1])
        prompt.append(PROMPT / (middle - start))
        decode.append(DECODED / (time.perf_counter() - middle))
    return Speed(max(prompt), max(decode))


def _decode(context: Context, position: int, tokens: list[int]) -> None:
    context.batch.clear()
    context.batch.add(0, position, tokens, last=True)
    context.decode()


def peak_rss() -> int:
    """The most memory this process has had resident."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource  # noqa: PLC0415 - there is none on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def probe(path: Path, text: str, threads: int, reference: Path, *, write: bool) -> Findings:
    """Measure a file. Raises ModelLoadFailed, EngineError, ConfigError for a short text."""
    model = Model(path)
    context = Context(
        model,
        ContextParams(n_ctx=2 * PROMPT, batch_size=CHUNK, ubatch_size=CHUNK, threads=threads, outputs=CHUNK),
    )
    chunks = chunks_of(model.vocabulary, text)
    speed = measure_speed(context, chunks[0])
    peak = peak_rss()  # before the arrays of the next step
    if write:
        return Findings(write_reference(context, chunks, reference), speed, peak)
    return Findings(measure(context, chunks, open_reference(reference)), speed, peak)


def main() -> None:
    """Read the arguments, write the findings to standard output."""
    parser = argparse.ArgumentParser(prog="localchat_quantize.probe")
    parser.add_argument("file", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    text = given.text.read_text(encoding="utf-8")
    found = probe(given.file, text, given.threads, given.reference, write=given.write)
    sys.stdout.buffer.write(msgspec.json.encode(found))


if __name__ == "__main__":
    main()
