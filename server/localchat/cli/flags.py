"""Flags made from the settings: an option is written down once, in `settings.py`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from localchat.settings import Settings, load_settings

PLAIN = (bool, int, float, str, Path)


def with_settings(
    names: Sequence[str],
) -> Callable[[Callable[[Settings], None]], Callable[..., None]]:
    """Turn a function of Settings into a command with a flag for each of these settings."""

    def decorate(function: Callable[[Settings], None]) -> Callable[..., None]:
        def command(**flags: Any) -> None:
            function(load_settings(**{name: value for name, value in flags.items() if value not in (None, [])}))

        parameters = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(name))
            for name in names
        ]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        command.__doc__ = function.__doc__
        return command

    return decorate


def _annotation(name: str) -> Any:
    field = Settings.model_fields[name]
    flag = f"--{name.replace('_', '-')}"
    default = field.get_default(call_default_factory=True)
    shown = "" if default in (None, [], False) else f" [default: {shown_default(default)}]"
    declarations = [f"{flag}/--no-{name.replace('_', '-')}"] if default is True else [flag]
    help = f"{field.description}{shown}"
    return Annotated[_type(field) | None, typer.Option(*declarations, help=help, show_default=False)]


def shown_default(default: Any) -> str:
    """A default as a person would give it."""
    if isinstance(default, list):
        return ",".join(default)
    return "on" if default is True else str(default)


def _type(field: FieldInfo) -> Any:
    """The type the command line parses; whatever is not plain is a text that the settings check."""
    members = [member for member in get_args(field.annotation) or (field.annotation,) if member is not type(None)]
    if str(field.annotation).startswith("list["):
        return list[str]
    reads_text = any(isinstance(mark, BeforeValidator) for mark in field.metadata)
    return members[0] if len(members) == 1 and members[0] in PLAIN and not reads_text else str
