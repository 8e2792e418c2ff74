"""What is expected to come next, and how sure that is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from localchat.engine.ngram import GRAM, LONGEST, Lookup

Text = st.lists(st.integers(0, 4), max_size=60)


def read(text: str, prediction: str = "") -> Lookup:
    lookup = Lookup(list(prediction.encode()))
    lookup.read(list(text.encode()))
    return lookup


def push(lookup: Lookup, text: str) -> None:
    for token in text.encode():
        lookup.push(token)


def guess(lookup: Lookup, most: int = 5) -> str:
    return bytes(lookup.guess(most)).decode() if lookup.has_guess else ""


def test_what_followed_the_same_words_is_expected() -> None:
    lookup = read("The quick brown fox. Say it again: The qu")
    assert guess(lookup) == "ick b"


def test_what_never_came_before_leads_nowhere() -> None:
    assert guess(read("abcdefghijk")) == ""
    assert guess(read("")) == ""


def test_place_runs_along_with_what_is_said() -> None:
    lookup = read("The quick brown fox. Again: The")
    push(lookup, " quick")
    assert guess(lookup) == " brow"


def test_longest_match_wins_over_the_last_one() -> None:
    lookup = read("first abc one. then abc two. first abc")
    assert guess(lookup, 4) == " one"


def test_last_of_equal_matches_wins() -> None:
    assert guess(read("xabc1 yabc2 zabc"), 1) == "2"


def test_text_that_goes_round_is_expected_to_go_on_so() -> None:
    assert guess(read("no no no no"), 9) == " no no no"
    assert guess(read("aaaa"), 3) == "aaa"


def test_one_word_that_differs_is_taken_for_an_exception() -> None:
    lookup = read("one two three four five six. Again: one two three")
    push(lookup, " f0")
    assert guess(lookup, 4) == "ur f"
    push(lookup, "x")
    assert guess(lookup) == ""


def test_prediction_is_expected_before_anything_is_said() -> None:
    lookup = read("Make it better.", prediction="def f(x): return x")
    assert guess(lookup) == "def f"
    push(lookup, "def g(x): return x")
    assert lookup.right == lookup.predicted - 1
    assert guess(lookup) != ""


def test_length_is_that_of_the_text_without_the_prediction() -> None:
    lookup = read("abc", prediction="12345")
    push(lookup, "d")
    assert len(lookup) == 4


@given(prompt=Text, more=Text, prediction=Text)
def test_index_does_not_hang_on_how_a_text_came(prompt: list[int], more: list[int], prediction: list[int]) -> None:
    """Read or pushed, in one piece or several: a place found anew is the same."""
    whole, parts, pushed = Lookup(), Lookup(), Lookup()
    whole.read(prompt + more)
    parts.read(prompt)
    parts.read(more)
    for token in prompt + more:
        pushed.push(token)
    pushed.read([])
    assert [lookup.guess(9) for lookup in (whole, parts, pushed) if lookup.has_guess] in (
        [],
        [whole.guess(9) if whole.has_guess else ()] * 3,
    )


@given(text=Text, most=st.integers(1, 40))
def test_a_guess_has_followed_the_last_words_before(text: list[int], most: int) -> None:
    lookup = Lookup()
    for token in text:
        lookup.push(token)
    chances = lookup.chances(most)
    assert len(chances) == most
    assert chances == sorted(chances, reverse=True)
    assert all(0 <= chance <= 1 for chance in chances)
    if lookup.has_guess:
        guessed = lookup.guess(most)
        assert len(guessed) == most
        assert guessed[0] in text


def test_chances_follow_what_came_true() -> None:
    lookup = read("")
    push(lookup, "no " * 40)
    sure = lookup.chances(1)[0]
    assert sure > 0.95
    push(lookup, "".join(f"no{i} " for i in range(10, 40)))
    assert lookup.chances(1)[0] < sure
    assert len("no " * 40) > LONGEST > GRAM
