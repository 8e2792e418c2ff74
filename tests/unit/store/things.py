"""Objects to keep."""

from __future__ import annotations

from typing import Any

from localchat.store import Kind, NewObject


def item(id: str, text: str = "") -> dict[str, Any]:
    return {"id": id, "type": "message", "text": text}


def thing(id: str, *, inputs: tuple[str, ...] = (), outputs: tuple[str, ...] = (), **fields: Any) -> NewObject:
    """An object whose items are named."""
    kind: Kind = fields.pop("kind", "response")
    return NewObject(
        id=id,
        kind=kind,
        model=fields.pop("model", "m"),
        created=fields.pop("created", 1000),
        body=fields.pop("body", {"id": id}),
        inputs=[item(name) for name in inputs],
        outputs=[item(name) for name in outputs],
        **fields,
    )
