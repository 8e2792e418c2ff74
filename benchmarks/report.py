"""Writes the tables of `README.md` from the raw figures in `results/`."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from run import DECODE

HERE = Path(__file__).parent
BEGIN, END = "<!-- tables: begin -->\n", "<!-- tables: end -->\n"


def paired(result: dict[str, Any], workload: str, server: str, peers: list[str], figure: str) -> list[float]:
    """Of each round: our figure over the best peer's of the same round."""
    rounds: dict[int, dict[str, float]] = {}
    for row in result["rows"]:
        if row["workload"] == workload:
            rounds.setdefault(row["round"], {})[row["server"]] = row[figure]
    return [figures[server] / max(figures[peer] for peer in peers) for figures in rounds.values()]


def median(result: dict[str, Any], workload: str, server: str, figure: str) -> float:
    """Median over the rounds."""
    rows = [row for row in result["rows"] if row["workload"] == workload and row["server"] == server]
    return float(statistics.median(row[figure] for row in rows))


def tables(result: dict[str, Any]) -> Iterator[str]:
    """The tables of one model file."""
    servers = list(dict.fromkeys(row["server"] for row in result["rows"]))
    ours, theirs = servers[0], servers[1:]
    setup, machine = result["setup"], result["machine"]
    yield (
        f"`{result['model']}`, {setup['threads']} threads, {setup['parallel']} x {setup['ctx_size']} tokens, "
        f"{machine['cores']} cores, {machine['memory_gib']} GiB.\n"
    )
    yield (
        "| workload | "
        + " | ".join(f"{name}, tok/s" for name in servers)
        + " | ratio to the best | each round | failed |"
    )
    yield "|---" * (len(servers) + 4) + "|"
    for workload in dict.fromkeys(row["workload"] for row in result["rows"]):
        ratios = paired(result, workload, ours, theirs, "tokens_per_second")
        rates = " | ".join(f"{median(result, workload, name, 'tokens_per_second'):.1f}" for name in servers)
        failed = ", ".join(
            str(sum(r["failed"] for r in result["rows"] if r["workload"] == workload and r["server"] == name))
            for name in servers
        )
        rounds = " ".join(f"{ratio:.2f}" for ratio in ratios)
        yield f"| {workload} | {rates} | **{statistics.median(ratios):.2f}** | {rounds} | {failed} |"
    yield ""
    yield from _decode(result, ours)
    yield from _footprint(result, servers)


def _decode(result: dict[str, Any], ours: str) -> Iterator[str]:
    rates = [r["decode_per_second"] for r in result["rows"] if r["workload"] == DECODE and r["server"] == ours]
    ratios = [rate / bench for rate, bench in zip(rates, result["llama_bench"], strict=False)]
    rounds = " ".join(f"{ratio:.2f}" for ratio in ratios)
    yield (
        f"One stream's decode rate through HTTP over `llama-bench`'s: **{statistics.median(ratios):.2f}** "
        f"(median {statistics.median(rates):.1f} over {statistics.median(result['llama_bench']):.1f} tok/s; "
        f"each round {rounds}).\n"
    )


def _footprint(result: dict[str, Any], servers: list[str]) -> Iterator[str]:
    memory = ", ".join(f"{name} {result['memory'][name] / 2**20:.0f} MiB" for name in servers)
    health = ", ".join(f"{name} {result['health'][name]:.2f} s" for name in servers)
    yield f"Memory after the runs, all processes (proportional set size): {memory}.\n"
    yield f"From start to the first answer of `/health`: {health}.\n"


def main() -> None:
    """Put the tables between the marks."""
    readme = HERE / "README.md"
    text = readme.read_text()
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    results = [json.loads(path.read_text()) for path in sorted((HERE / "results").glob("*.json"), reverse=True)]
    lines = [line for result in results for line in tables(result)]
    readme.write_text(f"{head}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{tail}")


if __name__ == "__main__":
    main()
