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
    setup, machine = result["setup"], result["machine"]
    yield (
        f"`{result['model']}`, {setup['threads']} threads, {setup['parallel']} x {setup['ctx_size']} tokens, "
        f"{machine['cores']} cores, {machine['memory_gib']} GiB.\n"
    )
    if len(servers) > 1:
        yield from _workloads(result, servers)
    yield from _decode(result, servers)
    yield from _footprint(result, servers)


def _workloads(result: dict[str, Any], servers: list[str]) -> Iterator[str]:
    ours, theirs = servers[0], servers[1:]
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


def _decode(result: dict[str, Any], servers: list[str]) -> Iterator[str]:
    rows = [row for row in result["rows"] if row["workload"] == DECODE]
    for server in servers if rows else []:
        ratios = [row["decode_per_second"] / row["llama_bench"] for row in rows if row["server"] == server]
        rounds = " ".join(f"{ratio:.2f}" for ratio in ratios)
        yield (
            f"One stream's decode rate through HTTP over `llama-bench`'s before and after it, {server}: "
            f"**{statistics.median(ratios):.2f}** (each round {rounds}).\n"
        )


def _footprint(result: dict[str, Any], servers: list[str]) -> Iterator[str]:
    fresh, used = (
        ", ".join(f"{name} {result[moment][name] / 2**20:.0f} MiB" for name in servers)
        for moment in ("memory_fresh", "memory_used")
    )
    health = ", ".join(f"{name} {result['health'][name]:.2f} s" for name in servers)
    yield f"Memory of all its processes (proportional set size) when loaded: {fresh}; after the runs: {used}.\n"
    yield f"From start to the first answer of `/health`: {health}.\n"


def micro(figures: dict[str, Any]) -> Iterator[str]:
    """The table of the small figures."""
    yield "| sampling a token of 49,152 | localchat | the same chain over all tokens |"
    yield "|---|---|---|"
    for name, case in figures["sampling"].items():
        yield f"| {name} | {case['ours']:.0f} µs | {case['stock']:.0f} µs |"
    yield ""
    yield f"`localchat --help` takes {figures['help']:.2f} s; `/health` answers after {figures['health']:.2f} s.\n"


def main() -> None:
    """Put the tables between the marks."""
    readme = HERE / "README.md"
    text = readme.read_text()
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    results = [json.loads(path.read_text()) for path in sorted((HERE / "results").glob("*.json"), reverse=True)]
    results = [result for result in results if "rows" in result and "setup" in result]
    lines = [line for result in results for line in tables(result)]
    if (small := HERE / "results" / "micro.json").exists():
        lines += micro(json.loads(small.read_text()))
    readme.write_text(f"{head}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{tail}")


if __name__ == "__main__":
    main()
