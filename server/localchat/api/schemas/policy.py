"""No field is dropped silently: each is honoured, refused by name, or ignored and said to be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

from localchat.errors import UnsupportedField


@dataclass(frozen=True, slots=True)
class Ignored:
    """Marks a field that is accepted, has no effect, and is listed in `x-localchat-ignored`.

    Unless its value asks for nothing (null, or one of `harmless`).
    """

    reason: str
    harmless: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """Marks a field that is refused, unless its value asks for nothing (null, or one of `harmless`)."""

    reason: str
    harmless: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Ours:
    """Marks a field that OpenAI's API does not have."""


Policy = Literal["honoured", "refused", "ignored"]


def policy_of(field: FieldInfo) -> tuple[Policy, str]:
    """What happens to a field, and why or how."""
    for mark in field.metadata:
        if isinstance(mark, Refused):
            return "refused", mark.reason
        if isinstance(mark, Ignored):
            return "ignored", mark.reason
    choices = " or ".join(choices_of(field))
    return "honoured", field.description or (f"{choices}." if choices else "")


def choices_of(field: FieldInfo) -> list[str]:
    """The words that a field may hold, where it is one of a few."""
    kinds = [field.annotation, *get_args(field.annotation)]
    return [str(word) for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]


class Body(BaseModel):
    """A request body, or a part of one. Wrong types are errors, nothing is coerced; `unknown` finds unknown fields."""

    model_config = ConfigDict(extra="allow", strict=True, json_schema_extra={"additionalProperties": False})

    def unknown(self, prefix: str = "") -> list[str]:
        """The fields given that nobody documents, as paths."""
        found = [f"{prefix}{name}" for name in self.model_extra or ()]
        for name, value in self.__dict__.items():
            for path, part in _parts(name, value):
                found += part.unknown(f"{prefix}{path}.")
        return found

    def ignored(self, prefix: str = "") -> Iterator[str]:
        """The fields given that have no effect, as paths. Raises UnsupportedField for one that is refused."""
        for name in sorted(self.model_fields_set):
            value = self.__dict__.get(name)  # what is unknown is elsewhere
            if value is not None:
                yield from self._ignored_field(name, value, prefix)

    def _ignored_field(self, name: str, value: Any, prefix: str) -> Iterator[str]:
        path = f"{prefix}{name}"
        for mark in type(self).model_fields[name].metadata:
            if isinstance(mark, Refused) and value not in mark.harmless:
                raise UnsupportedField(f"{path} is not supported: {mark.reason}", param=path)
            if isinstance(mark, Ignored) and value not in mark.harmless:
                yield path
        for place, part in _parts(path, value):
            yield from part.ignored(f"{place}.")


def _parts(path: str, value: Any) -> Iterable[tuple[str, Body]]:
    """The bodies that a field holds, with their paths."""
    if isinstance(value, Body):
        return [(path, value)]
    if isinstance(value, list):
        return [(f"{path}[{index}]", part) for index, part in enumerate(value) if isinstance(part, Body)]
    return ()
