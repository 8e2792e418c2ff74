"""Grammars over a model's tokens: which of them may come next.

llguidance does the parsing. It computes a mask over the vocabulary from the grammar and the tokens so far.
"""

from __future__ import annotations

import ctypes
import json
import threading
from functools import cached_property, lru_cache
from typing import Any

import llama_cpp as C
import numpy as np
from llguidance import LLMatcher, LLTokenizer
from numpy.typing import NDArray

from localchat.constraint import Constraint
from localchat.errors import EngineError, InvalidRequest
from localchat.llama.schema_fault import find_fault
from localchat.llama.vocabulary import Vocabulary

_DATA = frozenset({"const", "enum", "default", "examples"})
_NO_LEAP_SECOND = r":[0-5][0-9]([.Zz]|[+-][0-9:]+$)"

Allowed = NDArray[np.bool_]

# Between the parts of JSON stand one space, or a new line and its indentation. Without a bound, a model that writes
# blanks would go on until its tokens are spent.
_JSON = {"whitespace_pattern": r"( |\n {0,24})?"}


class Matcher:
    """How far one text has come through its grammar. `prepare` may run on another thread than the rest, not at once."""

    def __init__(self, matcher: LLMatcher, size: int, param: str) -> None:
        self._matcher = matcher
        self._size = size
        self._param = param
        self._mask = np.empty((size + 31) // 32, np.uint32)
        self._is_fresh = False

    def prepare(self) -> None:
        """Compute which tokens may come next, if that is not known yet."""
        if not self._is_fresh:
            self._matcher.unsafe_compute_mask_ptr(self._mask.ctypes.data, self._mask.nbytes)
            self._is_fresh = True

    def allowed(self) -> Allowed:
        """(vocabulary,): which tokens may come next. Raises EngineError where the grammar became too much to follow."""
        self.prepare()
        if self._matcher.is_error():
            raise EngineError(f"{self._param} cannot be followed any further: {_one_line(self._matcher.get_error())}")
        return np.unpackbits(self._mask.view(np.uint8), count=self._size, bitorder="little").view(np.bool_)

    def accept(self, token: int) -> None:
        """Take note of a token that was allowed. Raises EngineError where the grammar became too much to follow."""
        self._is_fresh = False
        if not self._matcher.consume_token(token):
            raise EngineError(f"{self._param} cannot be followed any further: {_one_line(self._matcher.get_error())}")

    @property
    def is_complete(self) -> bool:
        """Whether nothing may follow any more."""
        return self._matcher.is_stopped()

    def forced(self) -> list[int]:
        """The tokens that must come next, as far as there is no choice."""
        return self._matcher.compute_ff_tokens()


class Grammars:
    """Compiles constraints for one vocabulary. May be used from any thread."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._lock = threading.Lock()
        self._compiled = lru_cache(maxsize=32)(self._compile)

    def matcher(self, constraint: Constraint) -> Matcher:
        """A matcher at the beginning of a text. Raises InvalidRequest for what cannot be enforced."""
        with self._lock:
            return Matcher(self._compiled(constraint).deep_copy(), self._vocabulary.size, constraint.param)

    @cached_property
    def _tokenizer(self) -> LLTokenizer:
        # As `llguidance.llamacpp` does it, which calls what llama.cpp is about to drop.
        vocabulary = self._vocabulary
        return LLTokenizer.from_llamacpp(  # type: ignore[attr-defined,no-any-return]
            tokens=[_spelling(vocabulary, token) for token in range(vocabulary.size)],
            vocab_ptr=vocabulary.pointer,
            tokenize_fptr=ctypes.cast(C.llama_cpp._lib.llama_tokenize, ctypes.c_void_p).value,
            eos_token=sorted(vocabulary.end_tokens),
            slices=None,
        )

    def _compile(self, constraint: Constraint) -> LLMatcher:
        matcher = LLMatcher(self._tokenizer, grammar_of(constraint), log_level=0)
        if matcher.is_error():
            place = _place(constraint) if constraint.kind == "json_schema" else ""
            raise InvalidRequest(
                f"{constraint.param} cannot be enforced{place}: {_one_line(matcher.get_error())}",
                param=constraint.param,
            )
        return matcher


def _spelling(vocabulary: Vocabulary, token: int) -> bytes:
    """A token's bytes; behind 0xff, which no text holds, those of one that is no text."""
    piece = vocabulary.piece(token, special=True)
    attributes = C.llama_vocab_get_attr(vocabulary.pointer, token)
    looks_special = piece.startswith(b"<") and piece.endswith(b">")
    is_special = attributes & C.LLAMA_TOKEN_ATTR_CONTROL or (
        attributes & C.LLAMA_TOKEN_ATTR_USER_DEFINED and looks_special
    )
    return b"\xff" + piece if is_special else piece


def grammar_of(constraint: Constraint) -> str:
    """A constraint as llguidance takes it. Raises InvalidRequest."""
    match constraint.kind:
        case "json_schema":
            schema = json.dumps(_without_leap_seconds(json.loads(constraint.text)))
            return LLMatcher.grammar_from_json_schema(schema, overrides=_JSON)  # type: ignore[arg-type]
        case "lark":
            return LLMatcher.grammar_from_lark(constraint.text)
        case "regex":
            return LLMatcher.grammar_from_regex(constraint.text)


def _without_leap_seconds(node: Any) -> Any:
    """A schema whose times have no second 60: RFC 3339 has it, and most programs that read times do not."""
    if isinstance(node, list):
        return [_without_leap_seconds(part) for part in node]
    if not isinstance(node, dict):
        return node
    made = {key: value if key in _DATA else _without_leap_seconds(value) for key, value in node.items()}
    if made.get("format") in ("time", "date-time"):
        made["allOf"] = [*made.get("allOf", ()), {"pattern": _NO_LEAP_SECOND}]
    return made


def _place(constraint: Constraint) -> str:
    """Where in a schema the fault is."""
    pointer, keyword = find_fault(json.loads(constraint.text), _complaint)
    return f" at {pointer}" + (f", keyword {keyword!r}" if keyword else "")


def _complaint(schema: object) -> str:
    return LLMatcher.validate_grammar(grammar_of(Constraint("json_schema", json.dumps(schema), "")))


def _one_line(complaint: str) -> str:
    """What llguidance says: its first line, and the reason where that stands further down."""
    lines = [line.strip() for line in complaint.splitlines() if line.strip()] or ["no reason given"]
    reasons = [line.removeprefix("error:") for line in lines[1:] if line.startswith("error:")]
    return lines[0] + "".join(reasons[:1])
