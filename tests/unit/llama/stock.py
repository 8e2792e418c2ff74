"""llama.cpp's own chain over the whole vocabulary: what our sampler must agree with."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable

import llama_cpp.llama_cpp as C
import numpy as np
from numpy.typing import NDArray

from localchat.llama.vocabulary import Vocabulary
from localchat.sampling_params import SamplingParams

Logits = NDArray[np.float32]

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


class StockSampler:
    """Every sampler is in the chain, whether it has something to do or not; llama.cpp knows what its values mean."""

    def __init__(self, params: SamplingParams, vocabulary: Vocabulary, n_ctx: int, seed: int) -> None:
        self.chain = C.llama_sampler_chain_init(C.llama_sampler_chain_default_params())
        self._vocabulary, self._n_ctx, self._seed = vocabulary, n_ctx, seed
        self._add_changes(params)
        self.changes = C.llama_sampler_chain_n(self.chain)
        if params.temperature == 0:
            self._add(C.llama_sampler_init_greedy())
        elif params.mirostat:
            self._add_mirostat(params)
        else:
            self._add_truncation(params)

    def close(self) -> None:
        C.llama_sampler_free(self.chain)

    def accept(self, tokens: Iterable[int]) -> None:
        for token in tokens:
            C.llama_sampler_accept(self.chain, token)

    def sample(self, logits: Logits) -> int:
        candidates, array = self._candidates(logits)
        C.llama_sampler_apply(self.chain, ctypes.byref(array))
        token = int(array.data[array.selected].id)
        del candidates  # not before: the array only points at them
        return token

    def changed(self, logits: Logits) -> Logits:
        """The row as bias, penalties and DRY leave it."""
        candidates, array = self._candidates(logits)
        for index in range(self.changes):
            C.llama_sampler_apply(C.llama_sampler_chain_get(self.chain, index), ctypes.byref(array))
        return np.array(candidates["logit"])

    @staticmethod
    def _candidates(logits: Logits) -> tuple[NDArray[np.void], C.llama_token_data_array]:
        candidates = np.empty(logits.size, _CANDIDATE)
        candidates["id"] = np.arange(logits.size)
        candidates["logit"] = logits
        data = ctypes.cast(candidates.ctypes.data, C.llama_token_data_p)
        return candidates, C.llama_token_data_array(data=data, size=logits.size, selected=-1, sorted=False)

    def _add(self, sampler: C.llama_sampler_p) -> None:
        C.llama_sampler_chain_add(self.chain, sampler)

    def _last_n(self, value: int) -> int:
        return self._n_ctx if value == -1 else value

    def _add_changes(self, params: SamplingParams) -> None:
        size = self._vocabulary.size
        bias = {token: -np.inf if value == -100 else value for token, value in params.logit_bias.items()}
        if params.ignore_eos:
            bias |= dict.fromkeys(self._vocabulary.end_tokens, -np.inf)
        entries = (C.llama_logit_bias * len(bias))(*(C.llama_logit_bias(*pair) for pair in bias.items()))
        self._add(C.llama_sampler_init_logit_bias(size, len(bias), entries))
        self._add(
            C.llama_sampler_init_penalties(
                size,
                self._last_n(params.repeat_last_n),
                params.repeat_penalty,
                params.frequency_penalty,
                params.presence_penalty,
            )
        )
        breakers = [breaker.encode() for breaker in params.dry_sequence_breakers]
        self._add(
            C.llama_sampler_init_dry(
                self._vocabulary.pointer,
                params.dry_multiplier,
                params.dry_base,
                params.dry_allowed_length,
                self._last_n(params.dry_penalty_last_n),
                (ctypes.c_char_p * len(breakers))(*breakers),
                len(breakers),
            )
        )

    def _add_mirostat(self, params: SamplingParams) -> None:
        self._add(C.llama_sampler_init_temp(params.temperature))
        tau, eta = params.mirostat_tau, params.mirostat_eta
        if params.mirostat == 1:
            self._add(C.llama_sampler_init_mirostat(self._vocabulary.size, self._seed, tau, eta, 100))
        else:
            self._add(C.llama_sampler_init_mirostat_v2(self._seed, tau, eta))

    def _add_truncation(self, params: SamplingParams) -> None:
        self._add(C.llama_sampler_init_top_n_sigma(params.top_n_sigma))
        self._add(C.llama_sampler_init_top_k(params.top_k))
        self._add(C.llama_sampler_init_typical(params.typical_p, 1))
        self._add(C.llama_sampler_init_top_p(params.top_p, 1))
        self._add(C.llama_sampler_init_min_p(params.min_p, 1))
        self._add(C.llama_sampler_init_xtc(params.xtc_probability, params.xtc_threshold, 1, self._seed))
        self._add(C.llama_sampler_init_temp_ext(params.temperature, params.dynatemp_range, params.dynatemp_exponent))
        self._add(C.llama_sampler_init_dist(self._seed))
