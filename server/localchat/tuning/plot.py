"""Speed against the number of sequences, as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from localchat.errors import ConfigError
from localchat.tuning.bench import Row, readable
from localchat.tuning.messages import Decode

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("svg", "png")
_INK, _DIM, _GRID, _DOTS = "#1f2933", "#616e7c", "#e4e7eb", "#1f6feb"
_STYLE = {"svg.hashsalt": "localchat", "svg.fonttype": "path", "font.family": "DejaVu Sans", "font.size": 9.5}


def check(path: Path) -> None:
    """Raise ConfigError for a file that could not be drawn, before anything is measured."""
    if path.suffix.removeprefix(".").lower() not in KINDS:
        raise ConfigError(f"--plot {path}: its name must end in .svg or .png")
    if not path.parent.is_dir():
        raise ConfigError(f"--plot {path}: there is no folder {path.parent}")
    try:
        import matplotlib  # noqa: F401, PLC0415 - loads slowly, and belongs to an extra
    except ImportError:
        raise ConfigError(f"--plot {path} takes matplotlib: pip install 'localchat[bench]'") from None


def plot(title: str, rows: Sequence[Row], limit: float | None, path: Path) -> None:
    """Draw decode speed with its range over the rounds; `limit` is what memory allows one sequence.

    Raises ConfigError if the file cannot be written.
    """
    import matplotlib  # noqa: PLC0415

    drawn, kind = io.BytesIO(), path.suffix.removeprefix(".").lower()
    with matplotlib.rc_context(_STYLE):
        metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
        _figure(title, rows, limit).savefig(drawn, format=kind, dpi=144, metadata=metadata)
    try:
        path.write_bytes(drawn.getvalue())
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None


def _figure(title: str, rows: Sequence[Row], limit: float | None) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    decoding = [row for row in rows if isinstance(row.work, Decode) and not row.work.depth]
    counts, speeds = [row.sequences for row in decoding], [row.speed for row in decoding]
    below = [row.speed - row.speeds[0] for row in decoding]
    above = [row.speeds[-1] - row.speed for row in decoding]
    figure = Figure(figsize=(8, 5.25), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.errorbar(counts, speeds, [below, above], color=_DOTS, marker="o", capsize=3)
    for row in decoding:
        above_bar = (row.sequences, row.speeds[-1])
        axes.annotate(readable(row.speed), above_bar, (0, 6), textcoords="offset points", ha="center", color=_INK)
    if limit is not None:
        axes.axhline(limit, color=_DIM, linewidth=0.8, linestyle="--")
        words = f"{readable(limit)}: what reading the weights allows one sequence"
        axes.text(1.1 * counts[0], limit, words, color=_DIM, va="bottom")
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.set_ylim(bottom=0, top=1.12 * max(limit or 0, *(row.speeds[-1] for row in decoding)))
    axes.set_xlabel("Sequences that decode together", color=_INK)
    axes.set_ylabel("Tokens/s of all together (median; bars from slowest to fastest round)", color=_INK)
    axes.set_title(title, loc="left", weight="bold", color=_INK, size=12)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=_DIM)
    for spine in axes.spines.values():
        spine.set_color(_GRID)
    return figure
