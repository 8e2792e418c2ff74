"""Small figures that need no peer: sampling, and how quickly the program starts. Writes `results/micro.json`."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import llama_cpp.llama_cpp as C
import numpy as np
from numpy.typing import NDArray

from localchat.hub.fetch import fetch
from localchat.hub.progress import TerminalProgress
from localchat.llama.model import Model
from localchat.llama.sampler import Sampler, build_chain
from localchat.registry import load_registry
from localchat.sampling_params import SamplingParams
from localchat.settings import load_settings
from servers import free_port

HERE = Path(__file__).parent
MODEL = "smollm2-135m-instruct"
ROUNDS = 5
TOKENS = 1000
MICROSECONDS = 1e6

Choose = Callable[[NDArray[np.float32]], None]


def ours(model: Model, params: SamplingParams) -> Choose:
    """Our sampler, sampling and accepting."""
    sampler = Sampler(params, model.vocabulary, 2048)
    return lambda logits: sampler.accept((sampler.sample(logits),))


def stock(model: Model, params: SamplingParams) -> Choose:
    """The usual way: the same chain over an array of the whole vocabulary, filled by numpy."""
    chain = build_chain(params, model.vocabulary, {}, 1, 2048)
    candidates = np.empty(model.vocabulary.size, np.dtype([("id", "i4"), ("logit", "f4"), ("p", "f4")]))
    ids = np.arange(model.vocabulary.size, dtype=np.int32)

    def choose(logits: NDArray[np.float32]) -> None:
        candidates["id"], candidates["logit"] = ids, logits
        data = C.ctypes.cast(candidates.ctypes.data, C.llama_token_data_p)
        array = C.llama_token_data_array(data=data, size=ids.size, selected=-1, sorted=False)
        C.llama_sampler_apply(chain, C.ctypes.byref(array))
        C.llama_sampler_accept(chain, array.data[array.selected].id)

    return choose


def seconds(choose: Choose, rows: list[NDArray[np.float32]]) -> float:
    """Of one token."""
    start = time.perf_counter()
    for index in range(TOKENS):
        choose(rows[index % len(rows)])
    return (time.perf_counter() - start) / TOKENS


def sampling() -> dict[str, dict[str, float]]:
    """Microseconds a token, ours and the stock chain's in turn."""
    path = fetch(load_registry(None).resolve(MODEL), load_settings().models_dir, TerminalProgress())
    model = Model(path)
    rng = np.random.default_rng(0)
    rows = [rng.normal(0, 3, model.vocabulary.size).astype(np.float32) for _ in range(16)]
    cases = {
        "default settings": SamplingParams(seed=1),
        "default settings, repeat_penalty 1.1": SamplingParams(seed=1, repeat_penalty=1.1),
        "temperature 0": SamplingParams(temperature=0),
        "top_k 0, top_p 0.95": SamplingParams(seed=1, top_k=0),
    }
    figures = {}
    for name, params in cases.items():
        pairs = [(seconds(ours(model, params), rows), seconds(stock(model, params), rows)) for _ in range(ROUNDS)]
        figures[name] = {
            "ours": statistics.median(pair[0] for pair in pairs) * MICROSECONDS,
            "stock": statistics.median(pair[1] for pair in pairs) * MICROSECONDS,
        }
        print(f"  {name:<40} {figures[name]['ours']:8.1f} µs, stock chain {figures[name]['stock']:8.1f} µs")
    return figures


def help_seconds() -> float:
    """`localchat --help`, the whole process."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "localchat", "--help"], check=True, capture_output=True)
    return time.perf_counter() - start


def health_seconds() -> float:
    """From the start of `localchat serve` to the first answer of `/health`."""
    port = free_port()
    start = time.perf_counter()
    command = [sys.executable, "-m", "localchat", "serve", "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            while process.poll() is None:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                        return time.perf_counter() - start
                except OSError:
                    time.sleep(0.005)
        finally:
            process.terminate()
    raise RuntimeError("localchat serve ended early")


def main() -> None:
    """Measure and store."""
    figures: dict[str, object] = {"sampling": sampling()}
    for name, measure in (("help", help_seconds), ("health", health_seconds)):
        figures[name] = statistics.median(measure() for _ in range(ROUNDS))
        print(f"  {name:<40} {figures[name]:8.2f} s")
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "micro.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
