"""One model with one of its quants, and the choices that need no registry entry: a file, a Hub reference."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from localchat.errors import ConfigError, WeightsError
from localchat.registry.spec import HubSource, ModelSpec, PathSource, Quant

HUB_PREFIX = "hf:"

_HUB_REFERENCE = re.compile(
    r"hf:(?P<repo>[\w.-]+/[\w.-]+)/(?P<file>(?:[^/\s]+/)*[^/\s]+\.gguf)(?:@(?P<revision>[^@\s]+))?",
    re.ASCII | re.IGNORECASE,
)
_QUANT_IN_NAME = re.compile(r"(?:^|[._-])([IT]?Q\d(?:_[A-Z0-9]+)*|MXFP4|B?F16|F32)$", re.IGNORECASE)


@dataclass(frozen=True)
class Choice:
    """What is to be served: a model and the file of weights picked from its quants."""

    spec: ModelSpec
    quant: Quant


def choose_file(name: str) -> Choice:
    """A choice for a GGUF file on this machine; WeightsError if there is none."""
    path = Path(name).expanduser()
    if path.is_dir():
        raise WeightsError(f"{name} is a folder; name the GGUF file inside it")
    if not path.is_file():
        raise WeightsError(f"there is no file {name}")
    # Absolute, because the worker that opens the file may have another working directory.
    return _unlisted(path.stem, PathSource(kind="path", path=str(path.resolve())))


def choose_from_hub(reference: str) -> Choice:
    """A choice for `hf:owner/repo/dir/file.gguf@revision`; ConfigError if it is not of this form."""
    match = _HUB_REFERENCE.fullmatch(reference)
    if match is None:
        raise ConfigError(f"{reference} is not of the form hf:owner/repo/file.gguf or hf:owner/repo/file.gguf@revision")
    source = HubSource(kind="hf", repo=match["repo"], file=match["file"], revision=match["revision"] or "main")
    return _unlisted(PurePosixPath(source.file).stem, source)


def _unlisted(stem: str, source: PathSource | HubSource) -> Choice:
    found = _QUANT_IN_NAME.search(stem)
    quant = Quant(name=found[1].upper() if found else "GGUF", source=source, size=None, sha256=None)
    valid_id = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).lstrip("._-") or "model"
    return Choice(ModelSpec.model_validate({"id": valid_id, "title": stem, "quant": [quant]}), quant)
