"""`localchat list`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from localchat.registry import load_registry
from localchat.settings import load_settings


def command(
    registry: Annotated[Path | None, typer.Option(help="Registry file to use instead of the packaged one.")] = None,
) -> None:
    """List the models that localchat knows."""
    settings = load_settings(registry=registry)
    table = Table("ID", "TITLE", "SIZE", "QUANTS", "LICENSE", box=None, pad_edge=False)
    for spec in load_registry(settings.registry).models:
        quants = " ".join(quant.name for quant in spec.quants)
        table.add_row(spec.id, spec.title, spec.parameters or "", quants, spec.license or "unknown")
    Console().print(table)
