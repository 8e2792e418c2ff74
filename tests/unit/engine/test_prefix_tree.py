"""Who holds the longest part of a prompt."""

from __future__ import annotations

from collections.abc import Sequence as Items

from hypothesis import given
from hypothesis import strategies as st

from localchat.engine.prefix_tree import PrefixTree, common_prefix

TOKENS = st.lists(st.integers(0, 2), max_size=12)
ACTIONS = st.lists(st.tuples(st.integers(0, 5), st.none() | TOKENS), max_size=40)
"""A holder is added with these tokens, or removed."""


def in_common(left: Items[int], right: Items[int]) -> int:
    pairs = zip(left, right, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))


@given(actions=ACTIONS, prompt=TOKENS)
def test_it_knows_what_a_list_of_all_knows(actions: list[tuple[int, list[int] | None]], prompt: list[int]) -> None:
    tree, held = PrefixTree[int](), dict[int, list[int]]()
    for holder, tokens in actions:
        if tokens is None:
            tree.remove(holder)
            held.pop(holder, None)
        else:
            tree.add(holder, tokens)
            held[holder] = tokens
        lengths = {holder: in_common(tokens, prompt) for holder, tokens in held.items()}
        assert tree.match(prompt) == {holder: length for holder, length in lengths.items() if length}
        for holder, tokens in held.items():
            others = [other for id, other in held.items() if id != holder]
            assert tree.shared(holder) == max((in_common(tokens, other) for other in others), default=0)
    assert all((holder in tree) == (holder in held) for holder in range(6))


@given(actions=ACTIONS)
def test_nothing_stays_of_those_who_are_gone(actions: list[tuple[int, list[int] | None]]) -> None:
    tree = PrefixTree[int]()
    for holder, tokens in actions:
        tree.add(holder, tokens or [])
    for holder in range(6):
        tree.remove(holder)
    assert not tree._root.children


def test_one_who_is_left_alone_has_one_edge() -> None:
    tree = PrefixTree[str]()
    tree.add("long", [1, 2, 3, 4, 5, 6])
    tree.add("branch", [1, 2, 3, 9])
    tree.add("short", [1, 2])
    tree.remove("branch")
    tree.remove("short")
    (only,) = tree._root.children.values()
    assert only.edge == [1, 2, 3, 4, 5, 6]
    assert not only.children


@given(left=TOKENS, right=TOKENS, start=st.integers(0, 12))
def test_common_prefix_is_counted_to_the_token(left: list[int], right: list[int], start: int) -> None:
    start = min(start, len(right))
    assert common_prefix(left, right, start) == in_common(left, right[start:])
