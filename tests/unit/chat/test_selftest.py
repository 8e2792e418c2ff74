"""The self-test finds what is wrong between a template and a vocabulary, and nothing where nothing is."""

from __future__ import annotations

import re

import pytest

from localchat.chat.goldens import CONVERSATIONS, Case, Golden, clock, read_golden, render
from localchat.chat.selftest import Finding, self_test
from localchat.chat.template import ChatTemplate
from localchat.llama.model import Model
from localchat.registry import load_registry
from localchat.registry.spec import TemplateFamily
from vocabularies import BASES, vocabulary_file

FAMILIES = load_registry().templates

JINJA = """\
{%- for message in messages %}
{{- '<|' ~ message.role ~ '|>' ~ message.content ~ '<|end|>' }}
{%- endfor %}
{{- '<|assistant|>' if add_generation_prompt }}
"""
MARKERS = ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>")


class Bytes:
    """A vocabulary of bytes and some control tokens."""

    def __init__(self, *controls: str, adds_bos: bool = False, ends: tuple[str, ...] = ("<eos>",)) -> None:
        self._controls = ["<s>", "<eos>", *controls]
        self.adds_bos = adds_bos
        self.size = 256 + len(self._controls)
        self.bos = 256
        self.end_tokens = frozenset(256 + self._controls.index(end) for end in ends)

    def tokenize(self, text: str, *, add_bos: bool = False, parse_special: bool = False) -> list[int]:
        tokens: list[int] = [self.bos] if add_bos and self.adds_bos else []
        for part in re.split(f"({'|'.join(map(re.escape, self._controls))})", text) if parse_special else [text]:
            tokens += [256 + self._controls.index(part)] if part in self._controls else part.encode()
        return tokens

    def piece(self, token: int, *, special: bool = False) -> bytes:
        if token < 256:
            return bytes([token])
        return self._controls[token - 256].encode() if special else b""

    def text(self, token: int) -> str:
        return self.piece(token, special=True).decode("utf-8", "replace")

    def control_token(self, text: str) -> int | None:
        return 256 + self._controls.index(text) if text in self._controls else None


def family(jinja: str = JINJA, stop: tuple[str, ...] = ("<|end|>",), bos: bool | None = None) -> TemplateFamily:
    return TemplateFamily(description="", jinja=jinja, stop=stop, bos=bos, special_tokens=MARKERS)


def examine(
    family: TemplateFamily, vocabulary: Bytes, golden: Golden | None = None, *, status: str = "failed"
) -> list[Finding]:
    findings = self_test(ChatTemplate(family.jinja), family, vocabulary, golden)
    return [finding for finding in findings if finding.status == status]


def golden_of(jinja: str, vocabulary: Bytes) -> Golden:
    cases = {}
    for name in CONVERSATIONS:
        prompt = render(ChatTemplate(jinja), name)
        tokens = vocabulary.tokenize(prompt, parse_special=True)
        cases[name] = Case(prompt, tuple((token, vocabulary.text(token)) for token in tokens))
    return Golden("bytes", frozenset(MARKERS), cases)


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    vocabulary = Bytes(*MARKERS)
    findings = self_test(ChatTemplate(JINJA), family(), vocabulary, golden_of(JINJA, vocabulary))
    assert {finding.status for finding in findings} == {"ok"}
    assert [finding.check for finding in findings] == [
        "special tokens",
        "stop strings",
        "BOS",
        "end of prompt",
        "end of reply",
        *(f"golden, {name}" for name in CONVERSATIONS),
    ]


def test_marker_that_is_split() -> None:
    [finding] = examine(family(stop=()), Bytes("<|user|>", "<|assistant|>", "<|end|>", ends=("<|end|>",)))
    assert (finding.check, finding.detail) == ("special tokens", "'<|system|>' is 10 tokens")


def test_stop_string_that_is_never_found() -> None:
    [finding] = examine(family(stop=("<|end|>", "<|end|>\n")), Bytes(*MARKERS))
    assert (finding.check, finding.detail) == ("stop strings", r"'<|end|>\n' is never found: '<|end|>' leaves no text")


def test_stop_string_that_is_text() -> None:
    found = examine(family(stop=("<|end|>", "\nUser:")), Bytes(*MARKERS), status="ok")
    assert Finding("stop strings", "ok", r"'\nUser:' is text") in found


WITH_BOS = "{{- bos_token or '<s>' }}" + JINJA


@pytest.mark.parametrize(
    ("jinja", "adds_bos", "wanted", "detail"),
    [
        (WITH_BOS, True, True, "prompts begin with 2 BOS"),
        (WITH_BOS, False, False, "prompts begin with a BOS"),
        (JINJA, False, True, "prompts begin with no BOS"),
        ("{{- '<s><s>' }}" + JINJA, False, None, "prompts begin with 2 BOS"),
    ],
)
def test_bos_that_is_not_as_the_entry_says(jinja: str, adds_bos: bool, wanted: bool | None, detail: str) -> None:
    [finding] = examine(family(jinja, bos=wanted), Bytes(*MARKERS, adds_bos=adds_bos))
    assert (finding.check, finding.detail) == ("BOS", detail)


@pytest.mark.parametrize(("jinja", "adds_bos"), [(WITH_BOS, False), (JINJA, True)])
@pytest.mark.parametrize("wanted", [True, None])
def test_bos_may_come_from_either(jinja: str, adds_bos: bool, wanted: bool | None) -> None:
    assert examine(family(jinja, bos=wanted), Bytes(*MARKERS, adds_bos=adds_bos)) == []


def test_bos_that_the_file_does_not_have() -> None:
    vocabulary = Bytes(*MARKERS)
    vocabulary.bos = -1
    [finding] = examine(family(bos=True), vocabulary)
    assert finding.detail == "the file has no BOS"
    assert examine(family(), vocabulary) == []


def test_space_at_the_end_is_a_warning() -> None:
    jinja = JINJA.replace("'<|assistant|>'", "'<|assistant|> '")
    [finding] = examine(family(jinja), Bytes(*MARKERS), status="warning")
    assert finding.check == "end of prompt"


def test_reply_that_nothing_ends() -> None:
    [finding] = examine(family(stop=()), Bytes(*MARKERS))
    assert finding.check == "end of reply"
    assert finding.remedy == "add '<|end|>' to the entry's `stop`"


@pytest.mark.parametrize(("stop", "ends"), [((), ("<|end|>",)), (("<|end|>",), ("<eos>",))])
def test_reply_may_end_by_vocabulary_or_stop_string(stop: tuple[str, ...], ends: tuple[str, ...]) -> None:
    assert examine(family(stop=stop), Bytes(*MARKERS, ends=ends)) == []


def test_reply_without_marker_ends_with_a_token_of_the_file_if_it_has_one() -> None:
    plain = TemplateFamily(description="", jinja="{{- messages | map(attribute='content') | join('\n') }}")
    assert examine(plain, Bytes()) == []
    [finding] = examine(plain, Bytes(ends=()))
    assert finding.detail == r"'\n' follows replies, and nothing ends them"


def test_golden_of_another_text() -> None:
    vocabulary = Bytes(*MARKERS)
    findings = examine(family(), vocabulary, golden_of(JINJA.replace("<|assistant|>", "<|bot|>"), vocabulary))
    assert [finding.check for finding in findings] == [
        f"golden, {name}" for name in CONVERSATIONS if "cont" not in name
    ]
    assert findings[0].detail == "'assistant|>' where 'bot|>' should be"


def test_golden_of_other_tokens() -> None:
    vocabulary = Bytes(*MARKERS)
    findings = examine(family(stop=("<eos>", "<|end|>")), Bytes(*MARKERS[:3]), golden_of(JINJA, vocabulary))
    assert {finding.check for finding in findings} == {"special tokens", *(f"golden, {name}" for name in CONVERSATIONS)}


def test_golden_of_another_vocabulary_is_compared_as_text() -> None:
    golden = golden_of(JINJA, Bytes(*MARKERS))
    cases = {name: Case(case.prompt, ((70, "not F"), (1_000_000, "x"))) for name, case in golden.cases.items()}
    found = examine(family(), Bytes(*MARKERS), Golden("other", frozenset(), cases), status="ok")
    assert found[-1].detail == "text; the golden's tokens are of another vocabulary"


def test_template_that_refuses_is_found_out() -> None:
    jinja = "{%- if messages | length > 1 %}{{ raise_exception('one at a time') }}{% endif %}{{ messages[0].content }}"
    findings = self_test(ChatTemplate(jinja), TemplateFamily(description="", jinja=jinja), Bytes())
    assert [finding.check for finding in findings if finding.status == "failed"] == ["end of reply"]
    assert "one at a time" in findings[-1].detail


@pytest.mark.parametrize("name", BASES)
def test_every_family_passes_on_its_own_vocabulary(name: str) -> None:
    model = Model(vocabulary_file(name, FAMILIES[name]), vocab_only=True)
    if FAMILIES[name].bos is not None:
        model.vocabulary.adds_bos = bool(FAMILIES[name].bos)
    template = ChatTemplate(FAMILIES[name].jinja, now=clock)
    findings = self_test(template, FAMILIES[name], model.vocabulary, read_golden(name))
    model.close()
    assert [finding for finding in findings if finding.status != "ok"] == []
    assert findings[-1].detail == "text and tokens"
