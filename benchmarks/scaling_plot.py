"""The figure of `scaling.py`: four panels, speed and latency over streams and over the prompt's length."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_INK, _DIM, _GRID = "#1f2933", "#616e7c", "#e4e7eb"
_COLOURS = {"localchat": "#1f6feb", "llama-server streams": "#d97706", "llama-server unified": "#9f580a"}
_MARKERS = {"localchat": "o", "llama-server streams": "s", "llama-server unified": "^"}
_STYLE = {"svg.hashsalt": "localchat", "svg.fonttype": "path", "font.family": "DejaVu Sans", "font.size": 9.5}


@dataclass(frozen=True)
class Panel:
    """What is drawn over what."""

    title: str
    sweep: str
    figure: str
    unit: str
    is_log: bool = False


PANELS = (
    Panel("Tokens/s of all streams, prompts included", "streams", "tokens_per_second", "tokens/s"),
    Panel("Time to the first token", "streams", "first_token_p50", "ms, median request", is_log=True),
    Panel("Tokens/s of one stream behind a prompt", "context", "decode_per_second", "tokens/s"),
    Panel("Time to the first token of a prompt", "context", "first_token_p50", "ms, median request", is_log=True),
)
_AXIS = {"streams": "Streams at a time", "context": "Tokens of the prompt"}


def draw(result: dict[str, Any], target: Path) -> None:
    """Write `target` as SVG and as PNG."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(11, 8), facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        for axes, panel in zip(figure.subplots(2, 2).flat, PANELS, strict=True):
            _draw_panel(axes, panel, result["points"])
        machine = result["machine"]
        figure.suptitle(
            f"{result['model']}, {result['setup']['threads']} threads on {machine['cores']} cores; medians of rounds,"
            " bars from least to most",
            color=_INK,
            x=0.01,
            ha="left",
        )
        figure.savefig(target.with_suffix(".svg"), metadata={"Date": None, "Creator": None})
        figure.savefig(target.with_suffix(".png"), dpi=110, metadata={"Software": None})


def _draw_panel(axes: Axes, panel: Panel, points: list[dict[str, Any]]) -> None:
    rows = [row for row in points if row["sweep"] == panel.sweep and row["tokens"]]
    for server in dict.fromkeys(row["server"] for row in rows if row["server"] in _COLOURS):
        values: dict[int, list[float]] = {}
        for row in rows:
            if row["server"] == server:
                values.setdefault(row["at"], []).append(row[panel.figure])
        places = sorted(values)
        middle = [statistics.median(values[at]) for at in places]
        spread = [
            [m - min(values[at]) for at, m in zip(places, middle, strict=True)],
            [max(values[at]) - m for at, m in zip(places, middle, strict=True)],
        ]
        axes.errorbar(
            places, middle, spread, color=_COLOURS[server], marker=_MARKERS[server], capsize=3, label=server, alpha=0.9
        )
    _dress(axes, panel, sorted({row["at"] for row in rows}))


def _dress(axes: Axes, panel: Panel, places: list[int]) -> None:
    axes.set_title(panel.title, loc="left", color=_INK, weight="bold", size=10.5)
    axes.set_xlabel(_AXIS[panel.sweep], color=_INK)
    axes.set_ylabel(panel.unit, color=_INK)
    axes.set_xscale("log", base=2)
    if places:
        axes.set_xticks(places, [f"{at // 1024}k" if at >= 1024 else str(at) for at in places])
        axes.legend(frameon=False)
    axes.minorticks_off()
    if panel.is_log:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=_DIM)
    for spine in axes.spines.values():
        spine.set_color(_GRID)
