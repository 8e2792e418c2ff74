"""Writes the golden files of the prompt families anew: `python tests/write_goldens.py`. Read the difference by hand."""

from __future__ import annotations

import json

from localchat.chat.goldens import CONVERSATIONS, FOLDER, Case, Golden, clock, render
from localchat.chat.template import ChatTemplate
from localchat.llama.model import Model
from localchat.llama.vocabulary import Vocabulary
from localchat.registry import load_registry
from localchat.registry.spec import TemplateFamily
from vocabularies import BASES, added_tokens, vocabulary_file

WIDTH = 118


def make_golden(name: str, family: TemplateFamily) -> Golden:
    """What a family's golden must be, as the registry stands."""
    template = ChatTemplate(family.jinja, now=clock)
    prompts = {case: render(template, case) for case in CONVERSATIONS}
    if name not in BASES:
        return Golden("", frozenset(), {case: Case(prompt) for case, prompt in prompts.items()})
    file = vocabulary_file(name, family)
    model = Model(file, vocab_only=True)
    if family.bos is not None:
        model.vocabulary.adds_bos = family.bos
    cases = {case: Case(prompt, tokenize(model.vocabulary, prompt)) for case, prompt in prompts.items()}
    model.close()
    return Golden(BASES[name], frozenset(added_tokens(family, file.with_name(f"{BASES[name]}.gguf"))), cases)


def tokenize(vocabulary: Vocabulary, prompt: str) -> tuple[tuple[int, str], ...]:
    """A prompt's tokens as the worker reads them, with their spelling."""
    tokens = vocabulary.tokenize(prompt, add_bos=True, parse_special=True)
    return tuple((token, vocabulary.text(token)) for token in tokens)


def as_toml(name: str, golden: Golden) -> str:
    """A golden as its file holds it."""
    lines = [f"# How models of the family {name} are prompted: the text to the letter, and its tokens.", ""]
    if golden.vocabulary:
        lines.append(f"vocabulary = {json.dumps(golden.vocabulary)}")
    else:
        lines.append('vocabulary = ""  # llama.cpp keeps none of these models: text only')
    if golden.added:
        lines.append("# Control tokens that these models add; models may number them otherwise than below.")
        lines.append(f"added = {json.dumps(sorted(golden.added))}")
    for title, case in golden.cases.items():
        assert "'''" not in case.prompt
        lines += ["", f"[case.{json.dumps(title)}]", f"prompt = '''\n{case.prompt}'''"]
        if case.tokens:
            lines += ["tokens = [", *_wrap([json.dumps([*token], ensure_ascii=False) for token in case.tokens]), "]"]
    return "\n".join(lines) + "\n"


def _wrap(items: list[str]) -> list[str]:
    lines = [" "]
    for item in items:
        if len(lines[-1]) + len(item) + 2 > WIDTH:
            lines.append(" ")
        lines[-1] += f" {item},"
    return lines


def main() -> None:
    """Write every file, and take away those of families that are no more."""
    FOLDER.mkdir(exist_ok=True)
    for file in FOLDER.glob("*.toml"):
        file.unlink()
    for name, family in load_registry().templates.items():
        (FOLDER / f"{name}.toml").write_text(as_toml(name, make_golden(name, family)), encoding="utf-8")


if __name__ == "__main__":
    main()
