"""Finds who holds the longest part of a prompt, among many who hold tokens."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Holder = TypeVar("Holder", bound=Hashable)


@dataclass(slots=True, eq=False)
class _Node(Generic[Holder]):
    """Tokens that follow those of the parent, up to `depth`; `holders` have all of them and perhaps more."""

    edge: list[int]
    depth: int
    parent: _Node[Holder] | None
    holders: set[Holder] = field(default_factory=set)
    children: dict[int, _Node[Holder]] = field(default_factory=dict)


class PrefixTree(Generic[Holder]):
    """A radix tree over token ids. Each holder is in it once."""

    def __init__(self) -> None:
        self._root: _Node[Holder] = _Node([], 0, None)
        self._ends: dict[Holder, _Node[Holder]] = {}

    def __contains__(self, holder: Holder) -> bool:
        """Whether the holder is in the tree."""
        return holder in self._ends

    def add(self, holder: Holder, tokens: Items[int]) -> None:
        """Let a holder have these tokens, instead of what it had."""
        self.remove(holder)
        node = self._root
        while node.depth < len(tokens):
            child = node.children.get(tokens[node.depth])
            if child is None:
                child = _Node(list(tokens[node.depth :]), len(tokens), node)
                node.children[child.edge[0]] = child
            else:
                same = common_prefix(child.edge, tokens, node.depth)
                if same < len(child.edge):
                    child = self._split(child, same)
            node = child
            node.holders.add(holder)
        self._ends[holder] = node

    def remove(self, holder: Holder) -> None:
        """Forget a holder, if it is there."""
        node = self._ends.pop(holder, None)
        while node is not None and node.parent is not None:
            parent = node.parent
            node.holders.discard(holder)
            if not node.holders:
                del parent.children[node.edge[0]]
            self._join(node if node.holders else parent)
            node = parent

    def match(self, tokens: Items[int]) -> dict[Holder, int]:
        """How many of the first tokens each has that has any."""
        lengths: dict[Holder, int] = {}
        node = self._root
        while node.depth < len(tokens) and (child := node.children.get(tokens[node.depth])):
            same = common_prefix(child.edge, tokens, node.depth)
            lengths.update(dict.fromkeys(child.holders, node.depth + same))
            if same < len(child.edge):
                break
            node = child
        return lengths

    def length(self, holder: Holder) -> int:
        """How many tokens a holder has."""
        return self._ends[holder].depth

    def shared(self, holder: Holder) -> int:
        """How many of a holder's first tokens somebody else has too."""
        node = self._ends[holder]
        while node.parent is not None and len(node.holders) == 1:
            node = node.parent
        return node.depth

    def is_branch(self, holder: Holder) -> bool:
        """Whether others go on differently where this holder ends."""
        return len(self._ends[holder].children) > 1

    def branches(self, least: int) -> Iterator[tuple[int, set[Holder]]]:
        """Where holders part that have so many tokens in common, the shortest first: how many, and who has them."""
        nodes, found = [self._root], []
        while nodes:
            node = nodes.pop()
            nodes += node.children.values()
            if node.depth >= least and len(node.children) > 1:
                found.append((node.depth, node.holders))
        yield from sorted(found, key=lambda branch: branch[0])

    def _split(self, node: _Node[Holder], at: int) -> _Node[Holder]:
        """Put a node between this one and its parent."""
        assert node.parent is not None, "the root has no edge"
        depth = node.parent.depth + at
        upper = _Node(node.edge[:at], depth, node.parent, set(node.holders), {node.edge[at]: node})
        node.parent.children[upper.edge[0]] = upper
        node.edge, node.parent = node.edge[at:], upper
        return upper

    def _join(self, node: _Node[Holder]) -> None:
        """Let a node go where nobody ends and nothing branches off."""
        if node.parent is None or len(node.children) != 1:
            return
        (child,) = node.children.values()
        if len(child.holders) == len(node.holders):
            child.edge, child.parent = node.edge + child.edge, node.parent
            node.parent.children[child.edge[0]] = child


def common_prefix(left: Items[int], right: Items[int], start: int = 0) -> int:
    """How many of the first tokens of `left` are in `right` from `start` on."""
    low, high = 0, min(len(left), len(right) - start)
    if left[:high] == right[start : start + high]:
        return high
    while low < high:  # in slices, which are compared faster than token by token
        middle = (low + high) // 2
        if left[low : middle + 1] == right[start + low : start + middle + 1]:
            low = middle + 1
        else:
            high = middle
    return low
