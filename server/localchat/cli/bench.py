"""`localchat bench`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec import structs
from rich.console import Console
from rich.table import Table

from localchat.errors import ConfigError, UnsupportedModel
from localchat.hardware import GgufHeader, Machine, plan_load, probe, read_header
from localchat.hardware.bandwidth import memory_bandwidth
from localchat.hardware.plan import UNKNOWN_CONTEXT
from localchat.hardware.speed import bytes_per_token
from localchat.hub.progress import TerminalProgress
from localchat.launch import Launch, prepare
from localchat.registry import load_registry
from localchat.settings import load_settings
from localchat.tuning import plot as drawing
from localchat.tuning.bench import MOST_STEPS, Row, bench, readable
from localchat.tuning.client import Bencher
from localchat.tuning.messages import Decode, Prompt, Setup
from localchat.tuning.neighbours import BUSY, Neighbours, cpu_seconds
from localchat.tuning.setup import opening, setup_of

GB = 10**9
_ROOM = 2 * MOST_STEPS
"""Tokens of each sequence that decodes with others."""


@dataclass(frozen=True)
class Report:
    """What was measured, and under which circumstances."""

    title: str
    quant: str
    launch: Launch
    setup: Setup
    rows: Sequence[Row]
    weights: int
    """Bytes of them that a step makes the machine read."""
    cell: int
    """Bytes of a token in the context."""
    bandwidth: float | None
    """None with layers on a GPU, whose memory is another."""
    load: float
    others: float
    """Processors that other programs kept busy meanwhile."""
    machine: Machine

    @property
    def threads(self) -> str:
        """How many compute."""
        return "1 thread" if self.setup.threads == 1 else f"{self.setup.threads} threads"

    @property
    def is_disturbed(self) -> bool:
        """Whether the figures would be higher on a quiet machine."""
        return self.others > BUSY * self.machine.cores

    def share(self, row: Row) -> float | None:
        """Of the memory's bandwidth."""
        read = row.bytes_per_second(self.weights, self.cell)
        return None if read is None or self.bandwidth is None else read / self.bandwidth


def command(
    model: Annotated[str, typer.Argument(help="Registry id, ID:QUANT, or a GGUF file.", metavar="MODEL")],
    sequences: Annotated[str, typer.Option(help="Numbers of sequences that decode together.")] = "1,2,4,8,16",
    context: Annotated[str, typer.Option(help="Lengths of what one sequence has before it decodes.")] = "1024",
    prompt: Annotated[int, typer.Option(min=1, help="Most tokens of the prompt.")] = 512,
    seconds: Annotated[float, typer.Option(min=0, help="About how long to measure; three rounds at least.")] = 20,
    plot: Annotated[Path | None, typer.Option(help="Draw the speeds to a file, .svg or .png.")] = None,
    threads: Annotated[str | None, typer.Option(help="Compute threads; auto takes the physical cores.")] = None,
    single_row_threads: Annotated[str | None, typer.Option(help="Compute threads of a step with one row.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Most tokens of one engine step.")] = None,
    ubatch_size: Annotated[int | None, typer.Option(help="Most tokens of one pass through the graph.")] = None,
    kv_type: Annotated[str | None, typer.Option(help="Type of the KV cache.")] = None,
    kv_unified: Annotated[bool | None, typer.Option("--kv-unified", help="One KV buffer for all sequences.")] = None,
    flash_attn: Annotated[str | None, typer.Option(help="Flash attention: auto, on, off.")] = None,
    gpu_layers: Annotated[str | None, typer.Option(help="Layers on the GPU; auto fits VRAM.")] = None,
    tuned: Annotated[bool | None, typer.Option(help="Use what `localchat tune` found.")] = None,
    registry: Annotated[Path | None, typer.Option(help="Registry file that adds to the packaged one.")] = None,
    models_dir: Annotated[Path | None, typer.Option(help="Where downloaded weights are kept.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure how fast a model reads prompts and writes, alone and in several sequences; nothing is sampled."""
    counts = parse_numbers("--sequences", sequences, 256)
    depths = parse_numbers("--context", context, 1 << 20) if context else []
    if plot is not None:
        drawing.check(plot)
    settings = load_settings(
        threads=threads,
        single_row_threads=single_row_threads,
        batch_size=batch_size,
        ubatch_size=ubatch_size,
        kv_type=kv_type,
        kv_unified=kv_unified,
        flash_attn=flash_attn,
        gpu_layers=gpu_layers,
        tuned=tuned,
        registry=registry,
        models_dir=models_dir,
    )
    machine = probe()
    launch = prepare(model, settings, load_registry(settings.registry), machine, TerminalProgress())
    header = check_kind(launch)
    report = _measure(launch, header, machine, (counts, depths, prompt), seconds)
    if plot is not None:
        limit = None if report.bandwidth is None else report.bandwidth / report.weights
        drawing.plot(f"{report.title}, {report.threads}", report.rows, limit, plot)
    if as_json:
        typer.echo(json.dumps(_as_json(report), indent=2))
        return
    _show(report)
    if plot is not None:
        typer.echo(f"drawn to {plot}")


def parse_numbers(flag: str, text: str, most: int) -> list[int]:
    """Numbers with commas between them, in order. Raises ConfigError."""
    try:
        numbers = sorted({int(part) for part in text.split(",")})
    except ValueError:
        numbers = [0]
    if numbers[0] < 1 or numbers[-1] > most:
        raise ConfigError(f"{flag}: {text!r} is not a list of numbers from 1 to {most}, as in 1,4,16")
    return numbers


def title(launch: Launch, header: GgufHeader) -> str:
    """The model and its format."""
    quant = header.quant or launch.choice.quant.name
    return launch.id if launch.id.endswith(quant) else f"{launch.id} {quant}"


def check_kind(launch: Launch) -> GgufHeader:
    """The header of a model that decodes from its own prompt. Raises UnsupportedModel for others."""
    header = read_header(launch.path)
    if header.is_encoder_decoder:
        raise UnsupportedModel(f"{launch.id} cannot be measured: its prompts go into an encoder", param="model")
    return header


def _measure(
    launch: Launch, header: GgufHeader, machine: Machine, asked: tuple[list[int], list[int], int], seconds: float
) -> Report:
    """Measure what fits in the context that the model was trained for."""
    counts, depths, prompt = asked
    trained = header.context_length or UNKNOWN_CONTEXT
    prompt, room = min(prompt, trained), min(_ROOM, trained)
    depths = sorted({min(depth, trained - room) for depth in depths} - {0})
    longest = max([prompt, *(depth + room for depth in depths)])
    sizes = {"parallel": counts[-1], "ctx_size": max(room, min(trained, -(-longest // counts[-1])))}
    plan = plan_load(header, machine, launch.settings.model_copy(update=sizes))
    alone, together = setup_of(plan, parallel=1, n_ctx=longest), setup_of(plan, parallel=counts[-1], n_ctx=room)
    steps = room // 2
    rows = [Row(structs.replace(alone, n_ctx=prompt), Prompt(prompt))]
    rows += [Row(together, Decode(count, steps)) for count in counts]
    rows += [Row(alone, Decode(1, steps, depth)) for depth in depths]
    bandwidth = None if plan.gpu_layers else memory_bandwidth(machine, again=True)
    with Bencher(opening(launch.load)) as bencher:
        neighbours, before = Neighbours(), cpu_seconds(None)
        single = bench(bencher.measure, rows, seconds)
        others = neighbours.cores(cpu_seconds(None, bencher.pid) - before)
    return Report(
        title=title(launch, header),
        quant=header.quant or launch.choice.quant.name,
        launch=launch,
        setup=structs.replace(together, single_row_threads=single),
        rows=rows,
        weights=bytes_per_token(header),
        cell=(plan.memory.kv_cache + plan.vram.kv_cache) // (plan.n_ctx * plan.parallel),
        bandwidth=bandwidth,
        load=neighbours.load,
        others=others,
        machine=machine,
    )


def _show(report: Report) -> None:
    launch, setup = report.launch, report.setup
    layout = "unified" if setup.kv_unified else "streams"
    lines = [
        f"model    {report.title}: a step reads {report.weights / 1e6:.0f} MB of weights",
        f"setup    {report.threads}, {setup.single_row_threads} for a single row; batch {setup.batch_size},"
        f" ubatch {setup.ubatch_size}; KV {setup.kv_type}, {layout}; flash attention {setup.flash_attn}",
        f"machine  {report.machine.cores} cores of {report.machine.cpu.name}"
        + (f", memory read at {report.bandwidth / GB:.0f} GB/s" if report.bandwidth else ""),
    ]
    console = Console()
    for line in [*lines, *(f"tuned    {text}" for text in [launch.tuned] if text), ""]:
        console.print(line, highlight=False, soft_wrap=True)
    console.print(_table(report))
    console.print(_circumstances(report), highlight=False, soft_wrap=True)


def _table(report: Report) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("WORK", no_wrap=True)
    for title in ("TOKENS/S", "EACH", "ROUNDS FROM–TO", "BANDWIDTH"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in report.rows:
        speeds, share = row.speeds, report.share(row)
        spread = f"{readable(speeds[0])}–{readable(speeds[-1])}"
        each = "" if row.sequences == 1 else readable(row.speed / row.sequences)
        table.add_row(row.name, readable(row.speed), each, spread, "" if share is None else f"{share:.0%}")
    return table


def _circumstances(report: Report) -> str:
    rounds = len(report.rows[0].seconds)
    counted = f"median of {rounds} rounds" if rounds > 1 else "one round"
    busy = f"other programs kept {report.others:.1f} processors busy meanwhile (load before: {report.load:.1f})"
    verdict = ": the figures are too low; measure again when it is quiet" if report.is_disturbed else ""
    return f"{counted}; {busy}{verdict}"


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "model": report.launch.id,
        "quant": report.quant,
        "file": str(report.launch.path),
        "setup": structs.asdict(report.setup),
        "cpu": report.machine.cpu.name,
        "cores": report.machine.cores,
        "weights_bytes_per_step": report.weights,
        "context_bytes_per_token": report.cell,
        "bandwidth": None if report.bandwidth is None else round(report.bandwidth),
        "load_before": round(report.load, 2),
        "processors_busy_elsewhere": round(report.others, 2),
        "is_disturbed": report.is_disturbed,
        "rounds": len(report.rows[0].seconds),
        "results": [
            {
                "work": "decode" if isinstance(row.work, Decode) else "prompt",
                "sequences": row.sequences,
                "context": row.work.depth if isinstance(row.work, Decode) else 0,
                "tokens": row.tokens,
                "tokens_per_second": round(row.speed, 2),
                "slowest": round(row.speeds[0], 2),
                "fastest": round(row.speeds[-1], 2),
                "share_of_bandwidth": None if (share := report.share(row)) is None else round(share, 4),
            }
            for row in report.rows
        ],
    }
