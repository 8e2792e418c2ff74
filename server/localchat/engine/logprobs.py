"""Natural log-probabilities of the model's own distribution, before any sampler changes it."""

from __future__ import annotations

import numpy as np

from localchat.engine.seam import Logits, Vocabulary
from localchat.outputs import Alternative, TokenLogprob


def token_logprob(vocabulary: Vocabulary, logits: Logits, token: int, top: int) -> TokenLogprob:
    """The log-probability of a token under a row of logits (vocabulary,), and of the `top` likeliest tokens."""
    peak = float(logits.max())
    log_total = peak + float(np.log(np.exp(logits - peak, dtype=np.float32).sum(dtype=np.float64)))
    likeliest = np.argpartition(logits, -top)[-top:] if top else np.empty(0, np.intp)
    likeliest = likeliest[np.argsort(-logits[likeliest], kind="stable")]
    alternatives = [
        Alternative(int(t), vocabulary.piece(int(t), special=True), float(logits[t]) - log_total) for t in likeliest
    ]
    return TokenLogprob(token, vocabulary.piece(token, special=True), float(logits[token]) - log_total, alternatives)
