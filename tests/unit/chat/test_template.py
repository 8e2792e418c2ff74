"""Prompts, as the templates of real models make them."""

from __future__ import annotations

import pytest

from localchat.chat.messages import Message
from localchat.chat.template import ChatTemplate
from localchat.errors import InvalidRequest, TemplateError

CHATML = """\
{%- for message in messages %}
{%- if loop.first and message['role'] != 'system' %}
{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif %}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

ALPACA = """\
{%- set ns = namespace(system='Below is an instruction. Write a response.') %}
{%- for message in messages if message.role == 'system' %}
{%- set ns.system = message.content %}
{%- endfor %}
{{- bos_token + ns.system + '\\n\\n' }}
{%- for message in messages %}
{%- if message.role == 'user' %}
{{- '### Instruction:\\n' + message.content.strip() + '\\n\\n' }}
{%- elif message.role == 'assistant' %}
{{- '### Response:\\n' + message.content | trim + eos_token + '\\n\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '### Response:\\n' }}{% endif %}
"""

NO_SYSTEM = """\
{{- bos_token }}
{%- for message in messages %}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{%- endif %}
{%- if message['role'] == 'user' %}
{{- '[INST] ' + message['content'] + ' [/INST]' }}
{%- elif message['role'] == 'assistant' %}
{{- ' ' + message['content'] + eos_token }}
{%- else %}
{{- raise_exception('Only user and assistant roles are supported!') }}
{%- endif %}
{%- endfor %}
"""

IGNORES_SYSTEM = """\
{%- for message in messages if message.role != 'system' %}
{{- message.role ~ ': ' ~ message.content ~ '\\n' }}
{%- endfor %}
{{- 'assistant:' if add_generation_prompt }}
"""

WITH_TOOLS = """\
{%- for message in messages %}
{{- '<' ~ message.role ~ '>' ~ message.content }}
{%- for call in message.tool_calls %}
{{- '<call>' ~ call.function.name ~ call.function.arguments }}
{%- endfor %}
{{- '(' ~ message.tool_call_id ~ ')' if message.tool_call_id }}
{%- endfor %}
"""

CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}


def user(content: str) -> Message:
    return Message(role="user", content=content)


def system(content: str) -> Message:
    return Message(role="system", content=content)


def assistant(content: str) -> Message:
    return Message(role="assistant", content=content)


TALK = [system("Be brief."), user("Hi!"), assistant("Hello."), user("Bye.")]


def test_chatml() -> None:
    assert ChatTemplate(CHATML).render(TALK) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nHi!<|im_end|>\n"
        "<|im_start|>assistant\nHello.<|im_end|>\n"
        "<|im_start|>user\nBye.<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_template_may_bring_a_system_text_of_its_own() -> None:
    assert ChatTemplate(CHATML).render([user("Hi!")]) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nHi!<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_alpaca_with_its_special_tokens() -> None:
    assert ChatTemplate(ALPACA, bos="<s>", eos="</s>").render(TALK) == (
        "<s>Be brief.\n\n"
        "### Instruction:\nHi!\n\n"
        "### Response:\nHello.</s>\n\n"
        "### Instruction:\nBye.\n\n"
        "### Response:\n"
    )


def test_special_tokens_that_a_model_lacks_are_empty() -> None:
    assert ChatTemplate(ALPACA).render([user("Hi!")]).startswith("Below is an instruction.")


@pytest.mark.parametrize("source", [NO_SYSTEM, IGNORES_SYSTEM], ids=["refused", "left out"])
def test_system_text_goes_to_the_user_where_the_template_has_no_place_for_it(source: str) -> None:
    prompt = ChatTemplate(source).render([system("Be brief."), user("Hi!")])
    assert "Be brief.\n\nHi!" in prompt


def test_system_text_is_merged_for_a_template_that_refuses_it() -> None:
    assert ChatTemplate(NO_SYSTEM, bos="<s>", eos="</s>").render(TALK) == (
        "<s>[INST] Be brief.\n\nHi! [/INST] Hello.</s>[INST] Bye. [/INST]"
    )


def test_conversation_that_the_template_refuses_is_refused_in_its_words() -> None:
    with pytest.raises(TemplateError, match="refuses this conversation: Conversation roles must alternate"):
        ChatTemplate(NO_SYSTEM).render([user("one"), user("two")])


def test_template_that_knows_tool_calls_gets_them() -> None:
    conversation = [
        user("1 + 1?"),
        Message(role="assistant", content="", tool_calls=[CALL]),
        Message(role="tool", content="2", tool_call_id="c1"),
    ]
    assert ChatTemplate(WITH_TOOLS).render(conversation) == '<user>1 + 1?<assistant><call>add{"a": 1}<tool>2(c1)'


def test_template_that_does_not_know_tool_calls_gets_them_in_words() -> None:
    conversation = [user("1 + 1?"), Message(role="assistant", content="", tool_calls=[CALL]), user("Well?")]
    prompt = ChatTemplate(CHATML).render(conversation)
    call = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
    assert f"<|im_start|>assistant\n{call}<|im_end|>" in prompt


def test_words_of_the_conversation_are_no_template() -> None:
    prompt = ChatTemplate(CHATML).render([user("{{ 7 * 7 }} {% raw %} <b>&amp;")])
    assert "{{ 7 * 7 }} {% raw %} <b>&amp;" in prompt


# Going on from the assistant's last words.


@pytest.mark.parametrize(
    "words", ["Once upon a", "i", "m", "_end", "|", "<|im_end|>", "s", "assistant", "user", "Hi!", "…\n\nSo"]
)
def test_continuation_ends_with_the_last_words(words: str) -> None:
    prompt = ChatTemplate(CHATML).render([system("s"), user("Hi!"), assistant(words)], continue_final=True)
    assert prompt == (
        f"<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nHi!<|im_end|>\n<|im_start|>assistant\n{words}"
    )


@pytest.mark.parametrize("words", ["Once", "s", "</s>"])
def test_continuation_cuts_off_the_end_token(words: str) -> None:
    template = ChatTemplate(NO_SYSTEM, bos="<s>", eos="</s>")
    assert template.render([user("Hi!"), assistant(words)], continue_final=True) == f"<s>[INST] Hi! [/INST] {words}"


@pytest.mark.parametrize("source", [CHATML, ALPACA], ids=["kept", "trimmed"])
def test_continuation_drops_space_at_the_end(source: str) -> None:
    prompt = ChatTemplate(source).render([user("Hi!"), assistant("One, two, \n")], continue_final=True)
    assert prompt.endswith("\nOne, two,")


@pytest.mark.parametrize("words", ["", " \n"])
def test_nothing_cannot_be_continued(words: str) -> None:
    with pytest.raises(InvalidRequest, match="continue_final_message needs") as caught:
        ChatTemplate(CHATML).render([user("Hi!"), assistant(words)], continue_final=True)
    assert caught.value.param == "continue_final_message"


def test_words_that_the_template_drops_cannot_be_continued() -> None:
    with pytest.raises(InvalidRequest, match="continue_final_message needs"):
        ChatTemplate("{{ messages[0].content }}").render([user("Hi!"), assistant("Well")], continue_final=True)


# What is found out before the first request.


def test_broken_template_is_refused_at_once() -> None:
    with pytest.raises(TemplateError, match="does not compile: line 2: "):
        ChatTemplate("{{ messages }}\n{% endif %}")


@pytest.mark.parametrize(
    "source", ["", "Just a text.", "{{ bos_token }}{% for m in messages %}{{ m.role }}{% endfor %}"]
)
def test_template_that_drops_the_user_is_refused_at_once(source: str) -> None:
    with pytest.raises(TemplateError, match="leaves out what the user says"):
        ChatTemplate(source)


def test_template_that_fails_on_any_conversation_is_refused_at_once() -> None:
    with pytest.raises(TemplateError, match="refuses this conversation: division by zero"):
        ChatTemplate("{{ messages[0].content }}{{ 1 / 0 }}")


def test_template_that_runs_away_is_refused_at_once() -> None:
    with pytest.raises(TemplateError, match="loops more than"):
        ChatTemplate("{% for i in range(10**9) %}{{ messages[0].content }}{% endfor %}")
