"""`localchat show`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from localchat.cli.list import as_object, installed_quants
from localchat.hardware.need import readable
from localchat.hub.installed import find
from localchat.registry import Choice, Measured, ModelSpec, load_registry
from localchat.settings import load_settings


def command(
    model: Annotated[str, typer.Argument(metavar="ID", help="A model of the registry.")],
    registry: Annotated[Path | None, typer.Option(help="Registry file that adds to the packaged one.")] = None,
    models_dir: Annotated[Path | None, typer.Option(help="Where downloaded weights are kept.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show everything that is known of a model, its license first."""
    settings = load_settings(registry=registry, models_dir=models_dir)
    known = load_registry(settings.registry)
    spec = known.find(known.aliases.get(model, model).partition(":")[0])
    if as_json:
        typer.echo(json.dumps(as_object(spec, installed_quants(spec, settings.models_dir)), indent=2))
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in lines(spec, settings.models_dir):
        table.add_row(name, text)
    console = Console()
    console.print(spec.id, highlight=False)
    console.print(table, highlight=False)


def lines(spec: ModelSpec, models_dir: Path) -> Iterator[tuple[str, str]]:
    """Everything known of a model, as names and texts; the license first."""
    yield "license", spec.license or "unknown"
    yield "commercial use", f"{spec.commercial.use}: {spec.commercial.why}"
    named = ("title", "authors", "released", "kind", "parameters", "architecture", "context_length", "base_model")
    for name in named:
        if (value := getattr(spec, name)) is not None:
            yield name.replace("_", " "), str(value)
    if spec.datasets:
        yield "datasets", ", ".join(spec.datasets)
    if spec.openness:
        yield "openness", ", ".join(f"{name} {value}" for name, value in spec.openness.model_dump().items())
    if spec.checkpoint:
        yield "checkpoint", spec.checkpoint
    yield (
        "template",
        {"gguf": "as in the file", "none": "none: it was not trained to chat"}.get(spec.template, spec.template),
    )
    if spec.stop:
        yield "stop", ", ".join(map(repr, spec.stop))
    sampling = spec.sampling.model_dump(exclude_none=True)
    if sampling:
        yield "sampling", ", ".join(f"{name} {value:g}" for name, value in sampling.items())
    for name, text in (("cannot run", spec.unsupported), ("note", spec.note)):
        if text:
            yield name, text
    if spec.unverified:
        yield "not verified", ", ".join(spec.unverified)
    for quant in spec.quants:
        yield f"quant {quant.name}", _quant_line(Choice(spec, quant), models_dir)


def _quant_line(choice: Choice, models_dir: Path) -> str:
    quant, source = choice.quant, choice.quant.source.model_dump(exclude_none=True)
    size = f"{quant.size:,} bytes" if quant.size else f"about {quant.size_gb:g} GB" if quant.size_gb else "size unknown"
    origin = " ".join(str(value) for name, value in source.items())
    path = find(choice, models_dir)
    known = [size, origin, f"SHA-256 {quant.sha256}" if quant.sha256 else "", f"installed: {path}" if path else ""]
    return "; ".join([*filter(None, known), *(_figures(quant.measured) if quant.measured else ())])


def _figures(measured: Measured) -> Iterator[str]:
    yield f"{measured.bits_per_weight:.2f} bits a weight"
    if measured.perplexity is not None:
        yield f"perplexity {measured.perplexity:.4g}"
    if measured.kl_mean is not None:
        yield f"KL divergence {measured.kl_mean:.3g} from {measured.reference or 'the original'}"
    if measured.top1 is not None:
        yield f"same top token {measured.top1:.1%}"
    if measured.cosine is not None:
        yield f"cosine {measured.cosine:.4g} with {measured.reference or 'the original'}"
    for name, speed in (("prompt", measured.prompt_speed), ("decode", measured.decode_speed)):
        if speed is not None:
            yield f"{name} {speed:.3g} tokens/s"
    if measured.peak_rss is not None:
        yield f"at most {readable(measured.peak_rss)} of RAM"
    if measured.machine is not None:
        yield f"measured on {measured.machine}"
