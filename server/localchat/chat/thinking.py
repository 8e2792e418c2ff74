"""How much a model is to think, as its template takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from localchat.chat.reasoning import ThoughtTags
from localchat.chat.template import ChatTemplate
from localchat.constraint import Thoughts
from localchat.errors import UnsupportedField

_EFFORT = "reasoning_effort"
_SWITCHES = ("enable_thinking", "thinking")
"""Variables by which templates turn thoughts off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """The template's variables, and the most tokens of thoughts."""

    tags: ThoughtTags | None
    variables: Mapping[str, Any]
    budget: int | None

    def thoughts(self, prompt: str, *, is_continued: bool = False) -> Thoughts | None:
        """What an answer to this prompt may begin with; None where the prompt has ended all thoughts.

        An answer that is continued thinks on, or has begun to speak.
        """
        if self.tags is None:
            return None
        said = prompt.rstrip()
        if is_continued:
            is_begun = prompt.rfind(self.tags.start) > prompt.rfind(self.tags.end)
        else:
            is_begun = said.endswith(self.tags.start)
        if not is_begun and (is_continued or said.endswith(self.tags.end)):
            return None
        return Thoughts(self.tags.start, self.tags.end, is_begun, self.budget)


def plan_thinking(
    model: str, template: ChatTemplate, effort: str | None, budget: int | None, variables: Mapping[str, Any]
) -> Thinking:
    """What a request's wishes mean for a template. Raises UnsupportedField for what it does not take."""
    for name in variables:
        if name not in template.variables:
            raise UnsupportedField(
                f"chat_template_kwargs.{name} is not supported: {model}'s template takes "
                f"{', '.join(sorted(template.variables)) or 'nothing'}",
                param="chat_template_kwargs",
            )
    if budget is not None and template.thoughts is None:
        raise UnsupportedField(f"reasoning_budget is not supported: {model} does not think", param="reasoning_budget")
    switch = next((name for name in _SWITCHES if name in template.variables), None)
    if effort == "none" and switch is not None:
        variables = {switch: False, **variables}
    elif effort == "none" and template.thoughts is not None:
        budget = 0
    elif effort is not None and effort != "none":
        if _EFFORT not in template.variables:
            raise UnsupportedField(
                f"reasoning_effort {effort!r} is not supported: {model}'s template knows no degrees; "
                "reasoning_budget bounds the tokens of thoughts",
                param=_EFFORT,
            )
        variables = {_EFFORT: effort, **variables}
    return Thinking(tags=template.thoughts, variables=variables, budget=budget)
