"""Resident memory with every sequence's context full: ours over llama-server's, same context and parallelism.

    python benchmarks/footprint.py --llama-cpp FOLDER [--model FILE.gguf] [--parallel 16] [--ctx-size 1024]

Each server runs alone: started, asked once by every stream with a prompt that fills its context, looked at. What both
keep beside the context, llama-server's prompt cache and our prefix cache, is measured as by default, and without.
Memory is the proportional set size of all processes of a server, so that what they share counts once.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

import peers
from run import RESULTS, WORK, Workload, embedded_q4_0, machine, measure
from servers import Setup, free_port, llama_server_command, localchat_command, running

MIB = 1 << 20
OURS, THEIRS = "localchat", "llama-server"
_REPLY, _TEMPLATE = 16, 64


def commands(setup: Setup, binaries: Path) -> dict[str, tuple[int, list[str]]]:
    """Every way to be measured: a port and a command line."""
    ports = [free_port() for _ in range(6)]
    server, unified = binaries / "llama-server", {"streams": False, "unified": True}
    ways = {
        OURS: localchat_command(setup, ports[0]),
        f"{OURS}, no prefix cache": localchat_command(setup, ports[1], ("--prefix-cache", "1")),
    }
    for port, (layout, is_unified) in zip(ports[2:], unified.items(), strict=False):
        ways[f"{THEIRS} {layout}"] = llama_server_command(server, setup, port, unified=is_unified)
    for port, (layout, is_unified) in zip(ports[4:], unified.items(), strict=True):
        plain = llama_server_command(server, setup, port, unified=is_unified)
        ways[f"{THEIRS} {layout}, no prompt cache"] = [*plain, "--cache-ram", "0"]
    return {name: (port, command) for port, (name, command) in zip(ports, ways.items(), strict=True)}


def fill(setup: Setup) -> Workload:
    """One request for each sequence, as long as its context."""
    words = setup.ctx_size - _REPLY - _TEMPLATE
    return Workload("full contexts", setup.parallel, setup.parallel, _REPLY, prompt_words=words)


def main() -> None:
    """Measure, store, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="GGUF to use instead of the embedded model as Q4_0")
    parser.add_argument("--llama-cpp", type=Path, help="folder of built llama.cpp programs; built when not given")
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False) or 1)
    parser.add_argument("--parallel", type=int, default=16)
    parser.add_argument("--ctx-size", type=int, default=1024)
    arguments = parser.parse_args()
    for folder in (WORK, RESULTS):
        folder.mkdir(parents=True, exist_ok=True)
    binaries = arguments.llama_cpp or peers.build(WORK / "llama.cpp")
    setup = Setup(arguments.model or embedded_q4_0(), arguments.threads, arguments.parallel, arguments.ctx_size)
    found: dict[str, dict[str, Any]] = {}
    for name, (port, command) in commands(setup, binaries).items():
        with running(name, command, port, setup.model.stem, WORK / "footprint.log") as server:
            fresh = server.resident_bytes
            row = measure(server, fill(setup), 0)
            found[name] = {"fresh": fresh, "full": server.resident_bytes, "failed": row["failed"]}
            print(
                f"  {name:<40} {fresh / MIB:6.0f} MiB when loaded, {found[name]['full'] / MIB:6.0f} MiB full",
                flush=True,
            )
    result = {"machine": machine(), "setup": {**asdict(setup), "model": setup.model.name}, "memory": found}
    (RESULTS / "footprint.json").write_text(json.dumps(result, indent=1) + "\n")
    for words, is_plain in (("as they are", False), ("without caches", True)):
        ways = {name: row["full"] for name, row in found.items() if ("cache" in name) == is_plain}
        ours = next(full for name, full in ways.items() if name.startswith(OURS))
        theirs = min(full for name, full in ways.items() if name.startswith(THEIRS))
        print(f"{words}: {ours / theirs:.2f} of llama-server's least")


if __name__ == "__main__":
    main()
