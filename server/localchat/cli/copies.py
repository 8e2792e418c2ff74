"""Whether a model would run faster rounded once more: copies that are made to be measured, and go again."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from msgspec import structs

from localchat.hardware import GgufHeader
from localchat.hardware.formats import format_of
from localchat.hub.progress import Progress, phase
from localchat.hub.store import check_room
from localchat.launch import Launch
from localchat.registry.spec import PathSource
from localchat.tuning.bench import Measure
from localchat.tuning.client import Bencher
from localchat.tuning.compare import Comparison, compare
from localchat.tuning.messages import Setup, Work
from localchat.tuning.setup import opening

MOST_BYTES = 1 << 30
"""A larger file is not rounded unasked: it takes minutes."""
WORTH = 1.1
_FORMATS = ("Q8_0", "Q4_0")
"""What most processors have the fastest kernels for."""
_UNROUNDED = ("F32", "F16", "BF16")
_FEW_BITS = 6.0


def formats(header: GgufHeader) -> list[str]:
    """Those worth a try. Q4_0 is for what has few bits already; what was never rounded is for `quantize` and `pick`."""
    known = format_of(header.quant)
    if known is None or header.quant in (*_UNROUNDED, "Q4_0"):
        return []
    return [name for name in _FORMATS if name != header.quant and (name != "Q4_0" or known.bits < _FEW_BITS)]


def try_copies(
    launch: Launch,
    header: GgufHeader,
    measure: Measure,
    setup: Setup,
    works: Sequence[Work],
    seconds: float,
    progress: Progress,
) -> Iterator[tuple[str, Comparison]]:
    """Each format, and how the model runs in it against now. Raises ConfigError, FetchFailed, EngineError."""
    from localchat_quantize.quantizing import quantize_apart  # noqa: PLC0415 - loads the engine's library

    names = formats(header)
    with tempfile.TemporaryDirectory(dir=_folder(launch), prefix=".tune-") as folder:
        for name in names:
            size = size_as(header, name)
            check_room(f"a copy of {launch.path.name} as {name}", Path(folder), size)
            copy = Path(folder) / f"copy.{name}.gguf"
            with phase(progress, f"rounding a copy to {name}", size):
                quantize_apart(
                    launch.path, copy, name, threads=setup.threads, requantize=True, step=_told(progress, size)
                )
            with Bencher(structs.replace(opening(launch.load), path=str(copy))) as bencher:
                found = compare(
                    lambda: measure(setup, tuple(works)),
                    lambda bencher=bencher: bencher.measure(setup, tuple(works)),  # type: ignore[misc]
                    worth=WORTH,
                    seconds=seconds / len(names),
                )
            copy.unlink()
            yield name, found


def size_as(header: GgufHeader, format: str) -> int:
    """About what the file takes in another format."""
    new, now = format_of(format), format_of(header.quant)
    assert new, f"{format} is not known"
    assert now, f"{header.quant} is not known"
    return int(header.file_size * new.bits / now.bits)


def advice(launch: Launch, header: GgufHeader, format: str, found: Comparison) -> str:
    """What a person may do about it, and what that costs."""
    reads, alone, together = found.gains
    is_own_file = isinstance(launch.choice.quant.source, PathSource) and launch.name.endswith(".gguf")
    source = launch.name if is_own_file else f"{launch.id}:{launch.choice.quant.name}"
    size = size_as(header, format) / header.file_size
    return (
        f"a copy as {format} reads prompts {reads:.2g} x as fast, writes {alone:.2g} x alone and {together:.2g} x"
        f" together, and takes {size:.2g} x the space; rounding twice costs some quality, and this measures how much:"
        f"\nlocalchat quantize {source} --to {format} --requantize --register"
    )


def _folder(launch: Launch) -> str | None:
    """Beside the weights, where there is room for them; elsewhere if nothing can be written there."""
    try:
        with tempfile.TemporaryDirectory(dir=launch.path.parent, prefix=".tune-"):
            return str(launch.path.parent)
    except OSError:
        return None


def _told(progress: Progress, size: int) -> Callable[[int], None]:
    return lambda written: progress.update(min(written, size))
