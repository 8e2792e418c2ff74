"""A registry entry that tells of the files on a card, and its place in a person's own registry."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import tomlkit
from pydantic import ValidationError
from tomlkit.items import AoT, Table

from localchat.errors import ConfigError
from localchat.hardware import read_header
from localchat.hub.store import slot_of
from localchat.registry import Choice, Measured, ModelSpec, Quant, load_registry
from localchat.registry.spec import ConvertSource, PathSource, Source
from localchat.settings import user_registry
from localchat_quantize import atomic
from localchat_quantize.blocks import blocks, is_whole
from localchat_quantize.card import Card, Row

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_DIGITS = 4
"""More are noise."""


def entry(card: Card, spec: ModelSpec | None, folder: Path) -> str:
    """A `[[model]]` for the files on the card that are in this folder, as TOML.

    What the registry knows of the model stays. Raises ConfigError, NotGguf.
    """
    rows = [row for row in card.rows if (folder / row.file).is_file()]
    if not rows:
        raise ConfigError(f"none of the files on the card of {card.id} is in {folder}")
    made = {row.format.upper(): quant_of(spec, row, folder) for row in rows}
    if spec is None:
        full = _describe(card.id, folder / rows[0].file, list(made.values()))
    else:
        kept = [made.pop(quant.name.upper(), quant) for quant in spec.quants]
        full = spec.model_copy(update={"quants": (*kept, *made.values())})
    return tomlkit.dumps({"model": _models(full)})


def register(entry: str, path: Path | None = None) -> None:
    """Put an entry into a registry file, the person's own by default, in place of the one with its id.

    All else in the file stays as it is, comments too. Raises ConfigError, and leaves the file, if what is there or what
    would be there cannot be loaded.
    """
    path = path or user_registry()
    try:
        old = path.read_bytes().decode() if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"registry {path} cannot be read, and was left as it is: {error}") from None
    _check(old, path)
    new = _placed(old, entry.strip("\n") + "\n")
    if not _is_right(old, new, entry):
        id = _entries(entry)[0]["id"]
        raise ConfigError(f"{id} cannot be put into registry {path}, for its models are no [[model]]; add it by hand")
    _check(new, path)
    atomic.write(path, new.encode())


def _describe(id: str, file: Path, quants: list[Quant]) -> ModelSpec:
    """What a file says of a model that the registry does not know."""
    header = read_header(file)
    known = {"id": id, "title": header.name or id, "architecture": header.architecture, "quant": quants}
    try:
        return ModelSpec.model_validate(known | {"context_length": header.context_length or None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ConfigError(f"{id} cannot be a registry entry: {first['loc'][0]}: {first['msg']}") from None


def quant_of(spec: ModelSpec | None, row: Row, folder: Path) -> Quant:
    """What a registry would say of one file."""
    here = PathSource(kind="path", path=(folder.resolve() / row.file).as_posix())
    return Quant(
        name=row.format,
        source=(_known_source(spec, row, folder) if spec else None) or here,
        size=row.measured.size,
        sha256=row.sha256,
        measured=_rounded(row.measured),
    )


def _known_source(spec: ModelSpec, row: Row, folder: Path) -> Source | None:
    """The registry's, where it has this very file, or looks in this place for what is converted."""
    for quant in spec.quants:
        if quant.sha256 == row.sha256:
            return quant.source
    for quant in spec.quants:
        if isinstance(quant.source, ConvertSource):
            slot = slot_of(Choice(spec, Quant(name=row.format, source=quant.source)), folder.parent)
            return quant.source if slot.path == folder / row.file else None
    return None


def _rounded(measured: Measured) -> Measured:
    figures = {name: value for name, value in measured if isinstance(value, float)}
    return measured.model_copy(update={name: float(f"{value:.{_DIGITS}g}") for name, value in figures.items()})


def _models(spec: ModelSpec) -> AoT:
    known = spec.model_dump(by_alias=True, exclude_defaults=True)
    quants = tomlkit.aot()
    for quant in known.pop("quant"):
        quants.append(_table(quant, inline=("source",)))
    table = _table(known, inline=tuple(known))
    table.append("quant", quants)
    models = tomlkit.aot()
    models.append(table)
    return models


def _table(values: dict[str, Any], inline: tuple[str, ...] = ()) -> Table:
    table = tomlkit.table()
    for key, value in values.items():
        if not isinstance(value, dict):
            table.append(key, list(value) if isinstance(value, tuple) else value)
        elif key in inline:
            table.append(key, tomlkit.inline_table() | value)
        else:
            table.append(key, _table(value))
    return table


def _placed(text: str, entry: str) -> str:
    """Not by a TOML library that writes what it has read: those move what stands between two `[[model]]`."""
    id = _entries(entry)[0]["id"]
    for start, end in blocks(text):
        if _entries(text[start:end])[0].get("id") == id:
            return text[:start] + entry + text[end:]
    if not text:
        return entry
    return text + ("\n" if text.endswith("\n") else "\n\n") + entry


def _entries(text: str) -> list[dict[str, Any]]:
    models: list[dict[str, Any]] = tomllib.loads(text).get("model", [])
    return models


def _is_right(old: str, new: str, entry: str) -> bool:
    """Whether the entry is in, and nothing else has changed."""
    [own] = _entries(entry)
    if not is_whole(new):
        return False
    before, after = tomllib.loads(old), tomllib.loads(new)
    others = [model for model in before.pop("model", []) if model.get("id") != own["id"]]
    entries = after.pop("model")
    return before == after and own in entries and [one for one in entries if one != own] == others


def _check(text: str, path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / path.name
        draft.write_bytes(text.encode())
        try:
            load_registry(draft)
        except ConfigError as error:
            raise ConfigError(f"{str(error).replace(str(draft), str(path))}; it was left as it is") from None
