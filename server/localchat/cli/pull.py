"""`localchat pull`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from localchat.fit import choose
from localchat.hardware import probe
from localchat.hub import ledger
from localchat.hub.checksum import Digest
from localchat.hub.examine import examine
from localchat.hub.fetch import fetch
from localchat.hub.place import commit_of
from localchat.hub.progress import TerminalProgress, format_bytes
from localchat.registry import Choice, load_registry
from localchat.registry.license import check_commercial
from localchat.registry.spec import HubSource
from localchat.settings import Settings, load_settings


def command(
    models: Annotated[list[str], typer.Argument(help="Registry id, ID:QUANT, or hf:owner/repo/file.gguf.")],
    registry: Annotated[Path | None, typer.Option(help="Registry file that adds to the packaged one.")] = None,
    models_dir: Annotated[Path | None, typer.Option(help="Where downloaded weights are kept.")] = None,
    commercial: Annotated[
        bool, typer.Option("--commercial", help="Refuse models whose license does not allow commercial use.")
    ] = False,
) -> None:
    """Fetch models, and check them."""
    settings = load_settings(registry=registry, models_dir=models_dir, commercial=commercial or None)
    known = load_registry(settings.registry)
    candidates = [known.candidates(model) for model in models]
    if settings.commercial:
        for choices in candidates:
            check_commercial(choices[0].spec)
    # What does not fit today may be wanted tomorrow, or on another machine that shares the folder.
    anyway = settings.model_copy(update={"force": True})
    for choices in candidates:
        choice = choose(choices, probe(), anyway).choice
        path, digest = _pull(choice, settings)
        typer.echo("\n".join(_describe(choice, path, digest)))


def _pull(choice: Choice, settings: Settings) -> tuple[Path, Digest]:
    progress = TerminalProgress()
    path = fetch(choice, settings.models_dir, progress)
    record = ledger.find(choice, settings.models_dir)
    if record is not None and record.path == str(path) and record.is_unchanged:
        return path, record.digest
    verdict = examine(choice, path, settings.models_dir, progress)
    if verdict.problem is not None:
        raise verdict.problem
    return path, verdict.digest


def _describe(choice: Choice, path: Path, digest: Digest) -> list[str]:
    """Where it is, what it is, and how to name exactly this file in a registry."""
    source, commit = choice.quant.source, commit_of(choice, path)
    lines = [
        f"{choice.spec.id}:{choice.quant.name} is {path}",
        f"{format_bytes(digest.size)}, SHA-256 {digest.sha256}",
    ]
    if isinstance(source, HubSource) and not source.is_pinned and commit is not None:
        # JSON's texts are TOML's basic strings too.
        repo, file = json.dumps(source.repo), json.dumps(source.file)
        lines += [
            f"{source.revision} is commit {commit} today; in a registry, exactly this file is",
            f"size = {digest.size}",
            f'sha256 = "{digest.sha256}"',
            f'source = {{ kind = "hf", repo = {repo}, file = {file}, revision = "{commit}" }}',
        ]
    return lines
