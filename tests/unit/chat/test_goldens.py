"""Each prompt family makes the prompts of its golden file, to the letter and to the token."""

from __future__ import annotations

import pytest

from localchat.chat.goldens import CONVERSATIONS, FOLDER, clock, read_golden, render
from localchat.chat.template import ChatTemplate
from localchat.registry import load_registry
from write_goldens import as_toml, make_golden

FAMILIES = load_registry().templates


def test_every_family_has_a_golden_and_every_golden_a_family() -> None:
    assert {file.stem for file in FOLDER.glob("*.toml")} == {*FAMILIES}


def test_family_of_a_persons_own_has_none() -> None:
    assert read_golden("my-own") is None


@pytest.mark.parametrize("case", CONVERSATIONS)
@pytest.mark.parametrize("name", FAMILIES)
def test_text(name: str, case: str) -> None:
    golden = read_golden(name)
    assert golden is not None
    assert render(ChatTemplate(FAMILIES[name].jinja, now=clock), case) == golden.cases[case].prompt


@pytest.mark.parametrize("name", FAMILIES)
def test_tokens(name: str) -> None:
    stale = "the golden file is stale: write it anew with `python tests/write_goldens.py`, and read the difference"
    assert (FOLDER / f"{name}.toml").read_text(encoding="utf-8") == as_toml(name, make_golden(name, FAMILIES[name])), (
        stale
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_markers_are_one_token_each(name: str) -> None:
    golden = read_golden(name)
    assert golden is not None
    pieces = {piece for case in golden.cases.values() for _, piece in case.tokens}
    written = "".join(case.prompt for case in golden.cases.values())
    assert not golden.vocabulary or {token for token in FAMILIES[name].special_tokens if token in written} <= pieces
