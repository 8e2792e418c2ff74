"""What a model's entry adds to what a request asks for."""

from __future__ import annotations

from typing import Any, cast

import pytest

from localchat.chat.messages import Message
from localchat.chat.model import ChatModel, Manner, Options
from localchat.chat.template import ChatTemplate
from localchat.constraint import Constraint
from localchat.errors import InvalidRequest
from localchat.registry import load_registry
from localchat.worker.client import WorkerClient
from localchat.worker.messages import Loaded, Submit

HI = [Message(role="user", content="Hi")]


class Mailbox:
    """Takes what is submitted to a worker."""

    def __init__(self) -> None:
        self.sent: list[Submit] = []
        self.info = Loaded(64, 2, 8192, 256, "", False, "<s>", "</s>", False, "none")

    def submit(self, prompts: Any) -> None:
        self.sent.extend(prompts)


def model_of(mailbox: Mailbox, **manner: Any) -> ChatModel:
    template = ChatTemplate("{% for message in messages %}{{ message.content }}{% endfor %}")
    return ChatModel("a", cast(WorkerClient, mailbox), Manner(**{"template": template, **manner}))


def submitted(options: Options, **manner: Any) -> Submit:
    mailbox = Mailbox()
    model = model_of(mailbox, **manner)
    model.stream(HI, model.sampling({}), options)
    return mailbox.sent[0]


def test_answer_is_as_long_as_recommended_where_the_request_names_no_length() -> None:
    assert submitted(Options(), max_tokens=1024).max_tokens == 1024
    assert submitted(Options(max_tokens=7), max_tokens=1024).max_tokens == 7
    assert submitted(Options()).max_tokens is None


def test_recommended_length_is_not_for_completions() -> None:
    mailbox = Mailbox()
    model = model_of(mailbox, max_tokens=1024)
    model.complete(["Hi"], model.sampling({}), Options())
    assert mailbox.sent[0].max_tokens is None


def test_recommended_sampling_stands_under_the_requests() -> None:
    params = model_of(Mailbox(), defaults={"temperature": 0.3, "top_p": 0.9}).sampling({"top_p": 0.5})
    assert (params.temperature, params.top_p) == (0.3, 0.5)


def test_stops_of_the_request_and_of_the_model_hold_both() -> None:
    assert submitted(Options(stops=("x",)), stops=("</s>",)).stops == ("x", "</s>")


@pytest.mark.parametrize(
    ("is_base", "words"), [(True, "a is a base model, not trained to chat"), (False, "a has no chat template")]
)
def test_model_without_a_template_says_what_else_it_can_do(is_base: bool, words: str) -> None:
    with pytest.raises(InvalidRequest, match=rf"^{words}: use /v1/completions, or serve it with --chat-template"):
        model_of(Mailbox(), template=None, is_base=is_base).render(HI)


def test_text_that_a_grammar_decides_is_not_cut_at_its_front() -> None:
    template = ChatTemplate(load_registry().templates["vicuna-v1.1"].jinja)
    assert submitted(Options(), template=template).lead == " "
    whole = Constraint("regex", " yes", "choice")
    assert submitted(Options(constraint=whole), template=template).lead == ""
    later = Constraint("regex", "yes", "tools", triggers=("<call>",))
    assert submitted(Options(constraint=later), template=template).lead == " "
