"""`localchat doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from localchat.chat.goldens import clock, read_golden
from localchat.chat.selftest import Finding, self_test
from localchat.chat.template import ChatTemplate
from localchat.errors import WeightsError
from localchat.hardware import GgufHeader, read_header
from localchat.hub.installed import find
from localchat.llama.model import Model
from localchat.registry import FROM_FILE, Choice, Registry, load_registry
from localchat.registry.spec import TemplateFamily
from localchat.settings import load_settings

_SHOWN = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "failed": "[red]FAILED[/]"}


def command(
    model: Annotated[str, typer.Argument(help="Id, id:QUANT, or a GGUF file.", metavar="MODEL")],
    models_dir: Annotated[Path | None, typer.Option(help="Where downloaded models are.")] = None,
    registry: Annotated[Path | None, typer.Option(help="Registry file that adds to the packaged one.")] = None,
) -> None:
    """Check that a model on this machine is prompted as its authors meant; the exit code tells."""
    settings = load_settings(models_dir=models_dir, registry=registry)
    known = load_registry(settings.registry)
    choice, path = _installed(model, known, settings.models_dir)
    header = read_header(path)
    family = _family(known, choice, header)
    typer.echo(f"{choice.spec.id} {choice.quant.name}, template {choice.spec.template}: {path}")
    if family is None:
        typer.echo("has no chat template, so there is nothing to check: it completes text (/v1/completions)")
        return
    findings = _examine(path, family, choice.spec.template)
    _show(findings)
    if any(finding.status == "failed" for finding in findings):
        raise typer.Exit(1)


def _installed(model: str, registry: Registry, models_dir: Path) -> tuple[Choice, Path]:
    candidates = registry.candidates(model)
    for choice in candidates:
        if path := find(choice, models_dir):
            return choice, path
    raise WeightsError(f"{model} is not on this machine; `localchat pull {model}` fetches it")


def _family(registry: Registry, choice: Choice, header: GgufHeader) -> TemplateFamily | None:
    """How the model is prompted, with the stop strings and BOS of its entry; None for one that does not chat."""
    spec, family = choice.spec, registry.family(choice.spec)
    if family is None and spec.template == FROM_FILE and header.chat_template:
        family = TemplateFamily(description="the file's own", jinja=header.chat_template)
    if family is None:
        return None
    bos = family.bos if spec.bos is None else spec.bos
    return family.model_copy(update={"stop": (*family.stop, *spec.stop), "bos": bos})


def _examine(path: Path, family: TemplateFamily, name: str) -> list[Finding]:
    model = Model(path, vocab_only=True)
    try:
        vocabulary = model.vocabulary
        if family.bos is not None:
            vocabulary.adds_bos = family.bos
        texts = {"bos": vocabulary.text(vocabulary.bos), "eos": vocabulary.text(vocabulary.eos)}
        template = ChatTemplate(family.jinja, **texts, now=clock)
        return self_test(template, family, vocabulary, read_golden(name))
    finally:
        model.close()


def _show(findings: list[Finding]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in findings:
        advice = f"\n[bold]to do:[/] {escape(finding.remedy)}" if finding.remedy else ""
        table.add_row(_SHOWN[finding.status], finding.check, escape(finding.detail) + advice)
    Console().print(table)
