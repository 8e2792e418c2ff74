"""`localchat du`."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from localchat.hub.installed import Installed, installed
from localchat.hub.progress import format_bytes
from localchat.hub.removal import Leftover, leftovers
from localchat.registry import load_registry
from localchat.settings import load_settings

_WIDE = 1000


def command(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, with sizes in bytes.")] = False,
    registry: Annotated[Path | None, typer.Option(help="Registry file that adds to the packaged one.")] = None,
    models_dir: Annotated[Path | None, typer.Option(help="Where downloaded weights are kept.")] = None,
) -> None:
    """Show what is installed, how large it is, and where."""
    settings = load_settings(registry=registry, models_dir=models_dir)
    items = [item for item in installed(load_registry(settings.registry), settings.models_dir) if item.kind != "path"]
    left = leftovers(settings.models_dir)
    if as_json:
        typer.echo(json.dumps(_as_json(items, left), indent=2))
    else:
        _print_table(items, left)


def _total(items: list[Installed], left: list[Leftover]) -> int:
    return sum(item.size for item in items) + sum(entry.size for entry in left)


def _as_json(items: list[Installed], left: list[Leftover]) -> dict[str, Any]:
    models = [
        {
            "models": list(item.names),
            "kind": item.kind,
            "path": str(item.path),
            "size": item.size,
            "sha256": item.sha256,
            "verified": item.verified,
            "used": item.used,
        }
        for item in items
    ]
    rest = [{"path": str(entry.path), "size": entry.size, "state": _state(entry)} for entry in left]
    return {"installed": models, "leftovers": rest, "total": _total(items, left)}


def _print_table(items: list[Installed], left: list[Leftover]) -> None:
    from rich.console import Console  # noqa: PLC0415 - JSON needs none
    from rich.table import Table  # noqa: PLC0415

    table = Table("MODEL", "QUANT", "SIZE", "LAST USED", "WHERE", box=None, pad_edge=False)
    for item in items:
        for choice in item.choices:
            used = datetime.fromtimestamp(item.used).strftime("%Y-%m-%d %H:%M")
            table.add_row(choice.spec.id, choice.quant.name, format_bytes(item.size), used, str(item.path))
    for entry in left:
        table.add_row(_state(entry), "", format_bytes(entry.size), "", str(entry.path))
    table.add_row("total", "", format_bytes(_total(items, left)), "", "")
    # Paths are to be copied: where no terminal limits the lines, none is broken.
    Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False).print(table)


def _state(entry: Leftover) -> str:
    return "(bad, set aside)" if entry.is_bad else "(unfinished)"
