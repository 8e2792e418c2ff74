"""The texts shipped to calibrate and to measure by: long enough, many scripts, and nothing in common."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable

import pytest

from localchat_quantize.texts import calibration, measuring

SCRIPTS = {"LATIN", "CYRILLIC", "GREEK", "ARABIC", "HEBREW", "DEVANAGARI", "CJK", "HIRAGANA", "HANGUL", "THAI"}
EACH = pytest.mark.parametrize("read", [calibration, measuring])


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if len(line.strip()) > 20]


@pytest.mark.parametrize(("read", "least", "most"), [(calibration, 70_000, 80_000), (measuring, 45_000, 50_000)])
def test_size_in_bytes(read: Callable[[], str], least: int, most: int) -> None:
    assert least <= len(read().encode("utf-8")) <= most


@EACH
def test_ends_with_one_newline_and_holds_no_odd_characters(read: Callable[[], str]) -> None:
    text = read()
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert not {"\r", "\ufeff", "\ufffd"} & set(text)


@EACH
def test_many_scripts_are_present(read: Callable[[], str]) -> None:
    letters = Counter(unicodedata.name(char, "?").split()[0] for char in read() if char.isalpha())
    assert {script for script in SCRIPTS if letters[script] < 100} == set()


@EACH
def test_hardly_a_line_is_repeated(read: Callable[[], str]) -> None:
    counts = Counter(lines(read()))
    assert sum(count - 1 for count in counts.values()) < 0.01 * len(counts)


def test_no_line_is_shared_between_the_two() -> None:
    assert set(lines(calibration())) & set(lines(measuring())) == set()


def test_no_run_of_six_words_is_shared_between_the_two() -> None:
    def runs(text: str) -> set[tuple[str, ...]]:
        words = text.split()
        return {tuple(words[at : at + 6]) for at in range(len(words) - 5)}

    assert runs(calibration()) & runs(measuring()) == set()
