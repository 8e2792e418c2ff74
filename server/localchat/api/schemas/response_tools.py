"""Tools, as responses write them: like chat's, with the fields of a function beside its type."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from localchat.api.schemas.policy import Body, Ignored, Refused
from localchat.api.schemas.tools import (
    MAX_TOOLS,
    AllowedTools,
    AllowedToolsChoice,
    FunctionDefinition,
    FunctionName,
    NamedTool,
    ToolChoice,
    use_of,
)
from localchat.api.schemas.types import Text
from localchat.chat.tools import ToolUse
from localchat.errors import UnsupportedField


class FunctionTool(FunctionDefinition):
    """A function that the client can call."""

    type: Literal["function"]
    allowed_callers: Annotated[list[str] | None, Refused("only the model calls", harmless=(["direct"], []))] = None
    async_: Annotated[bool | None, Refused("calls are answered in turn", harmless=(False,))] = Field(
        None, alias="async"
    )
    defer_loading: Annotated[bool | None, Refused("the model is told of all tools", harmless=(False,))] = None
    output_schema: Annotated[dict[str, Any] | None, Ignored("models are not told what functions give")] = None


class FlatNamedTool(Body):
    """A function that must be called, or may be."""

    type: Literal["function"]
    name: Text = Field(description="One of the functions'.")


class FlatAllowedTools(Body):
    """Tools among which the model is to choose, and whether it must."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[FlatNamedTool] = Field(min_length=1, description="Some of the request's, by their names.")


FlatToolChoice = (
    Literal["none", "auto", "required"] | Annotated[FlatNamedTool | FlatAllowedTools, Field(discriminator="type")]
)


class ResponseToolFields(Body):
    """What a request says of tools."""

    tools: list[FunctionTool] | None = Field(
        None, max_length=MAX_TOOLS, description="Functions; tools of other types are refused by name."
    )
    tool_choice: FlatToolChoice | None = Field(
        None, description="auto, none, required, a function, or allowed_tools; the last three are enforced."
    )
    parallel_tool_calls: bool | None = Field(None, description="Whether an answer may hold several calls; yes.")

    @field_validator("tools", mode="before")
    @classmethod
    def _refuse_other_tools(cls, tools: Any) -> Any:
        for index, tool in enumerate(tools if isinstance(tools, list) else []):
            _refuse_other(tool, f"tools[{index}]")
        return tools

    @field_validator("tool_choice", mode="before")
    @classmethod
    def _refuse_other_choices(cls, choice: Any) -> Any:
        if not (isinstance(choice, dict) and choice.get("type") == "allowed_tools"):
            _refuse_other(choice, "tool_choice")
        for index, tool in enumerate(choice.get("tools") or [] if isinstance(choice, dict) else []):
            _refuse_other(tool, f"tool_choice.tools[{index}]")
        return choice

    @property
    def tool_use(self) -> ToolUse | None:
        """The tools, unless none may be called. Raises InvalidRequest."""
        tools = [tool.to_tool(f"tools[{i}]") for i, tool in enumerate(self.tools or ())]
        choice = None if self.tool_choice is None else _as_chat_has_it(self.tool_choice)
        return use_of(tools, choice, "tool_choice", parallel=self.parallel_tool_calls is not False)


def _refuse_other(tool: Any, path: str) -> None:
    kind = tool.get("type", "function") if isinstance(tool, dict) else "function"
    if isinstance(kind, str) and kind != "function":
        raise UnsupportedField(
            f"{path}: {kind} tools are not supported; send function tools, and call what you like for them",
            param=f"{path}.type",
        )


def _as_chat_has_it(choice: FlatToolChoice) -> ToolChoice:
    match choice:
        case FlatNamedTool():
            return _named(choice)
        case FlatAllowedTools():
            allowed = AllowedTools(mode=choice.mode, tools=[_named(tool) for tool in choice.tools])
            return AllowedToolsChoice(type="allowed_tools", allowed_tools=allowed)
    return choice


def _named(tool: FlatNamedTool) -> NamedTool:
    return NamedTool(type="function", function=FunctionName(name=tool.name))
