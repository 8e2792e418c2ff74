"""Thoughts pass, are counted, and end in time; grammars wait for the end of them, or for their trigger."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from localchat.constraint import Thoughts
from localchat.engine.thinking import Thinking
from localchat.engine.triggered import Triggered
from localchat.errors import EngineError

from .scripted import END, SIZE, ScriptedVocabulary


class Spelling:
    """A grammar of one text; a token is a letter."""

    is_awake = True

    def __init__(self, text: str) -> None:
        self.left = text

    @property
    def is_complete(self) -> bool:
        return not self.left

    def fork(self) -> Spelling:
        return Spelling(self.left)

    def prepare(self) -> None:
        """Nothing takes long."""

    def allowed(self) -> NDArray[np.bool_]:
        mask = np.zeros(SIZE, np.bool_)
        mask[ord(self.left[0])] = True
        return mask

    def accept(self, token: int) -> None:
        if chr(token) != self.left[0]:
            raise EngineError(f"{chr(token)!r} is not {self.left[0]!r}")
        self.left = self.left[1:]


def letters(text: str) -> list[int]:
    return list(text.encode())


def thinking(answer: Spelling | Triggered | None = None, *, begun: bool = False, budget: int | None = None) -> Thinking:
    return Thinking(Thoughts("<t>", "</t>", begun, budget), answer, ScriptedVocabulary(), letters)


def triggered(text: str, *, repeats: bool = True) -> Triggered:
    return Triggered(Spelling(text), ["<c>"], ScriptedVocabulary(), letters, repeats=repeats)


def say(matcher: Thinking | Triggered, text: str) -> None:
    """Let the model say this, which must be allowed."""
    for token in letters(text):
        assert not matcher.is_awake or matcher.allowed()[token], f"{chr(token)!r} is not allowed"
        assert not matcher.is_complete
        matcher.accept(token)


def forced(matcher: Thinking) -> str:
    """What is said while there is no choice."""
    said = ""
    while matcher.is_awake and not matcher.is_complete and matcher.allowed().sum() == 1:
        token = int(matcher.allowed().argmax())
        matcher.accept(token)
        said += chr(token)
    return said


@pytest.mark.parametrize(
    ("begun", "text", "tokens"),
    [
        (False, "<t>abc</t>yes", 10),
        (False, "\n<t>abc</t>yes", 11),
        (True, "abc</t>yes", 7),
        (False, "yes", 0),
        (False, "<tea>", 0),
        (False, "<t>abc", 6),
        (True, "", 0),
    ],
)
def test_tokens_of_thoughts_are_counted(begun: bool, text: str, tokens: int) -> None:
    matcher = thinking(begun=begun)
    say(matcher, text)
    assert matcher.tokens == tokens
    assert not matcher.is_awake


def test_thoughts_end_when_their_budget_is_spent() -> None:
    matcher = thinking(begun=True, budget=5)
    say(matcher, "abcde")
    assert forced(matcher) == "\n</t>\n\n"
    assert not matcher.is_awake
    say(matcher, "yes")
    assert matcher.tokens == 5 + len("\n</t>")


def test_budget_of_nothing_ends_thoughts_at_once() -> None:
    assert forced(thinking(begun=True, budget=0)) == "\n</t>\n\n"
    matcher = thinking(budget=0)
    say(matcher, "<t>")
    assert forced(matcher) == "\n</t>\n\n"


def test_budget_that_is_not_spent_changes_nothing() -> None:
    matcher = thinking(budget=100)
    say(matcher, "<t>abc</t>yes")
    assert not matcher.is_awake


def test_grammar_holds_behind_thoughts() -> None:
    matcher = thinking(Spelling("{}"))
    say(matcher, "<t>a{b")
    assert not matcher.allowed()[END], "the answer is still to come"
    say(matcher, "</t>")
    assert forced(matcher) == "\n\n{}"
    assert matcher.is_complete


def test_grammar_holds_at_once_for_an_answer_without_thoughts() -> None:
    matcher = thinking(Spelling("{}"))
    allowed = matcher.allowed()
    assert sorted(np.flatnonzero(allowed)) == sorted([ord("<"), ord("{")])
    say(matcher, "{}")
    assert matcher.is_complete
    assert matcher.tokens == 0


def test_thoughts_that_begin_before_a_grammar_begin_whole() -> None:
    matcher = thinking(Spelling("{}"))
    say(matcher, "<")
    assert forced(matcher) == "t>"


def test_grammar_sleeps_until_its_trigger_and_again_behind_its_end() -> None:
    matcher = triggered("{}")
    say(matcher, "abc <c")
    assert not matcher.is_awake
    say(matcher, ">")
    assert matcher.is_awake
    say(matcher, "{}")
    assert not matcher.is_awake
    say(matcher, " and <c>{}")
    assert not matcher.is_complete


def test_grammar_that_does_not_repeat_ends_the_answer() -> None:
    matcher = triggered("{}", repeats=False)
    say(matcher, "<c>{}")
    assert matcher.is_complete


def test_token_that_goes_on_behind_a_trigger_is_a_part_of_the_grammar() -> None:
    class Wide(ScriptedVocabulary):
        def piece(self, token: int, *, special: bool = False) -> bytes:
            return {1: b">{", 2: b">?"}.get(token) or super().piece(token, special=special)

    for token, is_awake in ((1, True), (2, False)):
        matcher = Triggered(Spelling("{}"), ["<c>"], Wide(), letters, repeats=True)
        say(matcher, "<c")
        matcher.accept(token)
        assert matcher.is_awake is is_awake
    say(matcher, " <c>{}")


def test_trigger_in_thoughts_is_none() -> None:
    matcher = thinking(triggered("{}"))
    say(matcher, "<t><c>")
    say(matcher, "abc</t>")
    assert not matcher.is_awake
    say(matcher, "yes <c>")
    assert matcher.is_awake
    say(matcher, "{}")
