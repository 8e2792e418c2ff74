"""`model_registry.toml` read and checked, and names resolved against it."""

from __future__ import annotations

import functools
import os
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from localchat.errors import ConfigError, ModelNotFound, UnsupportedModel
from localchat.registry.choice import HUB_PREFIX, Choice, choose_file, choose_from_hub
from localchat.registry.spec import (
    FROM_FILE,
    NO_TEMPLATE,
    ModelSpec,
    PathSource,
    Quant,
    RegistryFile,
    TemplateFamily,
)
from localchat.settings import user_registry

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_FILE_NAME = "model_registry.toml"
_SEPARATORS = tuple({"/", os.sep, os.altsep or "/"})


@dataclass(frozen=True)
class Registry:
    """The models that have a name, in the order of the files, and how their families are prompted."""

    models: tuple[ModelSpec, ...]
    templates: Mapping[str, TemplateFamily] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)

    def find(self, name: str) -> ModelSpec:
        """The entry with this id; ModelNotFound says which ids are near."""
        for spec in self.models:
            if spec.id == name:
                return spec
        near = self._near(name)
        hint = f"; did you mean {' or '.join(near)}?" if near else ";"
        raise ModelNotFound(f"no model is called {name!r}{hint} `localchat list` shows all models", param="model")

    def candidates(self, model: str) -> tuple[Choice, ...]:
        """What a name may stand for: every quant of `id`, or the one of `id:QUANT`, of a path to a GGUF file, or of
        `hf:owner/repo/file.gguf@revision`."""
        model = self.aliases.get(model, model)
        if model.startswith(HUB_PREFIX):
            return (choose_from_hub(model),)
        if model.lower().endswith(".gguf") or any(separator in model for separator in _SEPARATORS):
            return (choose_file(model),)
        name, colon, quant_name = model.partition(":")
        spec = self.find(name)
        if spec.unsupported:
            raise UnsupportedModel(f"{spec.id} cannot run: {spec.unsupported}", param="model")
        quants = (_pick(spec, quant_name),) if colon else spec.quants
        return tuple(Choice(spec, quant) for quant in quants)

    def resolve(self, model: str) -> Choice:
        """The first of the candidates."""
        return self.candidates(model)[0]

    def family(self, spec: ModelSpec) -> TemplateFamily | None:
        """The prompt family of an entry; None where the file's own template counts, or none."""
        return self.templates.get(spec.template)

    def _near(self, name: str) -> list[str]:
        by_lower = {spec.id.lower(): spec.id for spec in self.models}
        wanted = name.lower()
        close = get_close_matches(wanted, by_lower, n=3)
        # The beginning of a long id is far from it by edit distance, yet it is what people type.
        close = close or [lower for lower in by_lower if wanted and wanted in lower][:3]
        return [by_lower[lower] for lower in close]


def load_registry(path: Path | None = None) -> Registry:
    """The packaged registry, the person's own, and the one in `path`: later ones add and override.

    Raises ConfigError, which names file, entry and field.
    """
    own = user_registry()
    files = [_default_path(), *([own] if own.is_file() else []), *([path] if path else [])]
    return _check_templates(functools.reduce(_merge, map(_load, files)), files[-1])


def _load(path: Path) -> Registry:
    data = _read(path)
    try:
        file = RegistryFile.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_explain(error, path, data)) from None
    _refuse_duplicates(file.models, path)
    models = tuple(_anchor_paths(spec, path.parent) for spec in file.models)
    return Registry(models, file.templates, file.aliases)


def _merge(base: Registry, more: Registry) -> Registry:
    own = {spec.id: spec for spec in more.models}
    models = tuple(own.pop(spec.id, spec) for spec in base.models) + tuple(own.values())
    return Registry(models, {**base.templates, **more.templates}, {**base.aliases, **more.aliases})


def _check_templates(registry: Registry, path: Path) -> Registry:
    known = {FROM_FILE, NO_TEMPLATE, *registry.templates}
    for spec in registry.models:
        if spec.template not in known:
            raise ConfigError(f"{path}: {spec.id}: template: no family is called {spec.template!r}")
    return registry


def _default_path() -> Path:
    here = Path(__file__).resolve()
    candidates = (here.with_name(_FILE_NAME), here.parents[3] / _FILE_NAME)
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise ConfigError(f"no registry: neither {candidates[0]} nor {candidates[1]} exists; name one with --registry")


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"registry {path} cannot be read: {error.strerror}") from None
    except ValueError as error:  # not TOML, or not UTF-8
        raise ConfigError(f"registry {path} is not valid TOML: {error}") from None


def _explain(error: ValidationError, path: Path, data: dict[str, Any]) -> str:
    first, *rest = error.errors(include_url=False)
    where = list(first["loc"])
    entry = ""
    if len(where) > 1 and isinstance(where[1], int):
        entry = f" {_entry_name(data['model'][where[1]], where[1])}:"
        where = where[2:]
    more = f" (and {len(rest)} more)" if rest else ""
    message = " ".join(first["msg"].split())
    return f"{path}:{entry} {_field(where)}: {message[0].lower()}{message[1:]}{more}"


def _entry_name(entry: object, index: int) -> str:
    name = entry.get("id") if isinstance(entry, dict) else None
    return str(name or f"entry {index + 1}")


def _field(where: list[int | str]) -> str:
    if "source" in where:  # pydantic puts the kind between `source` and the field, which no one wrote there
        del where[where.index("source") + 1 : where.index("source") + 2]
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".") or "the entry"


def _refuse_duplicates(models: tuple[ModelSpec, ...], path: Path) -> None:
    for spec_id, count in Counter(spec.id for spec in models).items():
        if count > 1:
            raise ConfigError(f"{path}: {spec_id}: id: {count} entries have this id")
    for spec in models:
        for name, count in Counter(quant.name.lower() for quant in spec.quants).items():
            if count > 1:
                raise ConfigError(f"{path}: {spec.id}: quant: {count} quants are called {name.upper()}")


def _anchor_paths(spec: ModelSpec, folder: Path) -> ModelSpec:
    """Relative paths in a registry are relative to the registry, wherever the program is started."""
    quants = tuple(_anchor(quant, folder) for quant in spec.quants)
    return spec if quants == spec.quants else spec.model_copy(update={"quants": quants})


def _anchor(quant: Quant, folder: Path) -> Quant:
    if not isinstance(quant.source, PathSource):
        return quant
    anchored = folder.resolve() / Path(quant.source.path).expanduser()
    return quant.model_copy(update={"source": PathSource(kind="path", path=str(anchored))})


def _pick(spec: ModelSpec, name: str) -> Quant:
    for quant in spec.quants:
        if quant.name.lower() == name.lower():
            return quant
    known = ", ".join(quant.name for quant in spec.quants)
    raise ModelNotFound(f"{spec.id} has no quant {name!r}; it has {known}", param="model")
