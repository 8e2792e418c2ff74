"""A process that loads one GGUF file, measures it and says so: memory is only its own in a process of its own.

    python -m localchat_quantize.probe FILE.gguf --threads 2 --text TEXT [--reference FILE.npy [--write]]

With `--write` the file's answers become the reference; without, they are compared with it. Without a reference only the
speed is measured. Standard output has a line of JSON for each step, and what was found in the last one.
"""

from __future__ import annotations

import localchat.llama.library  # noqa: F401  before numpy: see there

# isort: split
import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import psutil

from localchat.errors import LocalchatError
from localchat.llama.context import Context, ContextParams
from localchat.llama.embedding import Embedder
from localchat.llama.model import Model
from localchat_quantize.chunks import Step, chunk_size, chunks_of, reader
from localchat_quantize.quality import Quality, compare_vectors, measure, open_reference, write_reference

PROMPT = 512
"""Tokens of the prompt whose speed is measured, where the model was trained for as many."""
DECODED = 48
"""Tokens decoded after it, one by one."""
_ROUNDS = 3


class Speed(msgspec.Struct, frozen=True, tag=True):
    """The best of three rounds, in tokens per second."""

    prompt: float
    decode: float | None


class Findings(msgspec.Struct, frozen=True, tag=True):
    """All that is measured of one file; `peak_rss` in bytes with a context of a thousand tokens."""

    quality: Quality
    speed: Speed
    peak_rss: int


class Stage(msgspec.Struct, frozen=True, tag=True):
    """How far it is."""

    done: int
    total: int


def measure_speed(context: Context, tokens: list[int]) -> Speed:
    """Read a prompt, then decode after it; what else the machine does makes single rounds slower, never faster."""
    prompt, decode = [], []
    decoded = min(DECODED, context.n_ctx // 4)
    tokens = tokens[: min(PROMPT, context.n_ctx - decoded)]
    for _ in range(_ROUNDS):
        context.drop(0)
        start = time.perf_counter()
        first = _read_prompt(context, tokens)
        middle = time.perf_counter()
        for position in range(first, first + decoded):
            _decode(context, position, tokens[:1])
        prompt.append(len(tokens) / (middle - start))
        decode.append(decoded / (time.perf_counter() - middle))
    return Speed(max(prompt), max(decode))


def _read_prompt(context: Context, tokens: list[int]) -> int:
    """The position to go on from."""
    if context.model.is_encoder_decoder:
        context.encode(tokens)
        return 0
    _decode(context, 0, tokens)
    return len(tokens)


def _decode(context: Context, position: int, tokens: list[int]) -> None:
    context.batch.clear()
    context.batch.add(0, position, tokens, last=True)
    context.decode()


def peak_rss() -> int:
    """The most memory this process has had resident."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    if sys.platform == "linux":  # its `ru_maxrss` begins with what the process that started this one had
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    import resource  # noqa: PLC0415 - there is none on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def probe(path: Path, text: str, threads: int, reference: Path, *, write: bool, step: Step | None = None) -> Findings:
    """Measure a file. Raises ModelLoadFailed, EngineError, ConfigError for a short text."""
    model = Model(path)
    if not model.has_decoder:
        return _probe_embedder(model, text, threads, reference, write=write)
    chunks = chunks_of(model.vocabulary, text, chunk_size(model))
    speed = _speed(model, threads, chunks[0])
    peak = peak_rss()  # before the arrays of the next step
    with reader(model, threads) as context:
        if write:
            return Findings(write_reference(context, chunks, reference, step), speed, peak)
        return Findings(measure(context, chunks, open_reference(reference), step), speed, peak)


def speed_of(path: Path, text: str, threads: int) -> Speed:
    """How fast a file that decodes is. Raises ModelLoadFailed, EngineError, ConfigError for a short text."""
    model = Model(path)
    return _speed(model, threads, chunks_of(model.vocabulary, text, chunk_size(model))[0])


def _speed(model: Model, threads: int, tokens: list[int]) -> Speed:
    """As it is served, with a context of a thousand tokens if the model can have it."""
    is_pair = model.is_encoder_decoder
    params = ContextParams(
        n_ctx=min(2 * PROMPT, model.trained_context),
        batch_size=PROMPT,
        ubatch_size=PROMPT,
        threads=threads,
        outputs=1,
        kv_unified=is_pair,
        flash_attn="off" if is_pair else "auto",
    )
    context = Context(model, params)
    try:
        return measure_speed(context, tokens)
    finally:
        context.close()


def _probe_embedder(model: Model, text: str, threads: int, reference: Path, *, write: bool) -> Findings:
    """A model that makes vectors is asked for those of the text's paragraphs."""
    size = chunk_size(model)
    embedder = Embedder(model, n_ctx=size, threads=threads)
    paragraphs = [embedder.tokenize(part)[:size] for part in text.split("\n\n") if part.strip()]
    start = time.perf_counter()
    vectors = np.stack([embedder.embed(tokens) for tokens in paragraphs])
    speed = Speed(sum(map(len, paragraphs)) / (time.perf_counter() - start), None)
    peak = peak_rss()
    embedder.close()
    if write:
        np.save(reference, vectors)
    return Findings(compare_vectors(vectors, None if write else open_reference(reference)), speed, peak)


def main() -> None:
    """Read the arguments, write the findings to standard output; an error is one line on standard error."""
    parser = argparse.ArgumentParser(prog="localchat_quantize.probe")
    parser.add_argument("file", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    text = given.text.read_text(encoding="utf-8")
    say: Callable[[Findings | Stage | Speed], None] = lambda fact: print(msgspec.json.encode(fact).decode(), flush=True)  # noqa: E731
    try:
        step: Step = lambda done, total: say(Stage(done, total))  # noqa: E731
        if given.reference is None:
            say(speed_of(given.file, text, given.threads))
        else:
            say(probe(given.file, text, given.threads, given.reference, write=given.write, step=step))
    except LocalchatError as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
