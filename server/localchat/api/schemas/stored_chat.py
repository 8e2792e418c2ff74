"""Kept chat completions, as they are sent."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from localchat.api.schemas.replies import ChatReply


class StoredChatReply(ChatReply):
    """A kept chat completion."""

    metadata: dict[str, str]


class StoredChatList(BaseModel):
    """A part of a list of them."""

    object: Literal["list"] = "list"
    data: list[StoredChatReply]
    first_id: str | None
    last_id: str | None
    has_more: bool
