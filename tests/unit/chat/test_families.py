"""What holds of every prompt family, whatever is said and by whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localchat.chat.goldens import clock
from localchat.chat.messages import Message, Role
from localchat.chat.template import ChatTemplate
from localchat.registry import load_registry

FAMILIES = load_registry().templates
TEMPLATES = {name: ChatTemplate(family.jinja, now=clock) for name, family in FAMILIES.items()}

INTRO = "Below is an instruction"
DEFAULTS = {
    "alpaca": INTRO,
    "camel-writer": INTRO,
    "dlite-v2": INTRO,
    "dolly-v2": INTRO,
    "mpt-instruct": INTRO,
    "airoboros-1.4": "A chat between a curious user",
    "vicuna-v1.1": "A chat between a curious user",
    "vicuna-v0": "A chat between a curious human",
    "fastchat-t5": "A chat between a curious human",
    "koala": "BEGINNING OF CONVERSATION:",
    "stablelm-alpha": "<|SYSTEM|># StableLM Tuned",
    "mpt-chatml": "You are a helpful assistant chatbot",
    "openchatkit": "Current Date: 2023-04-15\nCurrent Time: 09:00:00 AM\n",
    "gpt4all-j": "The prompt below is a question",
    "stable-vicuna": "I am StableVicuna",
    "llama2-chat": "You are a helpful, respectful and honest",
    "stable-beluga": "You are Stable Beluga",
    "chinese-vicuna-chat": "The following is a conversation",
}
"""How the system text begins that a family's authors always wrote."""

CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}

few = settings(max_examples=20)
"""For laws that are tried on each of the families."""

each_family = pytest.mark.parametrize("name", FAMILIES)
words = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"], include_characters="\n"), max_size=30
)


@st.composite
def spoken(draw: st.DrawFn, roles: Sequence[Role]) -> list[Message]:
    """What these roles say in turn; no two of them the same."""
    return [Message(role=role, content=f"<{turn}: {draw(words)}>") for turn, role in enumerate(roles)]


def alternating() -> st.SearchStrategy[list[Message]]:
    """A conversation as it should be, which ends with the user."""
    beginnings: st.SearchStrategy[list[Role]] = st.sampled_from([[], ["system"]])
    roles = st.builds(
        lambda start, rounds: [*start, *(["user", "assistant"] * rounds), "user"], beginnings, st.integers(0, 3)
    )
    return roles.flatmap(spoken)


def disorderly() -> st.SearchStrategy[list[Message]]:
    """A conversation in which anyone speaks at any time."""
    return st.lists(st.sampled_from(get_args(Role)), min_size=1, max_size=6).flatmap(spoken)


def assert_said_in_order(conversation: Sequence[Message], prompt: str) -> None:
    place = 0
    for message in conversation:
        for line in message.content.split("\n"):
            place = prompt.find(line.strip(), place)
            assert place >= 0, f"{line!r} is missing in {prompt!r}"
            place += len(line.strip())


@each_family
@few
@given(conversation=disorderly())
def test_nothing_is_lost_in_any_order_of_roles(name: str, conversation: list[Message]) -> None:
    assert_said_in_order(conversation, TEMPLATES[name].render(conversation))


@each_family
@few
@given(conversation=alternating())
def test_conversation_is_the_beginning_of_the_longer_one(name: str, conversation: list[Message]) -> None:
    start = TEMPLATES[name].render(conversation)
    more = [Message(role="assistant", content="Indeed."), Message(role="user", content="And then?")]
    assert TEMPLATES[name].render([*conversation, *more]).startswith(start)


@each_family
@few
@given(conversation=alternating(), final=words.map(lambda text: f"So {text}."))
def test_continuation_ends_with_the_words_and_begins_with_the_prompt(
    name: str, conversation: list[Message], final: str
) -> None:
    continued = [*conversation, Message(role="assistant", content=final)]
    prompt = TEMPLATES[name].render(continued, continue_final=True)
    assert prompt.startswith(TEMPLATES[name].render(conversation))
    assert prompt.endswith("\n".join(filter(None, final.split("\n"))) if name == "rwkv-raven" else final)


@each_family
def test_prompt_leaves_the_space_to_the_reply(name: str) -> None:
    assert not TEMPLATES[name].render([Message(role="user", content="Hi!")]).endswith(" ")


@each_family
def test_reply_that_came_with_its_space_has_one_space(name: str) -> None:
    conversation = [Message(role="user", content="Hi!"), Message(role="assistant", content=" Hello.")]
    again = [Message(role="user", content="Hi!"), Message(role="assistant", content="Hello.")]
    prompt, other = (
        TEMPLATES[name].render([*turns, Message(role="user", content="So?")]) for turns in (conversation, again)
    )
    assert "  Hello." not in prompt
    assert prompt in (other, other.replace("Hello.", " Hello."))


@each_family
def test_bos_is_left_to_the_tokenizer(name: str) -> None:
    assert not TEMPLATES[name].render([Message(role="user", content="Hi!")]).startswith(("<s>", "<|endoftext|>"))


@pytest.mark.parametrize("name", DEFAULTS)
def test_system_message_takes_the_place_of_the_authors_text(name: str) -> None:
    user = Message(role="user", content="Hi!")
    own = TEMPLATES[name].render([Message(role="system", content="Be brief."), user])
    assert DEFAULTS[name] in TEMPLATES[name].render([user])
    assert "Be brief." in own
    assert DEFAULTS[name] not in own


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in DEFAULTS])
def test_other_families_say_nothing_of_their_own(name: str) -> None:
    assert len(TEMPLATES[name].render([Message(role="user", content="Hi!")])) < 60


def test_llama_2_has_the_system_text_inside_the_first_instruction() -> None:
    conversation = [Message(role="system", content="Be brief."), Message(role="user", content="Hi!")]
    prompt = TEMPLATES["llama2-chat"].render(conversation)
    assert prompt == "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi! [/INST]"


def test_llama_2_without_system_text() -> None:
    conversation = [Message(role="system", content=""), Message(role="user", content="Hi!")]
    assert TEMPLATES["llama2-chat"].render(conversation) == "[INST] Hi! [/INST]"


@each_family
def test_tools_are_words(name: str) -> None:
    conversation = [
        Message(role="user", content="1 + 1?"),
        Message(role="assistant", content="", tool_calls=[CALL]),
        Message(role="tool", content="two", tool_call_id="c1"),
    ]
    prompt = TEMPLATES[name].render(conversation)
    assert prompt.index("1 + 1?") < prompt.index('{"name": "add"') < prompt.index("two")


@each_family
def test_family_that_was_not_verified_says_why(name: str) -> None:
    family = FAMILIES[name]
    assert family.verified or family.note
    assert family.evidence or not family.verified


@pytest.mark.parametrize(("family", "lead"), [("vicuna-v1.1", " "), ("mpt-chatml", ""), ("starchat", "\n")])
def test_white_space_that_the_model_writes_itself_is_known(family: str, lead: str) -> None:
    assert ChatTemplate(load_registry().templates[family].jinja).reply_lead == lead
