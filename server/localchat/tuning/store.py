"""What was found for this machine and a model, kept in a small file; what cannot be trusted is as if it were not there.

An entry counts for one CPU and number of cores, one file of weights and one build of llama.cpp.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import platformdirs

from localchat.errors import ConfigError
from localchat.hardware import GgufHeader, Machine
from localchat.settings import Settings

Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 16)]


class Changes(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The settings that are better otherwise than by default, by their names."""

    threads: Count | None = None
    single_row_threads: Count | None = None
    batch_size: Count | None = None
    ubatch_size: Count | None = None
    kv_unified: bool | None = None
    flash_attn: Literal["auto", "on", "off"] | None = None


class Tuned(msgspec.Struct, frozen=True, kw_only=True):
    """What came out for one model, and how much it is worth: tokens/s by kind of work."""

    model: str
    cpu: str
    cores: int
    llama: str
    made: str
    """The day."""
    parallel: Count
    changes: Changes
    before: dict[str, float]
    after: dict[str, float]
    advice: tuple[str, ...] = ()
    """What would help further, but is a person's to decide."""

    def changes_to(self, settings: Settings) -> dict[str, Any]:
        """Those of settings that neither a flag nor the environment nor the config file gives."""
        given = set(settings.model_fields_set)
        if "threads" in given:  # whoever chose the one did not choose it beside the other
            given.add("single_row_threads")
        found = msgspec.structs.asdict(self.changes).items()
        return {name: value for name, value in found if value is not None and name not in given}


class _File(msgspec.Struct, frozen=True):
    tuned: dict[str, msgspec.Raw]
    version: Literal[1] = 1


def store_file() -> Path:
    """Where it is kept; it need not exist."""
    return Path(platformdirs.user_data_dir("localchat")) / "tuned.json"


def find_tuned(header: GgufHeader, machine: Machine, file: Path | None = None) -> Tuned | None:
    """What was found for this file on this machine."""
    entries = _load(file or store_file())
    return _entry(entries[key]) if entries and (key := key_of(header, machine)) in entries else None


def all_tuned(file: Path | None = None) -> list[Tuned]:
    """Everything that was found."""
    entries = map(_entry, _load(file or store_file()).values())
    return [entry for entry in entries if entry is not None]


def keep(tuned: Tuned, header: GgufHeader, machine: Machine, file: Path | None = None) -> None:
    """Remember it instead of what was found before. Raises ConfigError."""
    file = file or store_file()
    _save(file, {**_load(file), key_of(header, machine): msgspec.Raw(msgspec.json.encode(tuned))})


def forget(header: GgufHeader, machine: Machine, file: Path | None = None) -> bool:
    """Forget what was found for this file; False if that was nothing. Raises ConfigError."""
    file = file or store_file()
    entries = _load(file)
    if entries.pop(key_of(header, machine), None) is None:
        return False
    _save(file, entries)
    return True


def key_of(header: GgufHeader, machine: Machine) -> str:
    """Names machine, file and llama.cpp's build."""
    gpus = ",".join(gpu.name for gpu in machine.gpus)
    parts = (machine.cpu.name, str(machine.cores), gpus, llama_build(), str(header.file_size))
    digest = hashlib.sha256("\0".join(parts).encode())
    with suppress(OSError), header.path.open("rb") as file:
        digest.update(file.read(header.length))
    return digest.hexdigest()[:32]


@cache
def llama_version() -> str:
    """Of the package that brings llama.cpp along."""
    with suppress(PackageNotFoundError):
        return version("llama_cpp_python")
    return "unknown"


@cache
def llama_build() -> str:
    """Tells builds of one version apart, by their libraries' sizes: what was compiled in decides what is fast."""
    found = find_spec("llama_cpp")  # without loading it
    folders = found.submodule_search_locations if found else None
    libraries = [file for folder in folders or () for file in (Path(folder) / "lib").glob("*")]
    sizes = sorted((file.name, file.stat().st_size) for file in libraries)
    return hashlib.sha256(repr((llama_version(), sizes)).encode()).hexdigest()


def described(changes: Mapping[str, Any]) -> str:
    """Changed settings, as a person reads them."""
    shown = {True: "on", False: "off"}
    values = {name: shown[value] if isinstance(value, bool) else value for name, value in changes.items()}
    return ", ".join(f"{name.replace('_', '-')} {value}" for name, value in values.items())


def _load(file: Path) -> dict[str, msgspec.Raw]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=_File).tuned
    except (OSError, msgspec.MsgspecError):
        return {}


def _entry(raw: msgspec.Raw) -> Tuned | None:
    with suppress(msgspec.MsgspecError):
        return msgspec.json.decode(raw, type=Tuned)
    return None


def _save(file: Path, entries: dict[str, msgspec.Raw]) -> None:
    part = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(msgspec.json.format(msgspec.json.encode(_File(entries))))
        part.replace(file)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from None
