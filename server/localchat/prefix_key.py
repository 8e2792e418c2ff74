"""Names all that decides what the KV cache holds of given tokens, so that no saved state meets another model."""

from __future__ import annotations

import hashlib

from localchat.hardware import GgufHeader
from localchat.registry import Choice
from localchat.tuning.store import llama_build
from localchat.worker.messages import Load

_BUILD = 8
_SAMPLES = 256
_SAMPLE = 4096


def prefix_key(choice: Choice, load: Load, header: GgufHeader, template: str | None) -> str:
    """The build of llama.cpp, then weights, template and settings."""
    # Some models have other frequencies for contexts longer than they were first trained for.
    original = header.hparam("rope.scaling.original_context_length") or header.context_length
    ways = (load.kv_type, load.kv_unified, load.flash_attn, load.gpu_layers > 0, load.n_ctx > original)
    build = llama_build()
    parts = (build, _weights(choice, header), template, ways)
    return build[:_BUILD] + hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _weights(choice: Choice, header: GgufHeader) -> str:
    """The SHA-256 of a file that was checked against it; of any other, what is true of no second file.

    That is the digest of its header and of samples from all over it, with its size and the time of its last change.
    """
    if choice.quant.sha256 is not None and choice.quant.source.kind != "path":
        return choice.quant.sha256
    status = header.path.stat()
    digest = hashlib.sha256(f"{status.st_size} {status.st_mtime_ns}\n".encode())
    with header.path.open("rb") as file:
        digest.update(file.read(header.length))
        for sample in range(_SAMPLES):
            file.seek(max(0, status.st_size - _SAMPLE) * sample // (_SAMPLES - 1))
            digest.update(file.read(_SAMPLE))
    return digest.hexdigest()
