"""Prompts that ask for what is between a prefix and a suffix, as each family of code models was trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from localchat.llama.vocabulary import Vocabulary

_SPELLED = (("[PREFIX]", "[SUFFIX]", "[MIDDLE]"),)
"""Tokens that llama.cpp does not know by itself: before a prefix, a suffix, and what is between."""

_SUFFIX_FIRST = frozenset({"[PREFIX]"})
"""Prefix tokens of models that read the suffix first, and for which the prefix goes on where the text is missing."""


@dataclass(frozen=True, slots=True)
class Infill:
    """How a gap is shown to a model: PREFIX prefix SUFFIX suffix MIDDLE, or SUFFIX suffix PREFIX prefix."""

    prefix: int
    suffix: int
    middle: int
    suffix_first: bool = False

    def prompt(self, before: Sequence[int], after: Sequence[int]) -> list[int]:
        """The tokens to continue with what is between these."""
        if self.suffix_first:
            return [self.suffix, *after, self.prefix, *before]
        return [self.prefix, *before, self.suffix, *after, self.middle]


def find_infill(vocabulary: Vocabulary) -> Infill | None:
    """How this model is shown a gap: by the tokens that its file names or llama.cpp knows, else by their spelling."""
    prefix, suffix, middle = vocabulary.fim_tokens()
    for spelled in _SPELLED:
        if prefix < 0:
            found = [vocabulary.control_token(text) for text in spelled]
            prefix, suffix, middle = [-1 if token is None else token for token in found]
    suffix_first = vocabulary.text(prefix) in _SUFFIX_FIRST
    if prefix < 0 or suffix < 0 or (middle < 0 and not suffix_first):
        return None
    return Infill(prefix, suffix, middle, suffix_first)
