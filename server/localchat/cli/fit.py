"""`localchat fit`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from localchat.errors import DoesNotFit
from localchat.fit import FitRow, best, fit_rows
from localchat.hardware import Machine, probe
from localchat.hardware.bandwidth import memory_bandwidth
from localchat.hardware.need import readable
from localchat.hardware.plan import ram_budget
from localchat.registry import Choice, Registry, load_registry
from localchat.settings import Settings, load_settings

GB = 10**9


def command(
    model: Annotated[str | None, typer.Argument(metavar="[ID]", help="A model; all of the registry if absent.")] = None,
    all: Annotated[bool, typer.Option("--all", help="Also show models that do not fit.")] = False,
    ctx_size: Annotated[str | None, typer.Option(help="Context tokens of each sequence; auto fits memory.")] = None,
    parallel: Annotated[int | None, typer.Option(help="Sequences that decode together.")] = None,
    kv_type: Annotated[str | None, typer.Option(help="Type of the KV cache.")] = None,
    memory: Annotated[str | None, typer.Option(help="Most RAM for all models, as in 8G.")] = None,
    registry: Annotated[Path | None, typer.Option(help="Registry file that adds to the packaged one.")] = None,
    models_dir: Annotated[Path | None, typer.Option(help="Where downloaded weights are kept.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show which quants of a model, or which models, fit on this machine, and how fast they would be."""
    settings = load_settings(
        ctx_size=ctx_size, parallel=parallel, kv_type=kv_type, memory=memory, registry=registry, models_dir=models_dir
    )
    known, machine = load_registry(settings.registry), probe()
    bandwidth = memory_bandwidth(machine)
    if model is not None:
        rows = fit_rows(known.candidates(model), machine, settings, network=True)
        if not rows:
            raise DoesNotFit(f"{model}: its size is not known, and its header cannot be had")
        chosen = [best(rows)]
    else:
        rows = tuple(row for choices in _runnable(known) if (row := _overview(choices, machine, settings, all=all)))
        chosen = []
    if as_json:
        typer.echo(json.dumps(_as_json(rows, chosen, machine, settings, bandwidth), indent=2))
        return
    console = Console()
    for line in describe_machine(machine, settings, bandwidth):
        console.print(line, highlight=False, soft_wrap=True)
    console.print(_table(rows, chosen, bandwidth) if model is not None else _models(rows, bandwidth))
    console.print("tokens/s: what reading the weights allows one sequence on an idle machine", highlight=False)
    if any(row.is_estimated for row in rows):
        console.print("≈ told from the number of parameters, as nobody has looked into the file", highlight=False)


def describe_machine(machine: Machine, settings: Settings, bandwidth: float) -> list[str]:
    """What there is to fit into."""
    room = max(0, ram_budget(machine, settings.memory))
    gpus = ", ".join(f"{gpu.name} with {readable(gpu.free_bytes)} free" for gpu in machine.gpus)
    return [
        f"cpu      {machine.cores} cores of {machine.cpu}",
        f"memory   {readable(machine.ram_available)} free, of which models can have {readable(room)};"
        f" read at {bandwidth / GB:.0f} GB/s",
        f"gpu      {gpus or 'none that llama.cpp could use'}",
        "",
    ]


def _runnable(registry: Registry) -> list[tuple[Choice, ...]]:
    return [registry.candidates(spec.id) for spec in registry.models if not spec.unsupported]


def _overview(choices: Sequence[Choice], machine: Machine, settings: Settings, *, all: bool) -> FitRow | None:
    """The row that stands for a model: the one to take, or the smallest where none fits."""
    rows = fit_rows(choices, machine, settings)
    installed = best(row for row in rows if row.installed)
    smallest = min(rows, key=lambda row: row.plan.memory.total, default=None)
    return installed or best(rows) or (smallest if all else None)


def _table(rows: Sequence[FitRow], chosen: Sequence[FitRow | None], bandwidth: float) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("", "QUANT"):
        table.add_column(title)
    for title in ("SIZE", "RAM", "CONTEXT", "TOKENS/S"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("FITS", no_wrap=True)
    table.add_column("REMARKS", overflow="fold")
    for row in rows:
        mark = "→" if row in chosen else ""
        table.add_row(mark, row.choice.quant.name, *_figures(row, bandwidth), _fits(row), ", ".join(_remarks(row)))
    return table


def _models(rows: Sequence[FitRow], bandwidth: float) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("ID", overflow="fold")
    table.add_column("QUANT", no_wrap=True)
    for title in ("SIZE", "RAM", "CONTEXT", "TOKENS/S"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("FITS", no_wrap=True)
    for row in rows:
        table.add_row(row.choice.spec.id, row.choice.quant.name, *_figures(row, bandwidth), _fits(row))
    return table


def _figures(row: FitRow, bandwidth: float) -> tuple[str, str, str, str]:
    about = "≈" if row.is_estimated else ""
    speed = row.tokens_per_second(bandwidth)
    return (
        f"{about}{readable(row.size)}",
        f"{about}{readable(row.plan.memory.total)}",
        str(row.plan.n_ctx),
        "" if speed is None else f"{speed:.0f}" if speed >= 10 else f"{speed:.1f}",
    )


def _fits(row: FitRow) -> str:
    return "yes" if row.has_headroom else "barely" if row.fits else "no"


def _remarks(row: FitRow) -> list[str]:
    remarks = ["fast here" if row.is_fast else "slow here"]
    if row.installed:
        remarks.append("installed")
    if row.choice.quant.source.kind == "convert" and not row.installed:
        remarks.append("to be made by `localchat quantize`")
    if row.plan.gpu_layers:
        remarks.append(f"{row.plan.gpu_layers} layers on the GPU")
    return remarks


def _as_json(
    rows: Sequence[FitRow], chosen: Sequence[FitRow | None], machine: Machine, settings: Settings, bandwidth: float
) -> dict[str, Any]:
    return {
        "machine": {
            "cores": machine.cores,
            "cpu": machine.cpu.name,
            "features": sorted(machine.cpu.features),
            "ram_available": machine.ram_available,
            "ram_budget": ram_budget(machine, settings.memory),
            "vram_free": sum(gpu.free_bytes for gpu in machine.gpus),
            "bandwidth": round(bandwidth),
        },
        "quants": [
            {
                "id": row.choice.spec.id,
                "quant": row.choice.quant.name,
                "size": row.size,
                "ram": row.plan.memory.total,
                "vram": row.plan.vram.total,
                "context": row.plan.n_ctx,
                "parallel": row.plan.parallel,
                "fits": row.fits,
                "has_headroom": row.has_headroom,
                "headroom": row.headroom,
                "tokens_per_second": row.tokens_per_second(bandwidth),
                "is_fast": row.is_fast,
                "is_estimated": row.is_estimated,
                "installed": str(row.installed) if row.installed else None,
                "is_chosen": row in chosen,
            }
            for row in rows
        ],
    }
