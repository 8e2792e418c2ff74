"""Refuses what is no text, by its name and place, until a model takes it."""

from __future__ import annotations

from typing import Any

from pydantic_core import PydanticCustomError

MEDIA = frozenset(
    ["image_url", "input_image", "input_audio", "output_audio", "file", "input_file", "video_url", "input_video"]
)
ERROR = "unsupported_part"
"""By which `api.errors` knows it; the error's context holds the part's index."""


def refuse_media(content: Any) -> Any:
    """Content as it is, unless a part of it is no text. For validators that run before any other."""
    for index, part in enumerate(content if isinstance(content, list) else []):
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(kind, str) and kind in MEDIA:
            raise PydanticCustomError(
                ERROR, "{kind} parts are not supported; send text", {"kind": kind, "index": index}
            )
    return content
