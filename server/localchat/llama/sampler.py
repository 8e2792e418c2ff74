"""Chooses the next token from a row of logits.

llama.cpp's own samplers do the choosing, in llama.cpp's own order. What costs time in them is the size of the
vocabulary, so they are handed only the candidates that can survive: `candidates.shrink` proves which those are.
"""

from __future__ import annotations

import ctypes
import secrets
import weakref
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Literal

import llama_cpp.llama_cpp as C
import numpy as np
from numpy.typing import NDArray

from localchat.llama.candidates import above, nucleus, shrink
from localchat.llama.vocabulary import Vocabulary
from localchat.sampling_params import MAX_SEED, SamplingParams

Logits = NDArray[np.float32]

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
_NEVER = np.float32(-np.inf)
_FEW = 256
"""So many candidates cost the chain less than finding out which it can do without."""
_NO_TOKENS = np.empty(0, np.int32)


class _Candidates:
    """Room for candidates, as llama.cpp lays them out."""

    def __init__(self, count: int) -> None:
        array = np.empty(count, _CANDIDATE)
        self.ids, self.logits = array["id"], array["logit"]
        self.pointer = ctypes.cast(array.ctypes.data, C.llama_token_data_p)


class Sampler:
    """The sampler of one sequence: its chain, its random numbers, the tokens it has seen."""

    def __init__(self, params: SamplingParams, vocabulary: Vocabulary, n_ctx: int) -> None:
        self.seed = secrets.randbelow(MAX_SEED) if params.seed is None else params.seed
        self._greedy = params.is_greedy
        self._bias = _biases(params, vocabulary)
        self._history = _history_length(params, n_ctx)
        self._recent: list[int] = []
        self._raises = _may_raise(params)
        self._params = params
        # Top-p over the whole vocabulary is ours to cut, not the chain's, where nothing changes the logits before it.
        self._cut = _first_cut(params)
        self._cuts_nucleus = self._cut == "top_p" and not self._bias and not self._history
        chained = replace(params, top_p=1.0) if self._cuts_nucleus else params
        self._chain = build_chain(chained, vocabulary, self._bias, self.seed, n_ctx)
        self._close = weakref.finalize(self, C.llama_sampler_free, self._chain)
        self._array = C.llama_token_data_array()
        self._reference = ctypes.byref(self._array)
        self._few = _Candidates(_FEW)

    def sample(self, logits: Logits, allowed: NDArray[np.bool_] | None = None) -> int:
        """The next token for a row of logits (vocabulary,), float32, among those `allowed`. The row is not changed."""
        if self._greedy and not self._raises:
            token = int(logits.argmax())
            is_best = token not in self._bias and token not in self._recent
            if is_best and (allowed is None or allowed[token]):
                return token  # whatever the chain changes, it only lowers others
        ids = self._survivors(logits) if allowed is None else self._allowed_survivors(logits, allowed)
        if ids is None:
            ids = np.arange(logits.size, dtype=np.int32)
        candidates = self._few if ids.size <= _FEW else _Candidates(ids.size)
        candidates.ids[: ids.size] = ids
        candidates.logits[: ids.size] = logits[ids]
        array = self._array
        array.data, array.size, array.selected, array.sorted = candidates.pointer, ids.size, -1, False
        C.llama_sampler_apply(self._chain, self._reference)
        return int(array.data[array.selected].id)

    def accept(self, tokens: Iterable[int]) -> None:
        """Take note of tokens that are now part of the text: prompt or chosen."""
        if not self._history:
            return  # nothing in such a chain remembers
        for token in tokens:
            C.llama_sampler_accept(self._chain, token)
            self._recent.append(token)
        del self._recent[: -self._history]

    def _allowed_survivors(self, logits: Logits, allowed: NDArray[np.bool_]) -> NDArray[np.int32]:
        """As `_survivors`, with all others as if they could not be."""
        ids = np.flatnonzero(allowed).astype(np.int32)
        if ids.size <= _FEW:
            return ids[nucleus(logits[ids], self._params.top_p)] if self._cuts_nucleus else ids
        masked = np.where(allowed, logits, _NEVER)
        survivors = self._survivors(masked)
        return ids if survivors is None else survivors[allowed[survivors]]

    def _survivors(self, logits: Logits) -> NDArray[np.int32] | None:
        """Ids of the tokens that the chain may choose; None for all."""
        if self._cut == "top_k":
            top = 1 if self._greedy else self._params.top_k
            touched = {*self._bias, *self._recent}
            # Tokens that can only sink push others up by as many places; those that can rise must be there themselves.
            extra = np.fromiter(touched, np.int32) if self._raises else _NO_TOKENS
            return shrink(logits, top + len(touched), extra)
        if self._cuts_nucleus:
            return nucleus(logits, self._params.top_p)
        if self._cut == "min_p" and not self._bias and not self._history:
            return above(logits, self._params.min_p)
        return None


def _first_cut(params: SamplingParams) -> Literal["top_k", "top_p", "min_p", "none"]:
    """What first takes candidates away in the chain; "none" where that needs every logit."""
    if params.is_greedy:
        return "top_k"
    if params.mirostat or params.top_n_sigma > 0:
        return "none"
    if params.top_k > 0:
        return "top_k"
    if params.typical_p < 1:
        return "none"
    if params.top_p < 1:
        return "top_p"
    return "min_p" if params.min_p > 0 else "none"


def _may_raise(params: SamplingParams) -> bool:
    """Whether biases or penalties may lift a token above others, instead of only lowering it."""
    return (
        any(bias > 0 for bias in params.logit_bias.values())
        or params.repeat_penalty < 1
        or params.presence_penalty < 0
        or params.frequency_penalty < 0
    )


def _biases(params: SamplingParams, vocabulary: Vocabulary) -> dict[int, float]:
    # OpenAI documents -100 as a ban; so it is one here.
    biases = {token: -np.inf if bias <= -100 else bias for token, bias in params.logit_bias.items()}
    if params.ignore_eos:
        biases.update(dict.fromkeys(vocabulary.end_tokens, -np.inf))
    return biases


def _history_length(params: SamplingParams, n_ctx: int) -> int:
    """How many of the last tokens the chain may look back on."""
    repeat = _last_n(params.repeat_last_n, n_ctx) if params.has_penalties else 0
    dry = _last_n(params.dry_penalty_last_n, n_ctx) if params.dry_multiplier > 0 else 0
    return max(repeat, dry)


def _last_n(value: int, n_ctx: int) -> int:
    return n_ctx if value < 0 else value


def build_chain(
    params: SamplingParams, vocabulary: Vocabulary, bias: dict[int, float], seed: int, n_ctx: int
) -> C.llama_sampler_p:
    """llama.cpp's chain for these settings, which the caller frees."""
    chain = C.llama_sampler_chain_init(C.llama_sampler_chain_default_params())

    def add(init: Callable[..., C.llama_sampler_p], *arguments: object) -> None:
        C.llama_sampler_chain_add(chain, init(*arguments))

    if bias:
        entries = (C.llama_logit_bias * len(bias))(*[C.llama_logit_bias(t, b) for t, b in bias.items()])
        add(C.llama_sampler_init_logit_bias, vocabulary.size, len(bias), entries)
    if params.has_penalties:
        add(
            C.llama_sampler_init_penalties,
            vocabulary.size,
            _last_n(params.repeat_last_n, n_ctx),
            params.repeat_penalty,
            params.frequency_penalty,
            params.presence_penalty,
        )
    if params.dry_multiplier > 0:
        breakers = [text.encode() for text in params.dry_sequence_breakers]
        texts = (ctypes.c_char_p * len(breakers))(*breakers)
        add(
            C.llama_sampler_init_dry,
            vocabulary.pointer,
            params.dry_multiplier,
            params.dry_base,
            params.dry_allowed_length,
            _last_n(params.dry_penalty_last_n, n_ctx),
            texts,
            len(breakers),
        )
    if params.is_greedy:
        add(C.llama_sampler_init_greedy)
    elif params.mirostat:
        _add_mirostat(add, params, vocabulary.size, seed)
    else:
        _add_truncation(add, params, seed)
    return chain


def _add_mirostat(add: Callable[..., None], params: SamplingParams, n_vocab: int, seed: int) -> None:
    add(C.llama_sampler_init_temp, params.temperature)
    if params.mirostat == 1:
        add(C.llama_sampler_init_mirostat, n_vocab, seed, params.mirostat_tau, params.mirostat_eta, 100)
    else:
        add(C.llama_sampler_init_mirostat_v2, seed, params.mirostat_tau, params.mirostat_eta)


def _add_truncation(add: Callable[..., None], params: SamplingParams, seed: int) -> None:
    if params.top_n_sigma > 0:
        add(C.llama_sampler_init_top_n_sigma, params.top_n_sigma)
    if params.top_k > 0:
        add(C.llama_sampler_init_top_k, params.top_k)
    if params.typical_p < 1:
        add(C.llama_sampler_init_typical, params.typical_p, 1)
    if params.top_p < 1:
        add(C.llama_sampler_init_top_p, params.top_p, 1)
    if params.min_p > 0:
        add(C.llama_sampler_init_min_p, params.min_p, 1)
    if params.xtc_probability > 0:
        add(C.llama_sampler_init_xtc, params.xtc_probability, params.xtc_threshold, 1, seed)
    if params.dynatemp_range > 0:
        add(C.llama_sampler_init_temp_ext, params.temperature, params.dynatemp_range, params.dynatemp_exponent)
    else:
        add(C.llama_sampler_init_temp, params.temperature)
    add(C.llama_sampler_init_dist, seed)
