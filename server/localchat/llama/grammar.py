"""Grammars over a model's tokens: which of them may come next.

llguidance does the parsing. It computes a mask over the vocabulary from the grammar and the tokens so far.
"""

from __future__ import annotations

import ctypes
import json
import re
import threading
from functools import cached_property, lru_cache

import llama_cpp as C
import msgspec
import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper
from numpy.typing import NDArray

from localchat.constraint import Constraint
from localchat.errors import EngineError, InvalidRequest
from localchat.json_schema import Path, pointer
from localchat.llama.bounded import within
from localchat.llama.gbnf import lark_from_gbnf
from localchat.llama.json_grammar import embedded_schema, grammar_from_schema, unsaid_faults
from localchat.llama.schema_fault import find_fault
from localchat.llama.vocabulary import Vocabulary

Allowed = NDArray[np.bool_]

MOST_CHARACTERS = {"json_schema": 100_000, "lark": 100_000, "gbnf": 100_000, "regex": 5_000}
"""Of a constraint: what compilation takes grows faster than its length."""
MOST_SECONDS = 5.0
"""For one compilation. Nobody else's request is taken in meanwhile."""
_LIMITS = LLParserLimits(
    initial_lexer_fuel=300_000, max_lexer_states=50_000, max_grammar_size=50_000, verbose_errors=False
)
"""A third or less of what llguidance allows, which is seconds of time and gigabytes of memory."""
_MOST_COMPLAINT = 300
_NO_TEXT = b"\xff"
_PART = re.compile(r"@(\d+)")


class Matcher:
    """How far one text has come through its grammar. `prepare` may run on another thread than the rest, not at once."""

    def __init__(self, matcher: LLMatcher, size: int, param: str) -> None:
        self._matcher = matcher
        self._size = size
        self._param = param
        self._mask = np.empty((size + 31) // 32, np.uint32)
        self._allowed = np.empty(0, np.bool_)
        self._is_fresh = False

    def prepare(self) -> None:
        """Compute which tokens may come next, if that is not known yet."""
        if not self._is_fresh:
            self._matcher.unsafe_compute_mask_ptr(self._mask.ctypes.data, self._mask.nbytes)
            bits = np.unpackbits(self._mask.view(np.uint8), count=self._size, bitorder="little")
            self._allowed = bits.view(np.bool_)
            self._is_fresh = True

    def allowed(self) -> Allowed:
        """(vocabulary,): which tokens may come next. Raises EngineError where the grammar became too much to follow."""
        self.prepare()
        if self._matcher.is_error():
            raise EngineError(f"{self._param} cannot be followed any further: {_one_line(self._matcher.get_error())}")
        return self._allowed.copy()  # which the caller may change

    def accept(self, token: int) -> None:
        """Take note of a token that was allowed. Raises EngineError where the grammar became too much to follow."""
        self._is_fresh = False
        if not self._matcher.consume_token(token):
            raise EngineError(f"{self._param} cannot be followed any further: {_one_line(self._matcher.get_error())}")

    @property
    def is_awake(self) -> bool:
        """Always: a grammar restricts whatever comes."""
        return True

    def fork(self) -> Matcher:
        """Another that has come as far."""
        return Matcher(self._matcher.deep_copy(), self._size, self._param)

    @property
    def is_complete(self) -> bool:
        """Whether nothing may follow any more."""
        return self._matcher.is_stopped()


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
        vocabulary = self._vocabulary
        spelled = Spelled(vocabulary)
        ends = sorted(vocabulary.end_tokens)
        try:  # as `llguidance.llamacpp` does it, which calls what llama.cpp is about to drop
            return LLTokenizer.from_llamacpp(  # type: ignore[attr-defined,no-any-return]
                tokens=spelled.tokens,
                vocab_ptr=vocabulary.pointer,
                tokenize_fptr=ctypes.cast(C.llama_cpp._lib.llama_tokenize, ctypes.c_void_p).value,
                eos_token=ends,
                slices=None,
            )
        except ValueError:  # a vocabulary without a token for each control character, such as T5's
            return LLTokenizer(TokenizerWrapper(spelled), eos_token=ends)

    def _compile(self, constraint: Constraint) -> LLMatcher:
        def refuse(why: str) -> InvalidRequest:
            return InvalidRequest(f"{constraint.param} cannot be enforced{why}", param=constraint.param)

        length, most = len(constraint.text), MOST_CHARACTERS[constraint.kind]
        if length > most:
            raise refuse(f": its {length} characters are more than {most}")
        for part in constraint.parts:
            self._compiled(part)  # an error names the part
        whole = msgspec.structs.replace(constraint, text=self._with_tokens(constraint))
        tokenizer = self._tokenizer
        try:
            return within(MOST_SECONDS, lambda: _compiled(whole, tokenizer))
        except _Fault as fault:
            raise refuse(str(fault)) from None
        except TimeoutError:
            raise refuse(f": it takes longer than {MOST_SECONDS:g} seconds to compile; make it simpler") from None

    def _with_tokens(self, constraint: Constraint) -> str:
        """A grammar in which tags are tokens, where the vocabulary has those."""
        text = constraint.text
        for tag in constraint.tags:
            tokens = self._vocabulary.tokenize(tag, parse_special=True)
            if len(tokens) == 1 and _spelling(self._vocabulary, tokens[0]).startswith(_NO_TEXT):
                text = text.replace(json.dumps(tag, ensure_ascii=False), f"<[{tokens[0]}]>")
        return text


class _Fault(Exception):
    """Why a constraint cannot be enforced, in words that go on from there."""


def _compiled(constraint: Constraint, tokenizer: LLTokenizer) -> LLMatcher:
    """A matcher that knows what may come first. Raises _Fault."""
    is_schema = constraint.kind == "json_schema"
    schema = json.loads(constraint.text) if is_schema else {}
    for path, keyword, why in unsaid_faults(schema):
        raise _Fault(f"{_place(path, keyword)}: {why}")
    try:
        grammar = grammar_of(constraint)
    except ValueError as error:
        raise _Fault(f": {_one_line(str(error))}") from None
    matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=_LIMITS)
    if not matcher.is_error():
        matcher.compute_bitmask()  # which tells what nothing matches
    if matcher.is_error():
        place = _place(*find_fault(schema, _complaint)) if is_schema else ""
        raise _Fault(f"{place}: {_one_line(matcher.get_error())}")
    return matcher


class Spelled:
    """A vocabulary as llguidance takes it from Python, which must spell texts to the byte."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.tokens = [_spelling(vocabulary, token) for token in range(vocabulary.size)]
        self.eos_token_id = vocabulary.eos
        self.bos_token_id = None
        self._ids = {piece: token for token, piece in enumerate(self.tokens) if piece}
        self._longest = max(map(len, self._ids))

    def __call__(self, text: bytes) -> list[int]:
        """The longest tokens that spell a text from its beginning, as far as there are any."""
        tokens: list[int] = []
        while text:
            lengths = range(min(self._longest, len(text)), 0, -1)
            length = next((length for length in lengths if text[:length] in self._ids), 0)
            if not length:
                break
            tokens.append(self._ids[text[:length]])
            text = text[length:]
        return tokens


def _spelling(vocabulary: Vocabulary, token: int) -> bytes:
    """A token's bytes; behind 0xff, which no text holds, those of one that is no text."""
    piece = vocabulary.piece(token, special=True)
    attributes = C.llama_vocab_get_attr(vocabulary.pointer, token)
    looks_special = piece.startswith(b"<") and piece.endswith(b">")
    is_hidden = piece and not vocabulary.piece(token)
    is_special = is_hidden or (attributes & C.LLAMA_TOKEN_ATTR_USER_DEFINED and looks_special)
    return _NO_TEXT + piece if is_special else piece


def grammar_of(constraint: Constraint) -> str:
    """A constraint as llguidance takes it. Raises ValueError."""
    match constraint.kind:
        case "json_schema":
            return grammar_from_schema(json.loads(constraint.text))
        case "gbnf":
            return LLMatcher.grammar_from_lark(lark_from_gbnf(constraint.text))
        case "lark":
            return LLMatcher.grammar_from_lark(_with_parts(constraint) if constraint.parts else constraint.text)
        case "regex":
            return LLMatcher.grammar_from_regex(constraint.text)


def _with_parts(constraint: Constraint) -> str:
    """A grammar with the schemas that it refers to. Raises ValueError."""
    schemas = [embedded_schema(json.loads(part.text)) for part in constraint.parts]
    return _PART.sub(lambda found: f"%json {schemas[int(found[1])]}", constraint.text)


def _place(path: Path, keyword: str | None) -> str:
    """Where in a schema a fault is."""
    return f" at {pointer(path)}" + (f", keyword {keyword!r}" if keyword else "")


def _complaint(schema: object) -> str:
    try:
        return LLMatcher.validate_grammar(grammar_from_schema(schema), limits=_LIMITS)
    except ValueError as error:
        return str(error)


def _one_line(complaint: str) -> str:
    """What llguidance says: its first line, and the reason where that stands further down."""
    lines = [line.strip() for line in complaint.splitlines() if line.strip()] or ["no reason given"]
    if lines[0].startswith("panic:"):
        return "it is too large"
    if lines[0].startswith("NoExtension"):
        return "nothing that this model can write matches it"
    reasons = [line.removeprefix("error:") for line in lines[1:] if line.startswith("error:")]
    said = lines[0][:_MOST_COMPLAINT] + "".join(reasons[:1])[:_MOST_COMPLAINT]
    return said.replace("recursion limit exceeded", "it is nested too deeply")
