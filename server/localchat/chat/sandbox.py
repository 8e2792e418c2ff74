"""Runs templates that came with weights from strangers: jinja2's immutable sandbox, and bounds on work and size."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import loopcontrols
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from localchat.errors import TemplateError

MAX_SOURCE = 200_000
MAX_LOOP = 200_000
MAX_STEPS = 500_000
MAX_OUTPUT = 64_000_000
MAX_REPEAT = 1_000_000
MAX_BITS = 4096

Clock = Callable[[], datetime.datetime]
"""Says what time it is, to templates that ask."""

_STEPS = "steps left"  # no template can name a variable with a space
_PADDING_FILTERS = {"batch", "center", "indent", "slice", "tojson", "wordwrap"}
_WIDE_FORMAT = re.compile(r"\d{7}|\*")


class _Environment(ImmutableSandboxedEnvironment):
    """Counts calls and rounds of loops, and refuses what makes much out of little."""

    intercepted_binops = frozenset(["*", "**", "+", "%"])

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        match operator:
            case "*":
                _check_product(left, right)
            case "**" if isinstance(left, int) and isinstance(right, int) and left.bit_length() * right > MAX_BITS:
                raise TemplateError(f"the chat template raises a number to the power of {right}")
            case "%":
                _narrow(left)
        return _sized(super().call_binop(context, operator, left, right))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        __context.parent[_STEPS].take()
        if isinstance(__obj, LoopContext):  # a recursive loop calls itself
            args = (_rounds(__context, *args),)
        method = getattr(__obj, "__wrapped__", __obj)  # jinja2 wraps `format`
        if isinstance(text := getattr(method, "__self__", None), str):
            for value in args:
                _bounded(value)
            if method.__name__.startswith("format"):
                _narrow(text)
        return _sized(super().call(__context, __obj, *args, **kwargs))

    def unsafe_undefined(self, obj: Any, attribute: str) -> jinja2.Undefined:
        if attribute.startswith("_"):  # ChainableUndefined would pass it over in silence
            raise TemplateError(f"the chat template reaches for {attribute}")
        return super().unsafe_undefined(obj, attribute)

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        return super()._generate(_Metering().visit(source), *args, **kwargs)


class _Metering(NodeTransformer):
    """Puts the counting and the bounds into a template, as filters."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = _filtered(node.iter, "_rounds")
        return node

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:
        self.generic_visit(node)
        if node.name in _PADDING_FILTERS:
            node.args = [_filtered(value, "_bounded") for value in node.args]
            for keyword in node.kwargs:
                keyword.value = _filtered(keyword.value, "_bounded")
        if node.name == "format":
            node.node = _filtered(node.node, "_narrow")
        return _filtered(node, "_sized")

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _filtered(node, "_sized")


class _Steps:
    """What is left of a render's work."""

    def __init__(self) -> None:
        self._left = MAX_STEPS

    def take(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise TemplateError(f"the chat template takes more than {MAX_STEPS} steps")


class Program:
    """A compiled template. Raises TemplateError: at once if it does not compile, later if it fails or runs away."""

    def __init__(self, source: str, *, now: Clock = datetime.datetime.now) -> None:
        if len(source) > MAX_SOURCE:
            raise TemplateError(f"the chat template has {len(source)} characters; {MAX_SOURCE} are allowed")
        environment = _Environment(
            trim_blocks=True, lstrip_blocks=True, undefined=jinja2.ChainableUndefined, extensions=[loopcontrols]
        )
        for own in (_rounds, _bounded, _narrow, _sized):
            environment.filters[own.__name__] = own
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = lambda form: now().strftime(form)
        del environment.globals["lipsum"]  # has a loop of its own
        try:
            self.variables = _variables(environment.parse(source)) - set(environment.globals)
            self._template = environment.from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise TemplateError(f"the chat template does not compile: line {error.lineno}: {error.message}") from None
        except SyntaxError as error:  # jinja2 lets a `break` outside a loop pass, Python does not
            raise TemplateError(f"the chat template does not compile: {error.msg}") from None
        except (RecursionError, MemoryError):
            raise TemplateError("the chat template is nested too deeply") from None

    def render(self, **variables: Any) -> str:
        """The template's text for these variables."""
        pieces, size = [], 0
        try:
            for piece in self._template.generate(range=_budgeted_range(), **{_STEPS: _Steps()}, **variables):
                size += len(piece)
                if size > MAX_OUTPUT:
                    raise TemplateError(f"the chat template writes more than {MAX_OUTPUT} characters")
                pieces.append(piece)
        except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise TemplateError(f"the chat template refuses this conversation: {error}") from None
        except (RecursionError, MemoryError) as error:
            raise TemplateError(f"the chat template runs away: {type(error).__name__}") from None
        return "".join(pieces)


def _variables(tree: nodes.Template) -> frozenset[str]:
    """Names that a template reads and does not itself set, or sets only where they are not defined.

    jinja2's own search for them generates code, and computes constants without any bound.
    """
    names = list(tree.find_all(nodes.Name))
    read = {name.name for name in names if name.ctx == "load"}
    written = {name.name for name in names if name.ctx != "load"} | {macro.name for macro in tree.find_all(nodes.Macro)}
    tests = [test for test in tree.find_all(nodes.Test) if test.name in ("defined", "undefined")]
    asked = {test.node.name for test in tests if isinstance(test.node, nodes.Name)}
    return frozenset((read - written) | asked)


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


def _filtered(node: nodes.Node | None, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None)


@jinja2.pass_context
def _rounds(context: Context, items: Iterable[Any]) -> Iterator[Any]:
    steps = context.parent[_STEPS]
    for item in items:
        steps.take()
        yield item


def _bounded(value: Any) -> Any:
    if isinstance(value, int) and abs(value) > MAX_REPEAT:
        raise TemplateError(f"the chat template asks for a width of {value}")
    return value


def _narrow(form: Any) -> Any:
    if isinstance(form, str) and _WIDE_FORMAT.search(form):
        raise TemplateError("the chat template formats a value too wide")
    return form


def _sized(value: Any) -> Any:
    if isinstance(value, str | list | tuple) and len(value) > MAX_OUTPUT:
        raise TemplateError(f"the chat template makes a value longer than {MAX_OUTPUT}")
    return value


def _check_product(left: Any, right: Any) -> None:
    for factor, value in ((left, right), (right, left)):
        if not isinstance(factor, int):
            continue
        if hasattr(value, "__len__") and len(value) * factor > MAX_REPEAT:
            raise TemplateError(f"the chat template repeats a value {factor} times")
        if isinstance(value, int) and value.bit_length() + factor.bit_length() > MAX_BITS:
            raise TemplateError("the chat template makes a number too large")


def _tojson(value: Any, indent: int | None = None, ensure_ascii: bool = False) -> str:
    # Jinja's own filter escapes for HTML, which models never saw.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)
