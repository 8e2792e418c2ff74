"""A model's card: what was made of which original, and what was measured of it.

It is kept as JSON for programs, and written as Markdown with a plot for people.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from localchat.errors import ConfigError
from localchat.registry import Measured
from localchat_quantize import atomic, figures
from localchat_quantize.plot import can_plot, plot

_COMPARED = ("perplexity", "kl_mean", "kl_p99", "top1", "tokens", "text", "reference")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One file of the model."""

    format: str
    file: str
    sha256: str
    measured: Measured
    requantized_from: str | None = None
    """The format that was quantized already when this file was made of it."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """All files of a model that were made of one original."""

    id: str
    source: str
    """The original as a person knows it: repository@commit, or the name of a folder or file."""
    base: str | None = None
    """What the original is a difference to."""
    made: str
    """Date of the last change, YYYY-MM-DD."""
    localchat: str
    original: Measured | None = None
    """The figures of what the files were made of."""
    rows: tuple[Row, ...]
    """One a format, the largest file first."""

    def __post_init__(self) -> None:
        unique = {row.format: row for row in self.rows}.values()
        ordered = sorted(unique, key=lambda row: (-row.measured.size, row.format))
        object.__setattr__(self, "rows", tuple(ordered))

    @property
    def figures(self) -> dict[str, Measured]:
        """Format → what was measured."""
        return {row.format: row.measured for row in self.rows}

    @property
    def table(self) -> dict[str, Measured]:
        """The same under a row for the original, unless that is one of the files."""
        original = self.original
        if original is None or original.reference is None or original.reference in self.figures:
            return self.figures
        return {f"{original.reference}, the original": original, **self.figures}


def card_path(folder: Path, id: str) -> Path:
    """Where the card of a model is kept, beside its files."""
    return folder / f"{id}.card.json"


def read(path: Path) -> Card | None:
    """A saved card, None if there is none; ConfigError if it is broken."""
    try:
        return TypeAdapter(Card).validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"card {path} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = "".join(f"{part}: " for part in first["loc"])
        raise ConfigError(f"card {path} is broken: {where}{first['msg']}; remove it and quantize again") from None


def merge(old: Card | None, new: Card) -> Card:
    """The new card with what still holds of the old one.

    Rows of another original are dropped. Within a card everything can be compared, so that old rows which were measured
    on another text, or against another reference, keep their sizes and speeds alone.
    """
    if old is None or (old.source, old.base) != (new.source, new.base):
        return new
    return replace(
        new,
        original=new.original or old.original,
        rows=(*_comparable(old.rows, [row.measured for row in new.rows]), *new.rows),
    )


def save(card: Card, folder: Path) -> Path:
    """Write ID.card.json, .svg and .md into the folder; returns the last, which shows the plot."""
    path = card_path(folder, card.id)
    # What took long to measure is safe before anything else can fail.
    atomic.write(path, TypeAdapter(Card).dump_json(card, indent=2) + b"\n")
    picture, text = path.with_suffix(".svg"), path.with_suffix(".md")
    if can_plot(card.figures):
        plot(card.id, card.figures, picture)
    else:
        picture.unlink(missing_ok=True)
    atomic.write(text, to_markdown(card).encode())
    return text


def to_markdown(card: Card) -> str:
    """The card for people: what the model was made of and how, and a table and plot of what that costs."""
    picture = card_path(Path(), card.id).with_suffix(".svg").name
    parts = [
        f"# {card.id}: measured quants",
        f"Made of {_original(card)} by localchat {card.localchat}, last on {card.made}:",
        _fenced("sh", list(_commands(card))),
        *([f"![{card.id}: size against mean KL divergence]({picture})"] if can_plot(card.figures) else []),
        figures.to_markdown(card.table).rstrip(),
        "\\\n".join(_notes(card)),
        "\n".join(f"- **{column.title}**: {column.meaning}" for column in figures.columns(card.table)),
        "The files, for `sha256sum -c`:",
        _fenced("", [f"{row.sha256}  {row.file}" for row in card.rows]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _comparable(old: Iterable[Row], new: list[Measured]) -> Iterator[Row]:
    texts = {(one.text, one.tokens) for one in new if one.text is not None}
    references = {one.reference for one in new if one.reference is not None}
    for row in old:
        own = row.measured
        other_text = own.text is not None and texts and (own.text, own.tokens) not in texts
        other_reference = own.reference is not None and references and own.reference not in references
        if other_text or other_reference:
            own = own.model_copy(update=dict.fromkeys(_COMPARED))
        yield replace(row, measured=own)


def _original(card: Card) -> str:
    return f"`{card.source}`" + (f", which is a difference to `{card.base}`," if card.base else "")


def _commands(card: Card) -> Iterator[str]:
    """What makes these files again."""
    for by_importance in (False, True):
        rows = [row for row in card.rows if row.measured.imatrix == by_importance]
        if rows:
            yield _command(card, rows, ["--importance"] if by_importance else [])


def _command(card: Card, rows: list[Row], options: list[str]) -> str:
    on_hub = "/" in card.source  # a folder or file is told by its name alone
    words = ["localchat", "quantize", f"hf:{card.source}" if on_hub else card.source]
    # What it is called unless a name is given.
    if card.id != card.source.partition("@")[0].rpartition("/")[2].removesuffix(".gguf").partition(":")[0]:
        words += ["--name", card.id]
    if card.base:
        words += ["--base", card.base]
    for row in rows:
        words += ["--to", row.format]
    if any(row.requantized_from for row in rows):
        words.append("--requantize")
    return shlex.join(words + options)


def _notes(card: Card) -> Iterator[str]:
    measured = [row.measured for row in card.rows]
    if scored := next((one for one in measured if one.text), None):
        tokens = f"{scored.tokens:,} tokens of " if scored.tokens else ""
        reference = next((f", compared with {one.reference}" for one in measured if one.reference), "")
        yield f"Scored on {tokens}`{scored.text}`{reference}."
    machines = _grouped((row.format, _machine(row.measured)) for row in card.rows)
    for machine, formats in machines.items():
        yield f"Speeds and memory on {machine}{f': {formats}' if len(machines) > 1 else ''}."
    for _, formats in _grouped((row.format, "yes" if row.measured.imatrix else "") for row in card.rows).items():
        yield f"Quantized by an importance matrix: {formats}."
    for first, formats in _grouped((row.format, row.requantized_from or "") for row in card.rows).items():
        yield f"Made of {first}, which had lost something already: {formats}."


def _machine(measured: Measured) -> str:
    if not (measured.prompt_speed or measured.decode_speed or measured.peak_rss):
        return ""
    threads = {None: "", 1: ", 1 thread"}.get(measured.threads, f", {measured.threads} threads")
    return f"{measured.machine or 'a machine without a name'}{threads}"


def _grouped(said: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What is said → the formats it is said of; nothing is no word."""
    groups: dict[str, list[str]] = {}
    for format, text in said:
        if text:
            groups.setdefault(text, []).append(format)
    return {text: ", ".join(formats) for text, formats in groups.items()}


def _fenced(language: str, lines: list[str]) -> str:
    return "\n".join([f"```{language}", *lines, "```"])
