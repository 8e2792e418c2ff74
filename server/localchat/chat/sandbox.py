"""Runs templates that came with weights from strangers: jinja2's immutable sandbox, and bounds on work and size."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from typing import Any

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from localchat.errors import TemplateError

MAX_SOURCE = 200_000
MAX_LOOP = 200_000
MAX_OUTPUT = 64_000_000
MAX_REPEAT = 1_000_000


class _Environment(ImmutableSandboxedEnvironment):
    """Refuses the operators that make much out of little."""

    intercepted_binops = frozenset(["*", "**"])

    def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any) -> Any:
        sized = [len(x) if hasattr(x, "__len__") else 1 for x in (left, right)]
        factor = next((x for x in (right, left) if isinstance(x, int)), 1)
        if operator == "*" and max(sized) > 1 and abs(max(sized) * factor) > MAX_REPEAT:
            raise TemplateError(f"the chat template repeats a value {factor} times")
        if operator == "**" and isinstance(right, int | float) and abs(right) > 64:
            raise TemplateError(f"the chat template raises a number to the power of {right}")
        return super().call_binop(context, operator, left, right)


class Program:
    """A compiled template. Raises TemplateError: at once if it does not compile, later if it fails or runs away."""

    def __init__(self, source: str) -> None:
        if len(source) > MAX_SOURCE:
            raise TemplateError(f"the chat template has {len(source)} characters; {MAX_SOURCE} are allowed")
        environment = _Environment(
            trim_blocks=True, lstrip_blocks=True, undefined=jinja2.ChainableUndefined, extensions=[loopcontrols]
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise TemplateError(f"the chat template does not compile: line {error.lineno}: {error.message}") from None
        except RecursionError:
            raise TemplateError("the chat template is nested too deeply") from None

    def render(self, **variables: Any) -> str:
        """The template's text for these variables."""
        pieces, size = [], 0
        try:
            for piece in self._template.generate(range=_budgeted_range(), **variables):
                size += len(piece)
                if size > MAX_OUTPUT:
                    raise TemplateError(f"the chat template writes more than {MAX_OUTPUT} characters")
                pieces.append(piece)
        except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise TemplateError(f"the chat template refuses this conversation: {error}") from None
        except (RecursionError, MemoryError) as error:
            raise TemplateError(f"the chat template runs away: {type(error).__name__}") from None
        return "".join(pieces)


def _budgeted_range() -> Callable[..., range]:
    """`range` that counts: nested loops over it end, however they are nested."""
    left = MAX_LOOP

    def budgeted(*arguments: int) -> range:
        nonlocal left
        result = range(*arguments)
        left -= len(result) + 1
        if left < 0:
            raise TemplateError(f"the chat template loops more than {MAX_LOOP} times")
        return result

    return budgeted


def _tojson(value: Any, indent: int | None = None, ensure_ascii: bool = False) -> str:
    # Jinja's own filter escapes for HTML, which models never saw.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)
