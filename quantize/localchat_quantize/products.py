"""What is noted of files that were made: their hash, a card beside them, an entry for the registry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from localchat import __version__
from localchat.hardware import read_header
from localchat.hub import ledger
from localchat.hub.checksum import Digest, digest_of
from localchat.hub.progress import Progress, phase
from localchat.registry import Choice, ModelSpec
from localchat.registry.spec import Measured
from localchat_quantize import card
from localchat_quantize.card import Card, Row
from localchat_quantize.entry import entry, quant_of
from localchat_quantize.measuring import bits_per_weight
from localchat_quantize.origin import Origin
from localchat_quantize.pipeline import Product


@dataclass(frozen=True)
class Noted:
    """The card of all files of this model in this folder, and the registry entry of TOML that tells of them."""

    card: Card
    entry: str


def note(origin: Origin, products: Sequence[Product], folder: Path, models_dir: Path, progress: Progress) -> Noted:
    """Write hashes into the ledger where `serve` would look for them, and the card. Raises ConfigError."""
    rows = []
    for product in products:
        digest = _digest(product.path, progress)
        rows.append(_row(product, digest))
        if product.path.parent.resolve() == (models_dir / origin.name).resolve():
            ledger.write(_choice(origin, rows[-1], folder), models_dir, product.path, digest, None)
    made = datetime.now(timezone.utc).date().isoformat()
    new = Card(
        id=origin.name,
        source=origin.label,
        base=origin.base_label,
        made=made,
        localchat=__version__,
        original=products[0].original,
        rows=tuple(rows),
    )
    merged = card.merge(card.read(card.card_path(folder, origin.name)), new)
    card.save(merged, folder)
    return Noted(merged, entry(merged, origin.spec, folder))


def _digest(path: Path, progress: Progress) -> Digest:
    with phase(progress, f"{path.name}: hashing", path.stat().st_size):
        return digest_of(path, progress)


def _row(product: Product, digest: Digest) -> Row:
    return Row(
        format=product.format,
        file=product.path.name,
        sha256=digest.sha256,
        measured=product.measured or _weighed(product.path),
        requantized_from=product.requantized_from,
    )


def _choice(origin: Origin, row: Row, folder: Path) -> Choice:
    quant = quant_of(origin.spec, row, folder)
    return Choice(origin.spec or ModelSpec(id=origin.name, title=origin.name, quant=(quant,)), quant)


def _weighed(path: Path) -> Measured:
    """What can be told without loading it."""
    header = read_header(path)
    return Measured(size=header.file_size, bits_per_weight=bits_per_weight(header))
