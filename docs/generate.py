"""Writes the tables that stand between marks in the docs. `--check` says whether they are up to date."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from localchat.api.errors import TABLE
from localchat.api.schemas import chat, items, lists, response_tools, responses, structured, tools
from localchat.api.schemas.completions import CompletionRequest
from localchat.api.schemas.embeddings import EmbeddingRequest
from localchat.api.schemas.policy import Ours, Refused, choices_of, policy_of
from localchat.api.schemas.sampling import StreamOptions
from localchat.api.schemas.tokens import DetokenizeRequest, TokenizeRequest
from localchat.cli.flags import shown_default
from localchat.errors import LocalchatError
from localchat.registry import ModelSpec, load_registry
from localchat.sampling_params import RANGES, SamplingParams
from localchat.settings import Settings
from localchat_quantize import card
from localchat_quantize.convert.table import CONVERTERS, REFUSED

HERE = Path(__file__).parent
ROOT = HERE.parent


BODIES: dict[str, tuple[type[BaseModel], ...]] = {
    "chat": (chat.ChatRequest,),
    "messages": (chat.SystemTurn, chat.UserTurn, chat.AssistantTurn, chat.ToolTurn, chat.FunctionTurn),
    "content_parts": (chat.TextPart, chat.RefusalPart),
    "earlier_calls": (chat.ToolCall, chat.FunctionCall),
    "tools": (tools.ToolDefinition, tools.FunctionDefinition),
    "tool_choice": (tools.NamedTool, tools.FunctionName, tools.AllowedToolsChoice, tools.AllowedTools),
    "response_format": (structured.TextFormat, structured.JsonObjectFormat, structured.JsonSchemaFormat),
    "json_schema": (structured.JsonSchema,),
    "prediction": (chat.Prediction,),
    "stream_options": (StreamOptions,),
    "chat_list": (lists.ChatListQuery,),
    "chat_update": (chat.ChatUpdate,),
    "chat_messages": (lists.PageQuery,),
    "completions": (CompletionRequest,),
    "embeddings": (EmbeddingRequest,),
    "responses": (responses.ResponseRequest,),
    "response_text": (responses.TextOptions, responses.FlatJsonSchemaFormat),
    "response_tools": (response_tools.FunctionTool,),
    "response_tool_choice": (response_tools.FlatNamedTool, response_tools.FlatAllowedTools),
    "response_reasoning": (responses.ReasoningOptions,),
    "response_stream_options": (responses.ResponseStreamOptions,),
    "response_items": (
        items.MessageItem,
        items.FunctionCallItem,
        items.FunctionOutputItem,
        items.ReasoningItem,
        items.ItemReference,
    ),
    "response_parts": (
        items.InputText,
        items.OutputText,
        items.RefusalPart,
        items.SummaryText,
        items.ReasoningText,
    ),
    "response_retrieve": (lists.RetrieveQuery,),
    "response_input_items": (lists.InputItemsQuery,),
    "input_tokens": (responses.InputTokensRequest,),
    "tokenize": (TokenizeRequest,),
    "detokenize": (DetokenizeRequest,),
}
"""Mark → what its table tells of; together they are all that a request may hold."""


def fields(*models: type[BaseModel]) -> Iterator[str]:
    """Every field of a request's parts, and what happens to it."""
    found: dict[str, list[FieldInfo]] = {}
    for model in models:
        for own_name, field in model.model_fields.items():
            found.setdefault(f"`{field.alias or own_name}`{' †' if _is_ours(field) else ''}", []).append(field)
    yield "| field | what happens | |"
    yield "|---|---|---|"
    for name, alike in found.items():
        if words := dict.fromkeys(word for field in alike if _is_choice(field) for word in choices_of(field)):
            yield f"| {name} | honoured | {' or '.join(words)}. |"
        for policy in dict.fromkeys(_policy(field) for field in alike if not _is_choice(field)):
            yield f"| {name} | {policy} |"


def _is_choice(field: FieldInfo) -> bool:
    """Whether words that may be said are all that there is to say."""
    return policy_of(field)[0] == "honoured" and not field.description and bool(choices_of(field))


def _is_ours(field: FieldInfo) -> bool:
    return any(isinstance(mark, Ours) for mark in field.metadata)


def _policy(field: FieldInfo) -> str:
    policy, note = policy_of(field)
    harmless = [value for mark in field.metadata if isinstance(mark, Refused) for value in mark.harmless]
    if harmless:
        note += "; accepted: " + ", ".join(f"`{_json(value)}`" for value in harmless)
    shown = policy if policy == "honoured" else f"**{policy}**"
    note = note.replace("|", "\\|")
    return f"{shown} | {note}"


def _json(value: object) -> str:
    import json  # noqa: PLC0415

    return json.dumps(value)


def sampling() -> Iterator[str]:
    """Defaults and ranges of the sampling fields."""
    defaults = SamplingParams()
    yield "| field | default | range |"
    yield "|---|---|---|"
    for name, (least, most) in RANGES.items():
        default = getattr(defaults, name)
        yield f"| `{name}` | {'random' if default is None else default} | {least:g} to {most:g} |"


def errors() -> Iterator[str]:
    """Errors by code."""
    yield "| status | type | code | when |"
    yield "|---|---|---|---|"
    for cls, (status, kind, code) in sorted(TABLE.items(), key=lambda item: (item[1][0], item[0].__name__)):
        if cls is not LocalchatError:
            yield f"| {status} | `{kind}` | `{code}` | {(cls.__doc__ or '').splitlines()[0]} |"


def settings() -> Iterator[str]:
    """Every flag of `localchat serve`."""
    yield "| flag | environment | default | |"
    yield "|---|---|---|---|"
    for name, field in Settings.model_fields.items():
        default = "" if field.default_factory else field.get_default()
        shown = "" if default in (None, [], "", False) else f"`{shown_default(default)}`"
        yield f"| `--{name.replace('_', '-')}` | `LOCALCHAT_{name.upper()}` | {shown} | {field.description} |"


def models() -> Iterator[str]:
    """The registry."""
    yield "| id | title | parameters | context | formats | license | commercial | runs |"
    yield "|---|---|---|---|---|---|---|---|"
    for spec in load_registry(ROOT / "model_registry.toml").models:
        numbers = f"{spec.parameters or ''} | {spec.context_length or ''}"
        license = f"{spec.license or 'unknown'} | {spec.commercial.use}"
        yield f"| `{spec.id}` | {spec.title} | {numbers} | {_formats(spec)} | {license} | {_runs(spec)} |"


def _formats(spec: ModelSpec) -> str:
    names = [quant.name for quant in spec.quants]
    if len(names) <= 3:
        return ", ".join(names)
    # The first is the default; the others ascend.
    return f"{names[1]} … {names[-1]} ({len(names)})"


def _runs(spec: ModelSpec) -> str:
    if spec.unsupported:
        return f"no: {spec.unsupported}"
    return "convert" if all(quant.source.kind == "convert" for quant in spec.quants) else "yes"


def converters() -> Iterator[str]:
    """Classes of checkpoints: what each becomes, or why it becomes nothing."""
    yield "| class | becomes |"
    yield "|---|---|"
    for name, converter in CONVERTERS.items():
        yield f"| `{name}` | a file for llama.cpp's graph `{converter.graph}` |"
    for name, reason in REFUSED.items():
        yield f"| `{name}` | refused: {reason} |"


def example() -> Iterator[str]:
    """The card of the embedded model, as `localchat quantize` wrote it."""
    path = HERE / "quants" / "smollm2-135m-instruct.card.json"
    found = card.read(path)
    assert found is not None, f"there is no {path}"
    own = card.to_markdown(found).replace("](", "](quants/")
    yield from own.splitlines()[2:]  # the page has a title


TABLES: dict[str, tuple[str, Callable[[], Iterator[str]]]] = {
    **{mark: ("api.md", partial(fields, *models)) for mark, models in BODIES.items()},
    "sampling": ("api.md", sampling),
    "errors": ("api.md", errors),
    "settings": ("settings.md", settings),
    "models": ("models.md", models),
    "converters": ("quantization.md", converters),
    "card": ("quantization.md", example),
}
"""Mark → file it stands in, and what makes its table."""


def rendered(name: str) -> str:
    """A docs file with fresh tables."""
    text = (HERE / name).read_text(encoding="utf-8")
    for mark, (file, make) in TABLES.items():
        if file == name:
            begin, end = f"<!-- table: {mark} -->\n", f"<!-- end: {mark} -->"
            head, rest = text.split(begin)
            text = head + begin + "\n".join(make()) + "\n" + end + rest.split(end)[1]
    return text


def stale() -> list[str]:
    """Files whose tables are not what the code says."""
    files = sorted({file for file, _ in TABLES.values()})
    return [file for file in files if rendered(file) != (HERE / file).read_text(encoding="utf-8")]


def main() -> None:
    """Write the tables, or check them."""
    if "--check" in sys.argv:
        if files := stale():
            sys.exit(f"stale: {', '.join(files)}; run `make docs`")
        return
    for file in stale():
        (HERE / file).write_text(rendered(file), encoding="utf-8")


if __name__ == "__main__":
    main()
