"""The tools that a request offers a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


Call = tuple[str, str]
"""A tool's name, and its arguments as JSON text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function that the client can call for the model."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    """JSON schema of the arguments; None for a function without any."""
    strict: bool = False
    param: str = "tools"
    """The request's field that errors about the parameters name."""

    @property
    def schema(self) -> dict[str, Any]:
        """What the arguments must be."""
        return {"type": "object"} | self.parameters if self.parameters is not None else _NO_PARAMETERS

    @property
    def function(self) -> dict[str, Any]:
        """As templates, and models, are told of it."""
        return {"name": self.name, "description": self.description or "", "parameters": self.schema}


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolUse:
    """Tools, and whether some of them must be called."""

    tools: Sequence[Tool]
    """What the model is told of."""
    allowed: Sequence[str] = ()
    """Names of those that may be called; all where empty."""
    must_call: bool = False
    parallel: bool = True
    """Whether one answer may hold several calls."""

    @property
    def callable(self) -> list[Tool]:
        """The tools that may be called."""
        return [tool for tool in self.tools if not self.allowed or tool.name in self.allowed]
