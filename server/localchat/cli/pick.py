"""`localchat pick`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from localchat.errors import ConfigError, DoesNotFit
from localchat.hardware import probe
from localchat.hardware.need import readable
from localchat.hardware.plan import ram_budget
from localchat.hub.installed import find
from localchat.quantities import parse_size
from localchat.registry import Choice, Measured, load_registry
from localchat.registry.spec import PathSource
from localchat.settings import Settings, load_settings
from localchat_quantize import card
from localchat_quantize.pick import Bound, Candidate, Pick, Verdict, bounds, explain, pick

_PIPE_WIDTH = 160


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model of the registry.")],
    ram: Annotated[
        str | None, typer.Option(help="Most memory, as in 8G; what this machine can give if absent.")
    ] = None,
    max_kl: Annotated[
        float | None, typer.Option(min=0, help="Most mean KL divergence from the original, as in 0.05.")
    ] = None,
    min_speed: Annotated[float | None, typer.Option(min=0, help="Fewest tokens written in a second.")] = None,
    registry: Annotated[Path | None, typer.Option(help="Registry file that adds to the packaged one.")] = None,
    models_dir: Annotated[Path | None, typer.Option(help="Where downloaded weights are kept.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Choose a quant by what was measured, and print its name for `serve --model`; the reasons go to stderr."""
    settings = load_settings(registry=registry, models_dir=models_dir)
    limits = _bounds(ram, max_kl, min_speed, settings)
    known = load_registry(settings.registry)
    choices = known.candidates(model)
    if choices[0].spec not in known.models:
        raise ConfigError(f"{model} is one file, so there is nothing to choose; name a model of the registry")
    id = choices[0].spec.id
    own = _measured_here(settings.models_dir / id, id)
    found = pick(list(_candidates(choices, own, settings.models_dir)), limits)
    if as_json:
        typer.echo(json.dumps(_as_json(id, found, limits, own), indent=2))
    if found.chosen is None:
        raise DoesNotFit(explain(id, found.verdicts, limits))
    if not as_json:
        _print(found, own)
        typer.echo(f"{id}:{found.chosen.candidate.format}")


def _bounds(ram: str | None, max_kl: float | None, min_speed: float | None, settings: Settings) -> list[Bound]:
    if ram is None:
        budget = max(0, ram_budget(probe(), settings.memory))
        return bounds(budget, max_kl, min_speed, remark=" (what this machine can give)")
    try:
        return bounds(parse_size(ram), max_kl, min_speed)
    except ValueError as error:
        raise ConfigError(f"--ram: {ram!r} is not valid: {error}") from None


def _measured_here(folder: Path, id: str) -> dict[str, Measured]:
    found = card.read(card.card_path(folder, id))
    return {name.upper(): measured for name, measured in found.figures.items()} if found else {}


def _candidates(choices: Sequence[Choice], own: dict[str, Measured], models_dir: Path) -> Iterator[Candidate]:
    """The quants of the registry, and those that this machine has made besides; its own figures come first."""
    for choice in choices:
        name, known = choice.quant.name, choice.quant.measured
        yield Candidate(format=name, measured=own.get(name.upper(), known), obstacle=_obstacle(choice, models_dir))
    listed = {quant.name.upper() for quant in choices[0].spec.quants}
    for name, measured in own.items():
        if name not in listed:
            yield Candidate(format=name, measured=measured, obstacle="not in the registry: add its entry first")


def _obstacle(choice: Choice, models_dir: Path) -> str | None:
    source, name = choice.quant.source, choice.quant.name
    if source.kind not in ("convert", "path") or find(choice, models_dir):
        return None
    if isinstance(source, PathSource):
        return f"not here: there is no {source.path}"
    return f"not made yet: `localchat quantize {choice.spec.id} --to {name}` makes it"


def _print(found: Pick, own: dict[str, Measured]) -> None:
    table = Table(box=None, pad_edge=False)
    for title in ("", "QUANT"):
        table.add_column(title, no_wrap=True)
    for title in ("SIZE", "RAM", "KL", "TOKENS/S"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("MEASURED", no_wrap=True)
    table.add_column("LEFT OUT", overflow="fold")
    for verdict in found.verdicts:
        name, measured = verdict.candidate.format, verdict.candidate.measured
        where = "" if measured is None else "here" if name.upper() in own else "elsewhere"
        mark = "→" if verdict is found.chosen else ""
        table.add_row(mark, name, *_figures(verdict.candidate), where, "; ".join(verdict.reasons))
    # What is not a terminal has no width.
    console = Console(stderr=True, width=None if sys.stderr.isatty() else _PIPE_WIDTH, highlight=False, markup=False)
    console.print(table)
    if len(found.originals) > 1:
        console.print(f"KL is from different originals ({', '.join(found.originals)}): compare it with care")


def _figures(candidate: Candidate) -> tuple[str, str, str, str]:
    size = candidate.measured.size if candidate.measured else None
    ram, kl, speed = candidate.ram, candidate.kl, candidate.speed
    return (
        "" if size is None else readable(size),
        "" if ram is None else readable(ram),
        "" if kl is None else f"{kl:.3g}",
        "" if speed is None else f"{speed:.3g}",
    )


def _as_json(id: str, found: Pick, limits: Sequence[Bound], own: dict[str, Measured]) -> dict[str, Any]:
    def row(verdict: Verdict) -> dict[str, Any]:
        name, measured = verdict.candidate.format, verdict.candidate.measured
        return {
            "id": id,
            "quant": name,
            "measured": measured.model_dump(mode="json", exclude_none=True) if measured else None,
            "measured_here": name.upper() in own,
            "kl": verdict.candidate.kl,
            "left_out": verdict.reasons,
            "is_chosen": verdict is found.chosen,
        }

    return {
        "model": f"{id}:{found.chosen.candidate.format}" if found.chosen else None,
        "bounds": {limit.flag.removeprefix("--").replace("-", "_"): limit.limit for limit in limits},
        "originals": found.originals,
        "quants": [row(verdict) for verdict in found.verdicts],
    }
