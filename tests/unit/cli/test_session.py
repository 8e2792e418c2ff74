"""The state of a terminal chat, and its slash commands."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from localchat.chat.messages import Message
from localchat.cli.session import _COMMANDS, HELP, Leave, Session
from localchat.errors import InvalidRequest
from localchat.sampling_params import SamplingParams


def said(session: Session) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in session.messages]


def talked() -> Session:
    session = Session(system="Be brief.")
    for question, answer in (("One?", "1"), ("Two?", "2")):
        session.say(question)
        session.answer(answer)
    return session


def test_conversation_grows_by_question_and_answer() -> None:
    assert said(talked()) == [
        ("system", "Be brief."),
        ("user", "One?"),
        ("assistant", "1"),
        ("user", "Two?"),
        ("assistant", "2"),
    ]


def test_answer_without_a_word_takes_the_question_back() -> None:
    session = talked()
    session.say("Three?")
    session.answer("")
    assert session.turns == talked().turns


def test_undo_takes_the_last_exchange_back() -> None:
    session = talked()
    session.command("/undo")
    assert said(session) == [("system", "Be brief."), ("user", "One?"), ("assistant", "1")]
    session.command("/undo")
    with pytest.raises(InvalidRequest, match="nothing to take back"):
        session.command("/undo")


def test_reset_keeps_the_system_message_and_the_settings() -> None:
    session = talked()
    session.command("/set top_k 5")
    session.command("/reset")
    assert said(session) == [("system", "Be brief.")]
    assert session.sampling == {"top_k": 5}


def test_system_starts_over_with_another_message_or_none() -> None:
    session = talked()
    session.command("/system  Rhyme. ")
    assert session.messages == [Message(role="system", content="Rhyme.")]
    session.command("/system")
    assert session.messages == []


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("/set temperature 0.2", "temperature", 0.2),
        ("/set temperature 0", "temperature", 0),
        ("/set  top_k   7 ", "top_k", 7),
        ("/set seed 12", "seed", 12),
        ("/set seed null", "seed", None),
        ("/set ignore_eos true", "ignore_eos", True),
        ('/set dry_sequence_breakers ["a", " b"]', "dry_sequence_breakers", ("a", " b")),
        ('/set logit_bias {"15": -100}', "logit_bias", {15: -100}),
    ],
)
def test_setting_is_changed_and_is_one_that_a_sampler_takes(line: str, name: str, value: Any) -> None:
    session = Session()
    assert session.command(line).startswith(f"{name} = ")
    assert session.sampling == {name: value}
    assert getattr(SamplingParams(**session.sampling), name) == value


def test_settings_add_up_and_the_last_holds() -> None:
    session = Session(sampling={"top_p": 0.5})
    for line in ("/set top_k 5", '/set logit_bias {"15": 1}', "/set top_k 6"):
        session.command(line)
    assert session.sampling == {"top_p": 0.5, "top_k": 6, "logit_bias": {15: 1}}


@pytest.mark.parametrize(
    "line",
    [
        "/set",
        "/set temperature",
        "/set temperature 9",
        "/set temperature hot",
        '/set temperature "1"',
        "/set temperature true",
        "/set top_k 1.5",
        "/set top_k [",
        "/set colour 1",
        "/set max_tokens 0",
        "/set max_tokens -3",
        "/set max_tokens many",
        '/set logit_bias {"a": 1}',
        '/set logit_bias {"5": 101}',
        "/dance",
        "/",
        "/SET top_k 1",
    ],
)
def test_mistake_is_explained_and_changes_nothing(line: str) -> None:
    session = talked()
    before = Session(dict(session.sampling), session.max_tokens, session.system, list(session.turns))
    with pytest.raises(InvalidRequest):
        session.command(line)
    assert session == before


def test_mistaken_name_is_answered_with_the_names() -> None:
    with pytest.raises(InvalidRequest) as caught:
        Session().command("/set colour 1")
    assert "max_tokens" in caught.value.message
    assert all(field.name in caught.value.message for field in fields(SamplingParams))


def test_limit_of_tokens_is_not_a_sampling_setting() -> None:
    session = Session()
    session.command("/set max_tokens 12")
    assert (session.max_tokens, session.sampling) == (12, {})


def test_show_tells_every_setting_in_force() -> None:
    session = Session(sampling={"temperature": 0.3}, max_tokens=9, system="Be brief.")
    shown = dict(line.split(" = ", 1) for line in session.command("/show").splitlines())
    assert set(shown) == {"max_tokens", "system", *(field.name for field in fields(SamplingParams))}
    assert (shown["temperature"], shown["max_tokens"], shown["system"]) == ("0.3", "9", "Be brief.")
    assert shown["top_k"] == str(SamplingParams().top_k)


@pytest.mark.parametrize("line", ["/exit", "/quit", "/exit now"])
def test_exit_leaves(line: str) -> None:
    with pytest.raises(Leave):
        Session().command(line)


def test_help_names_every_command() -> None:
    assert Session().command("/help") == HELP
    assert {name for name in _COMMANDS if f"/{name}" not in HELP} == {"quit"}  # the other name of /exit
