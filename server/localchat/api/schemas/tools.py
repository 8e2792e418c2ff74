"""The fields that offer tools, and those that say which must be called."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from localchat.api.schemas.policy import Body
from localchat.api.schemas.types import Text
from localchat.chat.tools import Tool, ToolUse
from localchat.errors import InvalidRequest, UnsupportedField

MAX_TOOLS = 128
Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$", description="Letters, digits, _ and -; up to 64.")]


class FunctionDefinition(Body):
    """A function that the client can call."""

    name: Name
    description: Text | None = Field(None, description="What it does, for the model to read.")
    parameters: dict[str, Any] | None = Field(None, description="JSON schema of an object; absent for no parameters.")
    strict: bool | None = Field(None, description="Arguments keep the schema also where the model calls unasked.")

    def to_tool(self, path: str) -> Tool:
        """The function as chat models take it. Raises InvalidRequest."""
        param = f"{path}.parameters"
        if self.parameters is not None and self.parameters.get("type", "object") != "object":
            kind = self.parameters["type"]
            raise InvalidRequest(f'{param} must be a schema of type "object", not {kind!r}', param=param)
        return Tool(
            name=self.name,
            description=self.description,
            parameters=self.parameters,
            strict=bool(self.strict),
            param=param,
        )


class ToolDefinition(Body):
    """A function in its wrapping."""

    type: Literal["function"]
    function: FunctionDefinition = Field(description="What can be called.")


class FunctionName(Body):
    """A function by its name."""

    name: Text = Field(description="One of the functions'.")


class NamedTool(Body):
    """A function that must be called, or may be."""

    type: Literal["function"]
    function: FunctionName = Field(description="One of the functions.")


class AllowedTools(Body):
    """Tools among which the model is to choose, and whether it must."""

    mode: Literal["auto", "required"]
    tools: list[NamedTool] = Field(min_length=1, description="Some of the request's, by their names.")


class AllowedToolsChoice(Body):
    """`allowed_tools` in its wrapping."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools = Field(description="Which, and whether one must be called.")


ToolChoice = (
    Literal["none", "auto", "required"] | Annotated[NamedTool | AllowedToolsChoice, Field(discriminator="type")]
)


class ToolFields(Body):
    """What a request says of tools; `functions` and `function_call` are OpenAI's older names."""

    tools: list[ToolDefinition] | None = Field(
        None, max_length=MAX_TOOLS, description="Functions; tools of other types are refused."
    )
    tool_choice: ToolChoice | None = Field(
        None, description="auto, none, required, a function, or allowed_tools; the last three are enforced."
    )
    parallel_tool_calls: bool | None = Field(None, description="Whether an answer may hold several calls; yes.")
    functions: list[FunctionDefinition] | None = Field(
        None, max_length=MAX_TOOLS, description="Older name of tools; answered by function_call."
    )
    function_call: Literal["none", "auto"] | FunctionName | None = Field(None, description="Goes with functions.")

    @field_validator("tools", mode="before", check_fields=False)
    @classmethod
    def _refuse_other_tools(cls, tools: Any) -> Any:
        for index, tool in enumerate(tools if isinstance(tools, list) else []):
            kind = tool.get("type", "function") if isinstance(tool, dict) else "function"
            if isinstance(kind, str) and kind != "function":
                raise UnsupportedField(
                    f"tools[{index}]: {kind} tools are not supported; send function tools", param=f"tools[{index}].type"
                )
        return tools

    @property
    def tool_use(self) -> ToolUse | None:
        """The tools, unless none may be called. Raises InvalidRequest."""
        if self.tools and self.functions:
            raise InvalidRequest("functions is the older name of tools: send one of them", param="functions")
        if self.functions:
            functions = [function.to_tool(f"functions[{i}]") for i, function in enumerate(self.functions)]
            return use_of(functions, self.function_call, "function_call", parallel=False, field="functions")
        tools = [tool.function.to_tool(f"tools[{i}].function") for i, tool in enumerate(self.tools or ())]
        use_of([], self.function_call, "function_call", parallel=False)
        return use_of(tools, self.tool_choice, "tool_choice", parallel=self.parallel_tool_calls is not False)


def use_of(
    tools: list[Tool],
    choice: ToolChoice | FunctionName | None,
    param: str,
    *,
    parallel: bool,
    field: str = "tools",
) -> ToolUse | None:
    """Tools, and which of them may or must be called; None where that is none. Raises InvalidRequest.

    `param` and `field` are the request's fields that errors about the choice and about the tools name.
    """
    names = [tool.name for tool in tools]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InvalidRequest(f"two tools have the name {twice!r}", param=field)
    must_call = choice == "required" or isinstance(choice, NamedTool | FunctionName)
    chosen: list[str] = []
    match choice:
        case NamedTool():
            chosen = [choice.function.name]
        case FunctionName():
            chosen = [choice.name]
        case AllowedToolsChoice():
            chosen = [tool.function.name for tool in choice.allowed_tools.tools]
            must_call = choice.allowed_tools.mode == "required"
    if (must_call or chosen) and not tools:
        raise InvalidRequest(f"{param} asks for a call, and there are no tools to call", param=param)
    if unknown := next((name for name in chosen if name not in names), None):
        raise InvalidRequest(f"{param} names {unknown!r}, which is none of the tools", param=param)
    if not tools or choice == "none":
        return None
    is_one = isinstance(choice, NamedTool | FunctionName)
    return ToolUse(tools=tools, allowed=chosen, must_call=must_call, parallel=parallel and not is_one)
