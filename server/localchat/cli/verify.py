"""`localchat verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from localchat.errors import LocalchatError, WeightsError
from localchat.hub import ledger
from localchat.hub.examine import Verdict, examine
from localchat.hub.fetch import fetch
from localchat.hub.installed import find, installed
from localchat.hub.progress import TerminalProgress
from localchat.registry import Choice, Registry, load_registry
from localchat.settings import load_settings


def command(
    models: Annotated[list[str] | None, typer.Argument(help="Registry id, ID:QUANT, or a path.")] = None,
    all: Annotated[bool, typer.Option("--all", help="Every installed model.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Fetch again what is bad, and no more.")] = False,
    registry: Annotated[Path | None, typer.Option(help="Registry file that adds to the packaged one.")] = None,
    models_dir: Annotated[Path | None, typer.Option(help="Where downloaded weights are kept.")] = None,
) -> None:
    """Check installed files: their hash, and the structure of their header."""
    if bool(models) == all:
        raise typer.BadParameter("name the models to check, or give --all")
    settings = load_settings(registry=registry, models_dir=models_dir)
    known = load_registry(settings.registry)
    if all:
        chosen = [item.choices[0] for item in installed(known, settings.models_dir)]
    else:
        chosen = [choice for model in models or () for choice in _choices(model, known, settings.models_dir)]
    outcomes = [_check(choice, settings.models_dir, repair) for choice in chosen]
    raise typer.Exit(1 if False in outcomes else 0)


def _choices(model: str, known: Registry, models_dir: Path) -> list[Choice]:
    """What of a model is here, or was: a bad file is set aside, and its record stays."""
    candidates = known.candidates(model)
    here = [choice for choice in candidates if find(choice, models_dir) or ledger.find(choice, models_dir)]
    if not here:
        raise WeightsError(f"{model} is not installed; `localchat pull {model}` fetches it")
    return here


def _check(choice: Choice, models_dir: Path, repair: bool) -> bool:
    """Say how a file is; whether it is good in the end."""
    name, progress = f"{choice.spec.id}:{choice.quant.name}", TerminalProgress()
    path = find(choice, models_dir)
    verdict = examine(choice, path, models_dir, progress) if path else None
    if verdict is not None and verdict.is_good:
        typer.echo(f"ok       {name} {path}")
        return True
    if not repair or (verdict and verdict.moved is None):
        typer.echo(f"bad      {name}: {_problem(verdict, name)}")
        return False
    try:
        typer.echo(f"repaired {name} {fetch(choice, models_dir, progress)}")
    except LocalchatError as error:
        typer.echo(f"bad      {name}: {_problem(verdict, name)}; it could not be repaired: {error}")
        return False
    return True


def _problem(verdict: Verdict | None, name: str) -> str:
    if verdict is None:
        return f"its file is not in its place; `localchat pull {name}` fetches it again"
    return verdict.describe()
