"""Size against mean KL divergence, a labelled point a format."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from localchat.errors import ConfigError
from localchat.registry import Measured
from localchat_quantize import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _HEIGHT = 576, 378
_LEFT, _BOTTOM, _RIGHT, _TOP = 0.11, 0.14, 0.975, 0.845
_INK, _DIM, _GRID, _DOTS = "#1f2933", "#616e7c", "#e4e7eb", "#1f6feb"
_DOT = 5.0
_LEAST = 1e-5
"""A logarithmic axis has no zero."""
_SIDES = ((1, 0), (1, 1), (1, -1), (0, 1), (0, -1), (-1, 0), (-1, 1), (-1, -1))
_DISTANCES = (8, 16, 26, 38, 52, 68)
# Dates, and ids made by chance, would make every run's file another one.
_STYLE = {"svg.hashsalt": "localchat", "svg.fonttype": "path", "font.family": "DejaVu Sans", "font.size": 9.5}


class Box(NamedTuple):
    """A rectangle on the page, in points of 1/72 inch as all here."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: Box) -> float:
        """The area that they share."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(width, 0) * max(height, 0)


class Label(NamedTuple):
    """Where a point's name is written; `leader` covers the line to it, where it stands apart."""

    box: Box
    leader: tuple[Box, ...]


def can_plot(figures: Mapping[str, Measured]) -> bool:
    """Whether any format was compared with the original."""
    return any(row.kl_mean is not None for row in figures.values())


def plot(title: str, figures: Mapping[str, Measured], path: Path) -> None:
    """Draw the formats that were compared with the original, as .svg or .png; the same figures give the same bytes.

    Raises ConfigError if matplotlib is missing.
    """
    try:
        import matplotlib  # noqa: PLC0415 - loads slowly, and belongs to an extra
    except ImportError:
        raise ConfigError(f"{path.name} takes matplotlib: pip install 'localchat[quantize]'") from None
    drawn, kind = io.BytesIO(), path.suffix.removeprefix(".")
    with matplotlib.rc_context(_STYLE):
        figure = _figure(title, {format: row for format, row in figures.items() if row.kl_mean is not None})
        metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
        figure.savefig(drawn, format=kind, dpi=144, metadata=metadata)
    atomic.write(path, drawn.getvalue())


def place(points: Sequence[tuple[float, float]], sizes: Sequence[tuple[float, float]], frame: Box) -> list[Label]:
    """Where names of these widths and heights go: as near their points as nothing else is, inside the frame."""
    taken = [Box(x - _DOT, y - _DOT, x + _DOT, y + _DOT) for x, y in points]
    labels = []
    for point, size in zip(points, sizes, strict=True):
        label = min(_choices(point, size), key=lambda one: _badness(one, taken, frame))
        labels.append(label)
        taken += [label.box, *label.leader]
    return labels


def _choices(point: tuple[float, float], size: tuple[float, float]) -> Iterator[Label]:
    """The nearest first."""
    (x, y), (width, height) = point, size
    for distance in _DISTANCES:
        for side, up in _SIDES:
            away = distance * (0.6 if side and up else 1)
            center_x, center_y = x + side * (away + width / 2), y + up * (away + height / 2)
            box = Box(center_x - width / 2, center_y - height / 2, center_x + width / 2, center_y + height / 2)
            yield Label(box, () if distance == _DISTANCES[0] else tuple(_leader(point, _nearest(box, point))))


def _nearest(box: Box, point: tuple[float, float]) -> tuple[float, float]:
    return min(max(point[0], box.left), box.right), min(max(point[1], box.bottom), box.top)


def _leader(start: tuple[float, float], end: tuple[float, float]) -> Iterator[Box]:
    """Small boxes along the line, from where it leaves the dot."""
    length = math.dist(start, end)
    for done in range(math.ceil(_DOT * 1.5), int(length), 2):
        x, y = (a + (b - a) * done / length for a, b in zip(start, end, strict=True))
        yield Box(x - 1, y - 1, x + 1, y + 1)


def _badness(label: Label, taken: Sequence[Box], frame: Box) -> float:
    """The area that is covered twice or lies outside."""
    (left, bottom, right, top), own = label.box, (label.box, *label.leader)
    outside = (right - left) * (top - bottom) - label.box.overlap(frame)
    return round(outside + sum(box.overlap(other) for box in own for other in taken), 3)


def _figure(title: str, figures: Mapping[str, Measured]) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(_WIDTH / 72, _HEIGHT / 72), dpi=72, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((_LEFT, _BOTTOM, _RIGHT - _LEFT, _TOP - _BOTTOM))
    unit, name = (1e9, "GB") if max(row.size for row in figures.values()) >= 1e9 else (1e6, "MB")
    sizes = [row.size / unit for row in figures.values()]
    losses = [max(row.kl_mean or 0, _LEAST) for row in figures.values()]
    names = [format if (row.kl_mean or 0) >= _LEAST else f"{format} (about 0)" for format, row in figures.items()]
    reference = next((row.reference for row in figures.values() if row.reference), "the original")
    _prepare(axes, sizes, losses)
    axes.set_xlabel(f"Size of the file ({name})", color=_INK, labelpad=6)
    axes.set_ylabel("Mean KL divergence (nats a token, log scale)", color=_INK)
    axes.yaxis.set_label_coords(-0.085, 0.5)
    axes.text(0, 1.105, title, transform=axes.transAxes, size=13, weight="bold", color=_INK)
    meaning = f"What each format loses against {reference}: further left is smaller, further down is closer to it"
    axes.text(0, 1.04, meaning, transform=axes.transAxes, color=_DIM)
    axes.scatter(sizes, losses, s=(2 * _DOT - 1) ** 2, color=_DOTS, edgecolors="white", linewidths=0.8, zorder=3)
    _write_names(figure, axes, names, list(zip(sizes, losses, strict=True)))
    return figure


def _prepare(axes: Axes, sizes: Sequence[float], losses: Sequence[float]) -> None:
    margin = 0.1 * (max(sizes) - min(sizes)) or 0.1 * max(sizes)
    axes.set_xlim(min(sizes) - margin, max(sizes) + margin)
    axes.set_yscale("log")
    low, high = math.log10(min(losses) / 2), math.log10(max(losses) * 2)
    if high - low < 2:  # so that there are always two numbers on the axis to read from
        low, high = math.floor(low), math.ceil(high)
    axes.set_ylim(10**low, 10**high)
    axes.yaxis.set_major_formatter(lambda value, _position: f"{value:g}" if value > 5e-5 else "10⁻⁵")
    axes.yaxis.set_minor_formatter(lambda _value, _position: "")
    axes.grid(which="major", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0, colors=_DIM)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_color(_GRID)


def _write_names(figure: Figure, axes: Axes, names: Sequence[str], points: Sequence[tuple[float, float]]) -> None:
    from matplotlib.lines import Line2D  # noqa: PLC0415

    texts = [figure.text(0, 0, name, color=_INK, ha="center", va="center") for name in names]
    extents = [text.get_window_extent() for text in texts]
    places = [tuple(place) for place in axes.transData.transform(points)]
    frame = Box(_LEFT * _WIDTH, _BOTTOM * _HEIGHT, _RIGHT * _WIDTH, _TOP * _HEIGHT)
    labels = place(places, [(extent.width + 4, extent.height + 2) for extent in extents], frame)
    for text, label, point in zip(texts, labels, places, strict=True):
        left, bottom, right, top = label.box
        text.set_position(((left + right) / 2 / _WIDTH, (bottom + top) / 2 / _HEIGHT))
        if label.leader:
            ends = (_toward(point, label.box), _nearest(label.box, point))
            xs, ys = [x / _WIDTH for x, _ in ends], [y / _HEIGHT for _, y in ends]
            figure.add_artist(Line2D(xs, ys, color=_DIM, linewidth=0.6))


def _toward(point: tuple[float, float], box: Box) -> tuple[float, float]:
    """Where the line to a name leaves the dot."""
    end = _nearest(box, point)
    part = _DOT / max(math.dist(point, end), _DOT)
    return point[0] + (end[0] - point[0]) * part, point[1] + (end[1] - point[1]) * part
