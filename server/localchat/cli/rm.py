"""`localchat rm`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from localchat.errors import ModelNotFound, WeightsError
from localchat.hub.installed import Installed, installed
from localchat.hub.progress import format_bytes
from localchat.hub.removal import leftovers, remove, remove_leftover
from localchat.registry import Registry, load_registry
from localchat.settings import load_settings


def command(
    models: Annotated[list[str] | None, typer.Argument(help="Registry id for all its quants, or ID:QUANT.")] = None,
    leftover: Annotated[
        bool, typer.Option("--leftovers", help="Unfinished downloads and bad files that were set aside.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    registry: Annotated[Path | None, typer.Option(help="Registry file that adds to the packaged one.")] = None,
    models_dir: Annotated[Path | None, typer.Option(help="Where downloaded weights are kept.")] = None,
) -> None:
    """Remove installed models."""
    if not models and not leftover:
        raise typer.BadParameter("name the models to remove, or give --leftovers")
    settings = load_settings(registry=registry, models_dir=models_dir)
    known = load_registry(settings.registry)
    here = installed(known, settings.models_dir)
    for item in _unique([item for model in models or () for item in _matching(model, known, here)]):
        if _confirmed(f"{' '.join(item.names)}, {item.path}", item.size, yes):
            remove(item, settings.models_dir)
    for left in leftovers(settings.models_dir) if leftover else ():
        if _confirmed(str(left.path), left.size, yes):
            remove_leftover(left)


def _matching(model: str, known: Registry, here: list[Installed]) -> list[Installed]:
    """The installed files that a name stands for. Raises WeightsError if there is none."""
    try:
        candidates = known.candidates(model)
    except ModelNotFound:
        candidates = ()  # the entry may be gone, and its file still be here
    if any(choice.quant.source.kind == "path" for choice in candidates):
        raise WeightsError(f"{model} is your own file, which localchat does not remove")
    sources = [choice.quant.source for choice in candidates]
    found = [
        item
        for item in here
        if any(model in (choice.spec.id, name) for choice, name in zip(item.choices, item.names, strict=True))
        or any(choice.quant.source in sources for choice in item.choices)
    ]
    if not found:
        raise WeightsError(f"{model} is not installed; `localchat du` shows what is")
    return found


def _unique(items: list[Installed]) -> list[Installed]:
    return list({item.path: item for item in items}.values())


def _confirmed(what: str, size: int, yes: bool) -> bool:
    """Ask on a terminal; say what is removed elsewhere."""
    text = f"{what} ({format_bytes(size)})"
    if not yes and sys.stdin.isatty():
        return typer.confirm(f"remove {text}?")
    typer.echo(f"removing {text}")
    return True
