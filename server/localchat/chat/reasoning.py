"""Thoughts, told apart from the answer that follows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from localchat.chat.answer import AnswerDelta, AnswerParser, Reasoning
from localchat.chat.source import Source, Steps


@dataclass(frozen=True, slots=True)
class ThoughtTags:
    """What thoughts stand between; in some families, the answer as well."""

    start: str
    end: str
    answer_start: str = ""
    answer_end: str = ""


TAGS = (
    ThoughtTags("<think>", "</think>", "<response>", "</response>"),
    ThoughtTags("[THINK]", "[/THINK]"),
    ThoughtTags("<seed:think>", "</seed:think>"),
)
"""The first is Qwen's, DeepSeek's, SmolLM's and Granite's, which alone puts the answer between tags; then Mistral's and
Seed's."""


def find_tags(template: str) -> ThoughtTags | None:
    """The tags of a chat template; None for a model that does not think."""
    return next((tags for tags in TAGS if tags.start in template or tags.end in template), None)


class ThinkingParser:
    """Thoughts of one answer, and what another parser finds in the rest. White space around the tags is neither's."""

    def __init__(self, tags: ThoughtTags, answer: AnswerParser, *, is_begun: bool) -> None:
        self._tags = tags
        self._answer = answer
        self._is_begun = is_begun
        self._source = Source()
        self._out: list[AnswerDelta] = []
        self._passes = False
        self._steps = self._parse()
        next(self._steps)

    def feed(self, text: str) -> Sequence[AnswerDelta]:
        """What the next piece of text adds."""
        if self._passes:
            return self._answer.feed(text)
        self._source.text += text
        return self._resume()

    def finish(self) -> Sequence[AnswerDelta]:
        """What was held back, now that the text has ended."""
        self._source.ended = True
        return [*self._resume(), *self._answer.finish()]

    def _resume(self) -> Sequence[AnswerDelta]:
        next(self._steps, None)
        out, self._out = self._out, []
        return out

    def _parse(self) -> Steps[None]:
        source, tags = self._source, self._tags
        if not source.text:
            yield
        if not self._is_begun:
            yield from source.space()
        if self._is_begun or (yield from source.accept(tags.start)):
            yield from source.space()
            source.drop()
            yield from self._thoughts()
            if tags.answer_start and (yield from source.accept(tags.answer_start)):
                yield from source.space()
                source.drop()
                yield from self._tagged_answer()
                return
        else:
            source.at = 0
        self._passes = True
        source.at = 0
        self._pass_on(source.text)
        source.text = ""

    def _thoughts(self) -> Steps[None]:
        source = self._source
        while not source.before(self._tags.end):
            if thought := source.drop():
                self._out.append(Reasoning(thought))
            if source.ended:
                return
            yield
        if thought := source.drop():
            self._out.append(Reasoning(thought))
        yield from source.space()
        yield from source.accept(self._tags.end)
        yield from source.space()
        source.drop()

    def _tagged_answer(self) -> Steps[None]:
        source = self._source
        while not source.before(self._tags.answer_end):
            self._pass_on(source.drop())
            if source.ended:
                return
            yield
        self._pass_on(source.drop())
        yield from source.space()
        yield from source.accept(self._tags.answer_end)
        yield from source.space()
        source.drop()
        self._passes = True
        self._pass_on(source.text)
        source.text = ""

    def _pass_on(self, text: str) -> None:
        if text:
            self._out.extend(self._answer.feed(text))
