"""Names what an answer came from, so that a changed answer can be explained: `system_fingerprint`."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from localchat import __version__
from localchat.hub import ledger
from localchat.hub.place import claimed_sha256
from localchat.registry import Choice
from localchat.tuning.store import llama_build
from localchat.worker.messages import Load

_DIGITS = 8
_SAMPLES = 64
_SAMPLE = 1 << 14
_NO_TEMPLATE = "none"


def fingerprint(choice: Choice, load: Load, models_dir: Path, template: str | None) -> str:
    """`fp_WEIGHTS-QUANT-TEMPLATE-ENGINE`; each but the quant begins a digest.

    The weights' is their SHA-256, or with a `~` one of samples, where nobody has ever read the whole file. The engine's
    is of localchat's version, llama.cpp's build, and the settings by which sums are rounded.
    """
    prompt = _begin(template.encode()) if template else _NO_TEMPLATE
    return f"fp_{_weights(choice, Path(load.path), models_dir)}-{choice.quant.name}-{prompt}-{_engine(load)}"


def _weights(choice: Choice, path: Path, models_dir: Path) -> str:
    record = ledger.find(choice, models_dir)
    known = choice.quant.sha256 or claimed_sha256(choice, path)
    if known is None and record is not None and record.path == str(path) and record.is_unchanged:
        known = record.digest.sha256
    return known[:_DIGITS] if known else f"~{_sampled(path)}"


def _sampled(path: Path) -> str:
    """A digest of parts all over a file."""
    size, digest = path.stat().st_size, hashlib.sha256()
    digest.update(str(size).encode())
    with suppress(OSError), path.open("rb") as file:
        for place in range(_SAMPLES):
            file.seek(max(0, size - _SAMPLE) * place // (_SAMPLES - 1))
            digest.update(file.read(_SAMPLE))
    return digest.hexdigest()[:_DIGITS]


def _engine(load: Load) -> str:
    ways = (load.kv_type, load.kv_unified, load.flash_attn, load.gpu_layers, load.threads, load.ubatch_size)
    return _begin(repr((__version__, llama_build(), ways)).encode())


def _begin(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_DIGITS]
