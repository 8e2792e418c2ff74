"""What four streams bring over one at the size of MPT-7B: through HTTP, and in `llama-batched-bench`.

    python benchmarks/mpt_shape.py VOCAB.gguf mpt7b.gguf
    python benchmarks/mpt7b.py mpt7b.gguf [--llama-cpp FOLDER] [--rounds 3]

Decode rates alone: prompts are a word long, and a stream's rate is counted from its first token.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from run import RESULTS, WORK, Workload, machine, measure, start
from servers import Setup

ONE = Workload("1 stream", 1, 1, 48, prompt_words=1)
FOUR = Workload("4 streams", 4, 4, 48, prompt_words=1)
_CONTEXT = 512


def batched_bench(binaries: Path, setup: Setup) -> float:
    """Four sequences' decode rate over one's, without a server."""
    command = [str(binaries / "llama-batched-bench"), "-m", str(setup.model), "-t", str(setup.threads)]
    command += ["-c", str(_CONTEXT * 4), "-npp", "16", "-ntg", "32", "-npl", "1,4", "--output-format", "jsonl"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rates = {row["pl"]: row["speed_tg"] for row in map(json.loads, _json_lines(output))}
    return float(rates[4] / rates[1])


def _json_lines(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("{") and '"speed_tg"' in line]


def main() -> None:
    """Measure in turn, store, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="file made by mpt_shape.py")
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False) or 1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--llama-cpp", type=Path, help="folder of llama-batched-bench; left out when not given")
    arguments = parser.parse_args()
    for folder in (WORK, RESULTS):
        folder.mkdir(parents=True, exist_ok=True)
    setup = Setup(arguments.model, arguments.threads, FOUR.concurrency, _CONTEXT)
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        (server,) = start(stack, WORK, setup, WORK, alone=True)
        for turn in range(arguments.rounds):
            rates = {
                workload.name: workload.concurrency * measure(server, workload, int(time.time()))["decode_per_second"]
                for workload in ((ONE, FOUR) if turn % 2 else (FOUR, ONE))
            }
            rows.append({"round": turn, **rates, "ratio": rates[FOUR.name] / rates[ONE.name]})
    alone = batched_bench(arguments.llama_cpp, setup) if arguments.llama_cpp else None
    result = {"machine": machine(), "model": setup.model.name, "rounds": rows, "llama_batched_bench": alone}
    (RESULTS / "mpt7b.json").write_text(json.dumps(result, indent=1) + "\n")
    ratios = [row["ratio"] for row in rows]
    beside = f"; llama-batched-bench {alone:.2f}" if alone else ""
    print(f"4 streams over 1: {statistics.median(ratios):.2f} ({' '.join(f'{ratio:.2f}' for ratio in ratios)}){beside}")


if __name__ == "__main__":
    main()
