"""Bytes of tokens in, text out: whatever the pieces, the text is the same."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.engine.detokenizer import Detokenizer

FAMILY = "👨‍👩‍👧‍👦"  # one family, seven code points
DIFFICULT = [
    FAMILY,
    "🏳️‍🌈",
    "👍🏽",
    "नमस्ते",
    "क्षत्रिय",
    "漢字かな交じり文",
    "한국어",
    "e\u0301",
    "\u200d",
    "\ufeff",
    "\x00",
    "𝔘𝔫𝔦",
]

texts = st.lists(st.one_of(st.sampled_from(DIFFICULT), st.text(max_size=8)), max_size=8).map("".join)
cuts = st.lists(st.integers(0, 400), max_size=40)
# Few letters, so that stops overlap, nest and nearly match.
narrow = st.text(alphabet="abच", max_size=30)
narrow_stops = st.lists(st.text(alphabet="abच", min_size=1, max_size=5), min_size=1, max_size=16)


def split(data: bytes, at: list[int]) -> list[bytes]:
    bounds = [0, *sorted(min(cut, len(data)) for cut in at), len(data)]
    return [data[start:end] for start, end in pairwise(bounds)]


def run(detokenizer: Detokenizer, pieces: list[bytes]) -> str:
    """What the engine does: push until a stop is complete, finish if none is."""
    text = ""
    for piece in pieces:
        text += detokenizer.push(piece)
        if detokenizer.stopped:
            return text
    return text + detokenizer.finish()


@given(texts, cuts)
def test_pieces_add_up_to_the_text(text: str, at: list[int]) -> None:
    assert run(Detokenizer(), split(text.encode(), at)) == text


@given(texts)
def test_single_bytes_add_up_to_the_text(text: str) -> None:
    assert run(Detokenizer(), [bytes([byte]) for byte in text.encode()]) == text


@given(texts.filter(lambda text: "\ufffd" not in text), cuts, narrow_stops)
def test_valid_bytes_never_become_the_replacement_character(text: str, at: list[int], stops: list[str]) -> None:
    detokenizer = Detokenizer(stops)
    for piece in split(text.encode(), at):
        assert "\ufffd" not in detokenizer.push(piece)
    assert "\ufffd" not in detokenizer.finish()


@given(texts, cuts)
def test_characters_come_out_as_soon_as_their_bytes_are_in(text: str, at: list[int]) -> None:
    detokenizer, read, said = Detokenizer(), b"", ""
    for piece in split(text.encode(), at):
        read += piece
        said += detokenizer.push(piece)
        assert said == read.decode(errors="ignore")


@given(st.binary(max_size=60), cuts)
def test_bytes_that_are_no_text_are_replaced_alike_however_they_come(data: bytes, at: list[int]) -> None:
    assert run(Detokenizer(), split(data, at)) == data.decode(errors="replace")


@given(narrow, cuts, narrow_stops)
def test_stop_cuts_alike_however_the_text_comes(text: str, at: list[int], stops: list[str]) -> None:
    whole, pieces = Detokenizer(stops), Detokenizer(stops)
    assert run(pieces, split(text.encode(), at)) == run(whole, [text.encode()])
    assert pieces.stopped == whole.stopped == any(stop in text for stop in stops)


@given(narrow, narrow_stops)
def test_text_ends_before_the_stop_that_ends_first(text: str, stops: list[str]) -> None:
    ends = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    expected = text[: min(ends)[1]] if ends else text
    assert run(Detokenizer(stops), [text.encode()]) == expected


@given(narrow, cuts, narrow_stops)
def test_nothing_of_a_stop_leaks(text: str, at: list[int], stops: list[str]) -> None:
    detokenizer, said = Detokenizer(stops), ""
    for piece in split(text.encode(), at):
        said += detokenizer.push(piece)
        assert not any(stop in said for stop in stops)
        held = text[len(said) :]
        if detokenizer.stopped:
            assert any(held.startswith(stop) for stop in stops)
            break


@given(narrow, narrow_stops, st.lists(st.binary(max_size=6), max_size=5))
def test_stopped_is_final(text: str, stops: list[str], more: list[bytes]) -> None:
    detokenizer = Detokenizer(stops)
    for letter in text + stops[0]:
        detokenizer.push(letter.encode())
    assert detokenizer.stopped
    assert "".join(detokenizer.push(piece) for piece in more) + detokenizer.finish() == ""
    assert detokenizer.stopped


def test_end_that_may_become_a_stop_is_held_until_it_does_not() -> None:
    detokenizer = Detokenizer(["\n\nUser:"])
    assert detokenizer.push(b"Hi\n") == "Hi"
    assert detokenizer.push(b"\nUse") == ""
    assert detokenizer.push(b"ful") == "\n\nUseful"


def test_finish_releases_what_was_held() -> None:
    detokenizer = Detokenizer(["###"])
    assert detokenizer.push(b"a##") == "a"
    assert detokenizer.finish() == "##"
    assert not detokenizer.stopped


def test_unfinished_character_at_the_end_is_replaced() -> None:
    detokenizer = Detokenizer()
    assert detokenizer.push(b"ok \xf0\x9f\x91") == "ok "
    assert detokenizer.finish() == "\ufffd"


def test_finish_leaves_nothing_behind() -> None:
    detokenizer = Detokenizer(["ab"])
    detokenizer.push(b"a")
    assert (detokenizer.finish(), detokenizer.finish()) == ("a", "")


def test_of_two_stops_that_end_together_the_longer_cuts() -> None:
    assert run(Detokenizer(["b", "ab"]), [b"xxab"]) == "xx"


def test_short_stop_inside_a_long_one_does_not_wait_for_it() -> None:
    detokenizer = Detokenizer(["abc", "b"])
    assert detokenizer.push(b"xa") == "x"
    assert detokenizer.push(b"b") == "a"
    assert detokenizer.stopped


@pytest.mark.parametrize("stop", [FAMILY, "।", "終わり"])
def test_stop_of_several_bytes_is_found_across_pieces(stop: str) -> None:
    detokenizer = Detokenizer([stop])
    pieces = [bytes([byte]) for byte in f"vor{stop}nach".encode()]
    assert run(detokenizer, pieces) == "vor"
    assert detokenizer.stopped


@pytest.mark.parametrize(
    ("lead", "text", "shown"),
    [(" ", " Hello", "Hello"), (" ", "Hello", "Hello"), (" ", "  Hi", " Hi"), ("\n", "\nHi", "Hi"), (" ", " ", "")],
)
def test_lead_of_the_format_is_no_part_of_the_text(lead: str, text: str, shown: str) -> None:
    for pieces in ([text.encode()], [letter.encode() for letter in text]):
        detokenizer = Detokenizer((), lead)
        assert "".join(detokenizer.push(piece) for piece in pieces) + detokenizer.finish() == shown
