"""Whether a template and a vocabulary fit together: what `localchat doctor` checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal, Protocol

from localchat.chat.goldens import Case, Golden, render
from localchat.chat.messages import Message
from localchat.chat.template import ChatTemplate
from localchat.errors import TemplateError
from localchat.registry.spec import TemplateFamily

_QUESTION = Message(role="user", content="localchat asks 3b7c")
_REPLY = "localchat replies 8e1a"
_NEXT = "localchat asks again 5d90"


class Tokenizer(Protocol):
    """What is needed of a vocabulary. It adds BOS as it does when the model is served."""

    size: int
    bos: int

    @property
    def end_tokens(self) -> frozenset[int]: ...
    def tokenize(self, text: str, *, add_bos: bool = False, parse_special: bool = False) -> list[int]: ...
    def piece(self, token: int, *, special: bool = False) -> bytes: ...
    def text(self, token: int) -> str: ...
    def control_token(self, text: str) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked, and what to do where it is not as it should be."""

    check: str
    status: Literal["ok", "warning", "failed"]
    detail: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class _Subject:
    """All that is looked at."""

    template: ChatTemplate
    family: TemplateFamily
    tokenizer: Tokenizer
    golden: Golden | None

    def read(self, prompt: str) -> list[int]:
        """The tokens of a prompt, as the worker reads them."""
        return self.tokenizer.tokenize(prompt, add_bos=True, parse_special=True)

    @property
    def ends(self) -> set[int | None]:
        """The tokens at which generation ends."""
        return {*self.tokenizer.end_tokens, *map(self.tokenizer.control_token, self.family.stop)}


def self_test(
    template: ChatTemplate, family: TemplateFamily, tokenizer: Tokenizer, golden: Golden | None = None
) -> list[Finding]:
    """Check everything that there is to check. The family holds the model's stop strings and BOS, where those differ.

    For a golden, the template's clock must be the goldens'.
    """
    subject = _Subject(template, family, tokenizer, golden)
    findings: list[Finding] = []
    for check, look in _CHECKS.items():
        try:
            findings += look(subject)
        except TemplateError as error:
            findings.append(Finding(check, "failed", str(error), "serve the model with another --chat-template"))
    return findings


def _special_tokens(subject: _Subject) -> Iterator[Finding]:
    check, markers = "special tokens", subject.family.special_tokens
    counts = [len(subject.tokenizer.tokenize(marker, parse_special=True)) for marker in markers]
    split = [f"{marker!r} is {count} tokens" for marker, count in zip(markers, counts, strict=True) if count != 1]
    remedy = "the file lacks these markers: fetch one that has them, or name another template"
    if split:
        yield Finding(check, "failed", ", ".join(split), remedy)
    elif markers:
        yield Finding(check, "ok", f"one token each: {_listed(markers)}")


def _stops(subject: _Subject) -> Iterator[Finding]:
    check, tokenizer = "stop strings", subject.tokenizer
    for stop in subject.family.stop:
        tokens = tokenizer.tokenize(stop, parse_special=True)
        if tokenizer.control_token(stop) is not None:
            yield Finding(check, "ok", f"{stop!r} is a token, which ends the reply")
        elif stop.encode() in b"".join(map(tokenizer.piece, tokens)):
            yield Finding(check, "ok", f"{stop!r} is text")
        else:
            hidden = [tokenizer.text(token) for token in tokens if not tokenizer.piece(token)]
            detail = f"{stop!r} is never found: {_listed(hidden)} leaves no text"
            yield Finding(check, "failed", detail, "make each control token a stop string of its own")


def _bos(subject: _Subject) -> Iterator[Finding]:
    check, bos, wanted = "BOS", subject.tokenizer.bos, subject.family.bos
    tokens = subject.read(subject.template.render([_QUESTION]))
    count = next(place for place, token in enumerate([*tokens, -1]) if token != bos or bos < 0)
    if count > 1:
        detail, remedy = f"prompts begin with {count} BOS", "take BOS out of the template"
    elif wanted and bos < 0:
        detail, remedy = "the file has no BOS", "set `bos = false` in the entry, or fetch another file"
    elif wanted is not None and wanted != bool(count):
        detail = f"prompts begin with {'a' if count else 'no'} BOS"
        remedy = f"set `bos = {'true' if count else 'false'}` in the entry, or mend the template"
    else:
        by = "the file" if wanted is None else "the registry"
        yield Finding(check, "ok", f"prompts begin with {'one' if count else 'none'}, as {by} has it")
        return
    yield Finding(check, "failed", detail, remedy)


def _end_of_prompt(subject: _Subject) -> Iterator[Finding]:
    check, prompt = "end of prompt", subject.template.render([_QUESTION])
    if prompt.endswith(" "):
        remedy = "take it out of the template: most vocabularies have the space at the front of the next word"
        yield Finding(check, "warning", "prompts end with a space", remedy)
    else:
        yield Finding(check, "ok", f"prompts end with {prompt[-24:]!r}")


def _end_of_reply(subject: _Subject) -> Iterator[Finding]:
    """What the template writes behind a reply is what the model says there: some of it must end the generation."""
    check, tokenizer = "end of reply", subject.tokenizer
    conversation = [_QUESTION, Message(role="assistant", content=_REPLY), Message(role="user", content=_NEXT)]
    behind = subject.template.render(conversation).partition(_REPLY)[2].partition(_NEXT)[0]
    tokens = tokenizer.tokenize(behind, parse_special=True)
    control = next((token for token in tokens if not tokenizer.piece(token)), None)
    found = [stop for stop in subject.family.stop if stop in behind]
    if control in subject.ends and control is not None:
        yield Finding(check, "ok", f"{tokenizer.text(control)!r} ends replies")
    elif found:
        yield Finding(check, "ok", f"{found[0]!r} ends replies")
    elif control is not None:
        marker = tokenizer.text(control)
        detail = f"{marker!r} follows replies, and does not end the generation"
        yield Finding(check, "failed", detail, f"add {marker!r} to the entry's `stop`")
    elif tokenizer.end_tokens:
        yield Finding(check, "ok", f"end tokens of the file: {_listed(map(tokenizer.text, tokenizer.end_tokens))}")
    else:
        yield Finding(check, "failed", f"{behind!r} follows replies, and nothing ends them", "give the entry a `stop`")


def _golden(subject: _Subject) -> Iterator[Finding]:
    golden = subject.golden
    for name, case in golden.cases.items() if golden else ():
        check, prompt = f"golden, {name}", render(subject.template, name)
        found, expected = _pieces(subject, case, prompt) if _is_known(subject, case) else ([], [])
        if prompt != case.prompt:
            detail, remedy = _difference(prompt, case.prompt), "a registry of your own changes the family's template"
        elif found != expected:
            detail, remedy = _difference(found, expected), "the file's tokenizer is not the model's: fetch another file"
        else:
            compared = "text and tokens" if expected else "text; the golden's tokens are of another vocabulary"
            yield Finding(check, "ok", compared)
            continue
        yield Finding(check, "failed", detail, remedy)


def _is_known(subject: _Subject, case: Case) -> bool:
    """Whether a golden's tokens are this vocabulary's. Models number the markers that they add as they like."""
    added = subject.golden.added if subject.golden else ()
    size, text = subject.tokenizer.size, subject.tokenizer.text
    return all(token < size and text(token) == piece for token, piece in case.tokens if piece not in added)


def _pieces(subject: _Subject, case: Case, prompt: str) -> tuple[list[str], list[str]]:
    """How the prompt's tokens are spelled, and should be; without BOS, which is a check of its own."""
    found = [subject.tokenizer.text(token) for token in subject.read(prompt)]
    expected, bos = [piece for _, piece in case.tokens], subject.tokenizer.text(subject.tokenizer.bos)
    return found[found[:1] == [bos] :], expected[expected[:1] == [bos] :]


def _difference(found: Sequence[str], expected: Sequence[str]) -> str:
    """The first place where two texts, or two lists of tokens, are not the same."""
    pairs = enumerate(zip_longest(found, expected))
    start = next(place for place, (one, other) in pairs if one != other)
    end = start + (24 if isinstance(found, str) else 4)
    return f"{found[start:end]!r} where {expected[start:end]!r} should be"


def _listed(items: Iterable[str]) -> str:
    return ", ".join(repr(item) for item in sorted(items))


_CHECKS: dict[str, Callable[[_Subject], Iterator[Finding]]] = {
    "special tokens": _special_tokens,
    "stop strings": _stops,
    "BOS": _bos,
    "end of prompt": _end_of_prompt,
    "end of reply": _end_of_reply,
    "golden": _golden,
}
