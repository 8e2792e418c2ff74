"""What is to be quantized, and where it comes from: the registry, the Hub, a checkpoint folder or a GGUF file."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from localchat.errors import ConfigError
from localchat.hub.fetch import fetch
from localchat.hub.progress import Progress
from localchat.registry import ModelSpec, Registry
from localchat.registry.spec import ConvertSource

_HUB = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^@\s]+))?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Files on this machine, and what to call the model that is made of them."""

    path: Path
    """A folder or a GGUF file."""
    name: str
    label: str
    """As a person would look it up: REPOSITORY@COMMIT, ID:QUANT, or the name of the folder or file."""
    base: Path | None = None
    """The checkpoint that the folder's is a difference to."""
    base_label: str | None = None
    spec: ModelSpec | None = None
    """The registry's entry, where it has one by this name."""


@dataclass(frozen=True)
class _Place:
    path: Path
    name: str
    label: str
    base: str | None = None


def find_origin(
    source: str, base: str | None, name: str | None, registry: Registry, models_dir: Path, progress: Progress
) -> Origin:
    """Take what is there, and fetch what is not. Raises ConfigError, FetchFailed, ModelNotFound, UnsupportedModel.

    An id is a checkpoint, ID:QUANT its published file. `base` and `name` come before what the registry says.
    """
    place = _find(source, registry, models_dir, progress)
    id = name or place.name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", id):
        raise ConfigError(f"{id!r} is no id for a model; name one of letters, digits, dots and dashes with --name")
    base = base or place.base
    under = _find_base(base, registry, models_dir, progress) if base else None
    return Origin(
        path=place.path,
        name=id,
        label=place.label,
        base=under.path if under else None,
        base_label=under.label if under else None,
        spec=next((spec for spec in registry.models if spec.id == id), None),
    )


def _find_base(base: str, registry: Registry, models_dir: Path, progress: Progress) -> _Place:
    is_repository = re.fullmatch(r"[\w.-]+/[\w.-]+", base) and not base.startswith(".") and not Path(base).exists()
    return _find(f"hf:{base}" if is_repository else base, registry, models_dir, progress)


def _find(source: str, registry: Registry, models_dir: Path, progress: Progress) -> _Place:
    path = Path(source).expanduser()
    if path.exists():
        name = path.resolve().name
        return _Place(path, name if path.is_dir() else path.stem, name)
    if source.startswith("hf:"):
        if (match := _HUB.fullmatch(source)) is None:
            raise ConfigError(f"{source} is not of the form hf:owner/repo or hf:owner/repo@revision")
        return _fetch(match["repo"], match["revision"] or "main", match["repo"].rpartition("/")[2], progress)
    if os.sep in source or "/" in source or source.endswith(".gguf"):
        raise ConfigError(f"there is no {source}; give a folder, a GGUF file, a registry id or hf:owner/repo")
    choice = registry.resolve(source)
    if ":" in registry.aliases.get(source, source) and choice.quant.source.kind != "convert":
        return _Place(fetch(choice, models_dir, progress), choice.spec.id, f"{choice.spec.id}:{choice.quant.name}")
    return _of_registry(choice.spec, progress)


def _of_registry(spec: ModelSpec, progress: Progress) -> _Place:
    converted = [quant.source for quant in spec.quants if isinstance(quant.source, ConvertSource)]
    if converted:
        return _fetch(converted[0].repo, converted[0].revision, spec.id, progress, converted[0].base)
    if spec.checkpoint is None:
        raise ConfigError(f"the registry names no checkpoint of {spec.id}; give its folder, or hf:owner/repo")
    return _fetch(spec.checkpoint, "main", spec.id, progress)


def _fetch(repo: str, revision: str, name: str, progress: Progress, base: str | None = None) -> _Place:
    from localchat.hub.snapshot import checkpoint  # noqa: PLC0415 - the Hub's library loads slowly

    snapshot = checkpoint(repo, revision, progress)
    return _Place(snapshot.folder, name, f"{repo}@{snapshot.commit}", base)
