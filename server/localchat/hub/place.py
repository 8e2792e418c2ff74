"""What the place of an installed file says of it, by the kind of its source."""

from __future__ import annotations

from pathlib import Path

from localchat.registry import Choice


def content_of(choice: Choice, path: Path) -> Path:
    """The file that holds the content, where `path` may be a link."""
    if choice.quant.source.kind != "hf":
        return path
    from localchat.hub import cache  # noqa: PLC0415 - the Hub's library loads slowly

    return cache.blob_of(path)


def claimed_sha256(choice: Choice, path: Path) -> str | None:
    """The SHA-256 that the file's name promises."""
    if choice.quant.source.kind != "hf":
        return None
    from localchat.hub import cache  # noqa: PLC0415 - the Hub's library loads slowly

    return cache.claimed_sha256(path)


def commit_of(choice: Choice, path: Path) -> str | None:
    """The commit that the file belongs to."""
    if choice.quant.source.kind != "hf":
        return None
    from localchat.hub import cache  # noqa: PLC0415 - the Hub's library loads slowly

    return cache.commit_of(path)
