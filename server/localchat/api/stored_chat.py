"""What is kept of a chat completion: the answer, and the messages that it answers."""

from __future__ import annotations

from typing import Any

from localchat.api.schemas.chat import ChatRequest, Turn
from localchat.store import Found, NewObject, Store

Json = dict[str, Any]


async def keep_chat(store: Store, owner: str, body: ChatRequest, reply: Json) -> None:
    """Keep an answer. Raises StoreError."""
    id = reply["id"]
    new = NewObject(
        id=id,
        kind="chat.completion",
        model=reply["model"],
        created=reply["created"],
        body=reply,
        inputs=[_message(f"{id}-{number}", turn) for number, turn in enumerate(body.messages)],
        metadata=body.metadata or {},
    )
    await store.put(owner, new)


def kept_chat(found: Found) -> Json:
    """A kept answer, and its metadata."""
    return {**found.body, "metadata": found.metadata}


def _message(id: str, turn: Turn) -> Json:
    parts = turn.content if isinstance(turn.content, list) else None
    return {
        **turn.model_dump(exclude_none=True),
        "id": id,
        "content": turn.text,
        "content_parts": parts and [part.model_dump(exclude_none=True) for part in parts],
    }
