"""What chat and completions share: ids, usage, SSE frames."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from localchat.errors import LocalchatError
from localchat.outputs import Finish

to_json = msgspec.json.encode
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What every object of one reply repeats."""

    prefix: str
    model: str
    fingerprint: str
    service_tier: str | None = None
    once: Mapping[str, Any] = field(default_factory=dict)
    """What is told once: by the reply, or by the first chunk of a stream."""
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def fields(self, kind: str) -> dict[str, Any]:
        """The fields that open an object."""
        tier = {} if self.service_tier is None else {"service_tier": self.service_tier}
        return {
            "id": f"{self.prefix}-{self.id}",
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            **tier,
        }

    def head(self, kind: str) -> bytes:
        """An SSE frame as far as the choices."""
        return b"data: " + to_json(self.fields(kind))[:-1] + b',"choices":['


def frame(content: dict[str, Any]) -> bytes:
    """An object as an SSE frame."""
    return b"data: " + to_json(content) + b"\n\n"


def usage(finishes: Sequence[Finish], tries: int = 1) -> dict[str, Any]:
    """Usage of a whole request: sequences are `tries` to a prompt, and each prompt counts once."""
    firsts = finishes[::tries]
    prompt = sum(finish.prompt_tokens for finish in firsts)
    completion = sum(finish.completion_tokens for finish in finishes)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": sum(finish.cached_tokens for finish in firsts)},
        "completion_tokens_details": {
            "reasoning_tokens": sum(finish.reasoning_tokens for finish in finishes),
            "accepted_prediction_tokens": sum(finish.accepted_prediction for finish in finishes),
            "rejected_prediction_tokens": sum(finish.rejected_prediction for finish in finishes),
        },
        "timings": timings(finishes),
    }


def timings(finishes: Sequence[Finish]) -> dict[str, float | int | None]:
    """How long it took, and how fast it was."""
    first = min(finishes, key=lambda finish: finish.queue_time + finish.prompt_time)
    decode_time = max(finish.decode_time for finish in finishes)
    decoded = sum(max(finish.completion_tokens - 1, 0) for finish in finishes)
    return {
        "queue_ms": round(first.queue_time * 1e3, 3),
        "time_to_first_token_ms": round((first.queue_time + first.prompt_time) * 1e3, 3),
        "prompt_per_second": _rate(first.prompt_tokens - first.cached_tokens, first.prompt_time),
        "tokens_per_second": _rate(decoded, decode_time),
        "drafted_tokens": sum(finish.drafted for finish in finishes),
        "accepted_tokens": sum(finish.accepted for finish in finishes),
    }


def _rate(count: int, seconds: float) -> float | None:
    return round(count / seconds, 2) if seconds > 0 and count > 0 else None


def failed(error: LocalchatError, content: dict[str, Any]) -> bytes:
    """The frames that end a stream in an error; the SDKs raise it."""
    return frame(content) + DONE
