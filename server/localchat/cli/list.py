"""`localchat list`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from localchat.errors import LicenseForbids
from localchat.hub.installed import find
from localchat.registry import Choice, ModelSpec, Registry, load_registry
from localchat.registry.license import check_commercial
from localchat.settings import Settings, load_settings

_PIPE_WIDTH = 240


def command(
    installed: Annotated[bool, typer.Option("--installed", help="Only what is on this machine.")] = False,
    catalog: Annotated[bool, typer.Option("--catalog", help="All of the registry; the default.")] = False,
    commercial: Annotated[
        bool | None, typer.Option("--commercial", help="Only what its license allows to use commercially.")
    ] = None,
    fits: Annotated[bool, typer.Option("--fits", help="Only what fits on this machine.")] = False,
    arch: Annotated[str | None, typer.Option(help="Only this architecture, as in mpt.")] = None,
    registry: Annotated[Path | None, typer.Option(help="Registry file that adds to the packaged one.")] = None,
    models_dir: Annotated[Path | None, typer.Option(help="Where downloaded weights are kept.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the models that localchat knows."""
    if installed and catalog:
        raise typer.BadParameter("choose --installed or --catalog")
    settings = load_settings(registry=registry, models_dir=models_dir, commercial=commercial)
    known = load_registry(settings.registry)
    kept = [spec for spec in known.models if not arch or spec.architecture == arch]
    allowed = [spec for spec in kept if not settings.commercial or _is_allowed(spec)]
    left_out = len(kept) - len(allowed)
    here = {spec.id: quants for spec in allowed if (quants := installed_quants(spec, settings.models_dir))}
    shown = [spec for spec in allowed if not installed or spec.id in here]
    if fits:
        shown = list(filter(_fitting(known, settings), shown))
    if as_json:
        typer.echo(json.dumps([as_object(spec, here.get(spec.id, [])) for spec in shown], indent=2))
        return
    _print(shown, here)
    if left_out:
        typer.echo(f"{left_out} more are left out: their licenses do not allow commercial use, or are not known")


def installed_quants(spec: ModelSpec, models_dir: Path) -> list[str]:
    """The quants of a model that are on this machine."""
    return [quant.name for quant in spec.quants if find(Choice(spec, quant), models_dir)]


def runs(spec: ModelSpec) -> str:
    """Whether it can be served: as it is, once it was converted, or not at all."""
    if spec.unsupported:
        return "no"
    return "convert" if all(quant.source.kind == "convert" for quant in spec.quants) else "yes"


def as_object(spec: ModelSpec, installed: list[str]) -> dict[str, Any]:
    """An entry as JSON has it."""
    entry = spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {**entry, "runs": runs(spec), "installed": installed}


def formats(spec: ModelSpec) -> str:
    """The quants, in the width of a column."""
    names = [quant.name for quant in spec.quants]
    return " ".join(names) if len(names) <= 2 else f"{names[0]} +{len(names) - 1}"


def _print(shown: list[ModelSpec], here: dict[str, list[str]]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("ID", "SIZE", "FORMATS", "LICENSE", "COMMERCIAL", "RUNS", "INSTALLED"):
        table.add_column(name, no_wrap=name in ("ID", "SIZE", "RUNS"))
    for spec in shown:
        row = [
            spec.id,
            spec.parameters or "",
            formats(spec),
            spec.license or "unknown",
            spec.commercial.use,
            runs(spec),
        ]
        table.add_row(*row, " ".join(here.get(spec.id, [])))
    # What is not a terminal has no width, and a program that reads rows wants them whole.
    Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)


def _is_allowed(spec: ModelSpec) -> bool:
    try:
        check_commercial(spec)
    except LicenseForbids:
        return False
    return True


def _fitting(known: Registry, settings: Settings) -> Callable[[ModelSpec], bool]:
    from localchat.fit import best, fit_rows  # noqa: PLC0415 - what only --fits needs
    from localchat.hardware import probe  # noqa: PLC0415

    machine = probe()

    def fits(spec: ModelSpec) -> bool:
        return not spec.unsupported and best(fit_rows(known.candidates(spec.id), machine, settings)) is not None

    return fits
