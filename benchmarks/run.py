"""`make bench`: localchat against llama-server, same file, same threads, alternating, medians of the ratios.

Everything it needs it makes: llama.cpp's programs from the source that llama-cpp-python carries, the Q4_0 file from
the embedded model. Results go to `benchmarks/results/` as JSON; `report.py` writes the tables of `README.md` from them.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

import peers
from servers import Running, Setup, free_port, llama_server_command, localchat_command, running

HERE = Path(__file__).parent
WORK = HERE.parent / "build" / "bench"
RESULTS = HERE / "results"


@dataclass(frozen=True)
class Workload:
    """A load and the name it has in the table."""

    name: str
    concurrency: int
    requests: int
    max_tokens: int
    shared_words: int = 0
    prompt_words: int = 40


DECODE = "1 stream, short prompt"
"""The workload whose decode rate is set against llama-bench's, which begins with an empty context."""

SMALL = (
    Workload("1 stream", 1, 8, 96),
    Workload("4 streams", 4, 24, 96),
    Workload("16 streams", 16, 32, 96),
    Workload("16 streams, 300 words shared", 16, 32, 96, 300),
)
DECODE_ONLY = (Workload(DECODE, 1, 4, 128, prompt_words=1),)
LARGE = (Workload(DECODE, 1, 2, 64, prompt_words=1),)


def embedded_q4_0() -> Path:
    """The embedded model as Q4_0, which has fast kernels."""
    target = WORK / "smollm2-135m-instruct.Q4_0.gguf"
    if not target.exists():
        from localchat.hub.fetch import fetch  # noqa: PLC0415 - not needed with --model
        from localchat.hub.progress import TerminalProgress  # noqa: PLC0415
        from localchat.registry import load_registry  # noqa: PLC0415
        from localchat.settings import load_settings  # noqa: PLC0415
        from localchat_quantize.pipeline import requantize  # noqa: PLC0415

        choice = load_registry(None).resolve("smollm2-135m-instruct")
        source = fetch(choice, load_settings().models_dir, TerminalProgress())
        requantize(source, "Q4_0", target, TerminalProgress())
    return target


def start(stack: ExitStack, binaries: Path, setup: Setup, log: Path, *, alone: bool = False) -> list[Running]:
    """All servers, side by side, or ours alone; those that are not asked do nothing."""
    ports = [free_port() for _ in range(3)]
    commands = [
        ("localchat", localchat_command(setup, ports[0])),
        ("llama-server streams", llama_server_command(binaries / "llama-server", setup, ports[1], unified=False)),
        ("llama-server unified", llama_server_command(binaries / "llama-server", setup, ports[2], unified=True)),
    ]
    return [
        stack.enter_context(running(name, command, port, setup.model.stem, log / f"{name.replace(' ', '-')}.log"))
        for (name, command), port in list(zip(commands, ports, strict=True))[: 1 if alone else None]
    ]


def measure(server: Running, workload: Workload, seed: int) -> dict[str, Any]:
    """One load, made by a process of its own."""
    command = [
        sys.executable, str(HERE / "load.py"), "--base", server.base, "--model", server.model_id, "--ignore-eos",
        "--concurrency", str(workload.concurrency), "--requests", str(workload.requests),
        "--max-tokens", str(workload.max_tokens), "--shared-words", str(workload.shared_words), "--seed", str(seed),
        "--prompt-words", str(workload.prompt_words),
    ]  # fmt: skip
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    row: dict[str, Any] = json.loads(output)
    print(f"  {server.name:<22} {workload.name:<30} {row['tokens_per_second']:8.1f} tok/s, "
          f"decode {row['decode_per_second']:7.1f}, failed {row['failed']}", flush=True)  # fmt: skip
    return row


def llama_bench(binaries: Path, setup: Setup, tokens: int) -> float:
    """Tokens per second of llama.cpp's own decode loop: what HTTP is measured against."""
    command = [str(binaries / "llama-bench"), "-m", str(setup.model), "-t", str(setup.threads)]
    command += ["-p", "0", "-n", str(tokens), "-r", "2", "-o", "json"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = float(json.loads(output)[0]["avg_ts"])
    print(f"  llama-bench            decode {rate:.1f} tok/s", flush=True)
    return rate


def compare(name: str, model: Path, workloads: tuple[Workload, ...], arguments: argparse.Namespace) -> dict[str, Any]:
    """All rounds of all workloads on one model file."""
    binaries = arguments.llama_cpp or peers.build(WORK / "llama.cpp")
    setup = Setup(model, arguments.threads, 4 if name == "mpt" else arguments.parallel, arguments.ctx_size)
    rows: list[dict[str, Any]] = []
    WORK.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        servers = start(stack, binaries, setup, WORK, alone=arguments.alone)
        health = {server.name: server.health_seconds for server in servers}
        fresh = memory(servers)
        for workload in workloads:
            for turn in range(arguments.rounds):
                order = servers[turn % len(servers) :] + servers[: turn % len(servers)]
                seed = int(time.time())
                # A machine's speed drifts by the minute: each rate is set against llama-bench's before and after it.
                before = llama_bench(binaries, setup, workload.max_tokens) if workload.name == DECODE else 0.0
                for server in order:
                    row = {"server": server.name, "workload": workload.name, "round": turn}
                    row |= measure(server, workload, seed)
                    if workload.name == DECODE:
                        after = llama_bench(binaries, setup, workload.max_tokens)
                        row["llama_bench"], before = (before + after) / 2, after
                    rows.append(row)
        used = memory(servers)
    return {"model": model.name, "setup": {**asdict(setup), "model": model.name}, "rows": rows,
            "memory_fresh": fresh, "memory_used": used, "health": health}  # fmt: skip


def memory(servers: list[Running]) -> dict[str, int]:
    """Bytes that each server takes now."""
    return {server.name: server.resident_bytes for server in servers}


def machine() -> dict[str, Any]:
    """What the figures were made on."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": psutil.cpu_count(logical=False),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "python": platform.python_version(),
    }


def main() -> None:
    """Measure and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False) or 1)
    parser.add_argument("--parallel", type=int, default=16)
    parser.add_argument("--ctx-size", type=int, default=1024)
    parser.add_argument("--model", type=Path, help="GGUF to use instead of the embedded model as Q4_0")
    parser.add_argument("--mpt", type=Path, help="file made by mpt_shape.py; measured only when given")
    parser.add_argument("--only", choices=["small", "decode", "mpt"], help="one of the sets")
    parser.add_argument("--alone", action="store_true", help="localchat against llama-bench only")
    parser.add_argument("--llama-cpp", type=Path, help="folder of built llama.cpp programs; built when not given")
    arguments = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    for name, workloads in (("small", SMALL), ("decode", DECODE_ONLY)):
        if arguments.only in (None, name):
            store(name, compare(name, arguments.model or embedded_q4_0(), workloads, arguments))
    if arguments.mpt and arguments.only in (None, "mpt"):
        store("mpt", compare("mpt", arguments.mpt, LARGE, arguments))


def store(name: str, result: dict[str, Any]) -> None:
    """Keep the raw figures."""
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **result}, indent=1) + "\n")
    print(f"wrote {path.relative_to(HERE.parent)}; now: python benchmarks/report.py")


if __name__ == "__main__":
    main()
