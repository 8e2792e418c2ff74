"""Which models are on this machine."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from localchat.errors import WeightsError
from localchat.hub import ledger
from localchat.hub.kinds import kind_of
from localchat.hub.ledger import Record
from localchat.registry import Choice, ModelSpec, Registry


@dataclass(frozen=True)
class Installed:
    """A file on this machine, and the choices that it serves."""

    path: Path
    size: int
    choices: tuple[Choice, ...]
    sha256: str | None
    verified: float | None
    used: float

    @property
    def names(self) -> tuple[str, ...]:
        """The choices as they are named on the command line."""
        return tuple(f"{choice.spec.id}:{choice.quant.name}" for choice in self.choices)

    @property
    def kind(self) -> str:
        """The kind of its source."""
        return self.choices[0].quant.source.kind


def find(choice: Choice, models_dir: Path) -> Path | None:
    """The choice's file, if it is here; quick, without network and without reading the content."""
    with suppress(WeightsError, OSError):
        return kind_of(choice).find(choice, models_dir)
    return None


def installed(registry: Registry, models_dir: Path) -> list[Installed]:
    """Everything on this machine that the registry or the ledger knows, in the order of the registry."""
    found: dict[Path, list[Choice]] = {}
    for choice in _choices(registry):
        if path := find(choice, models_dir):
            found.setdefault(path, []).append(choice)
    for _, record in ledger.records(models_dir):
        path = Path(record.path)
        if path.is_file() and not _is_listed(record, found.get(path, [])):
            found.setdefault(path, []).append(_choice_of(record))
    notes = {Path(record.path): (file, record) for file, record in ledger.records(models_dir)}
    return [_installed(path, tuple(choices), notes.get(path)) for path, choices in found.items()]


def _choices(registry: Registry) -> list[Choice]:
    return [Choice(spec, quant) for spec in registry.models for quant in spec.quants]


def _installed(path: Path, choices: tuple[Choice, ...], note: tuple[Path, Record] | None) -> Installed:
    status = path.stat()
    if note is None:
        sha256 = next((choice.quant.sha256 for choice in choices), None)
        return Installed(path, status.st_size, choices, sha256, None, status.st_atime)
    file, record = note
    return Installed(path, status.st_size, choices, record.digest.sha256, record.verified, used=file.stat().st_mtime)


def _is_listed(record: Record, choices: list[Choice]) -> bool:
    return any((choice.spec.id, choice.quant.name) == (record.id, record.quant) for choice in choices)


def _choice_of(record: Record) -> Choice:
    """The choice that a file was fetched for, as its entry may be gone."""
    digest = record.digest
    quant = {"name": record.quant, "source": record.source, "size": digest.size, "sha256": digest.sha256}
    spec = ModelSpec.model_validate({"id": record.id, "title": record.id, "quant": [quant]})
    return Choice(spec, spec.quants[0])
