"""Bytes of tokens in, whole characters out, up to the first stop string."""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class Detokenizer:
    """The text of one sequence, as it grows.

    What it has returned never needs taking back: it holds back the bytes of an unfinished character, and the end
    of the text while that may become a stop string. Bytes that are no UTF-8 become U+FFFD.
    The stop that ends first ends the text, whatever pieces the text came in. What the text has of `lead` at its
    beginning belongs to the prompt's format, and is left out.
    """

    def __init__(self, stops: Sequence[str] = (), lead: str = "") -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stops = tuple(stops)
        self._lead = lead
        self._held = ""
        self.stopped = False

    def push(self, piece: bytes) -> str:
        """The text that is certain after these bytes; sets `stopped` when a stop string is complete."""
        return self._release(self._decoder.decode(piece))

    def finish(self) -> str:
        """What was held back, when no more bytes come."""
        text = self._release(self._decoder.decode(b"", final=True))
        text, self._held = text + self._held, ""
        return text

    def _without_lead(self, new: str) -> str:
        while new and self._lead:
            if new[0] != self._lead[0]:
                self._lead = ""
                break
            new, self._lead = new[1:], self._lead[1:]
        return new

    def _release(self, new: str) -> str:
        if self._lead:
            new = self._without_lead(new)
        if not self._stops or self.stopped:
            return "" if self.stopped else new
        text = self._held + new
        cut = self._find_stop(text)
        if cut is not None:
            self.stopped, self._held = True, ""
            return text[:cut]
        certain = len(text) - self._possible_stop(text)
        self._held = text[certain:]
        return text[:certain]

    def _find_stop(self, text: str) -> int | None:
        """Where the stop that ends first begins; of two that end together, the longer."""
        found = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        return min(found)[1] if found else None

    def _possible_stop(self, text: str) -> int:
        """Length of the longest end of the text that is the beginning of a stop string."""
        longest = 0
        for stop in self._stops:
            for length in range(min(len(stop) - 1, len(text)), longest, -1):
                if text.endswith(stop[:length]):
                    longest = length
                    break
        return longest
