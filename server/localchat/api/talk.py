"""What a response answers: the conversation so far, as items to list and as messages for the template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from localchat.api.schemas.items import ItemReference, kind_and_text, new_id
from localchat.api.schemas.responses import TalkFields
from localchat.chat.messages import Message, Role
from localchat.errors import InvalidRequest, NotFound, PreviousResponseNotFound
from localchat.store import Store

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Talk:
    """The items that a request adds, and the whole conversation."""

    items: list[Json]
    messages: list[Message]


async def read_talk(body: TalkFields, store: Store | None, owner: str) -> Talk:
    """The conversation of a request. Raises InvalidRequest, NotFound, StoreError."""
    previous = body.previous_response_id
    earlier = [] if previous is None else await _earlier(previous, store, owner)
    items = await _items(body, store, owner)
    messages = to_messages([*earlier, *items])
    if body.instructions:
        messages.insert(0, Message(role="system", content=body.instructions))
    return Talk(items, messages)


def to_messages(items: Sequence[Json]) -> list[Message]:
    """Items as turns: calls belong to the turn in which the model made them. Raises InvalidRequest."""
    messages: list[Message] = []
    calls: set[str] = set()
    thoughts: str | None = None
    for item in items:
        match item["type"]:
            case "reasoning":
                thoughts = _text(item["content"]) or None
            case "message":
                role: Role = "system" if item["role"] == "developer" else item["role"]
                before, thoughts = (thoughts, None) if role == "assistant" else (None, thoughts)
                messages.append(Message(role=role, content=_text(item["content"]), reasoning=before))
            case "function_call":
                calls.add(item["call_id"])
                _add_call(messages, item, thoughts)
                thoughts = None
            case "function_call_output":
                if item["call_id"] not in calls:
                    raise InvalidRequest(f"input: no function_call has call_id {item['call_id']!r}", param="input")
                output = item["output"]
                text = output if isinstance(output, str) else _text(output)
                messages.append(Message(role="tool", content=text, tool_call_id=item["call_id"]))
    if not messages:
        raise InvalidRequest("input has no message", param="input")
    return messages


def _add_call(messages: list[Message], item: Json, thoughts: str | None) -> None:
    function = {"name": item["name"], "arguments": item["arguments"]}
    call = {"id": item["call_id"], "type": "function", "function": function}
    if messages and messages[-1].role == "assistant" and thoughts is None:
        messages[-1] = replace(messages[-1], tool_calls=(*messages[-1].tool_calls, call))
    else:
        messages.append(Message(role="assistant", content="", tool_calls=(call,), reasoning=thoughts))


def _text(parts: Sequence[Json]) -> str:
    return "".join(part["refusal"] if part["type"] == "refusal" else part["text"] for part in parts)


async def _earlier(id: str, store: Store | None, owner: str) -> list[Json]:
    param = "previous_response_id"
    if store is None:
        raise PreviousResponseNotFound(
            "the server keeps no responses (--store off): send all of the input", param=param
        )
    items, missing = await store.chain(owner, id)
    if missing == id:
        raise PreviousResponseNotFound(f"there is no response {id!r}", param=param)
    if missing is not None:
        raise PreviousResponseNotFound(f"{id} goes on from {missing!r}, which is not kept any more", param=param)
    found = await store.get(owner, "response", id)
    status = found.body["status"] if found else "gone"
    if status not in ("completed", "incomplete", "cancelled"):
        raise InvalidRequest(f"{id} is {status}: only what has ended can be gone on from", param=param)
    return items


async def _items(body: TalkFields, store: Store | None, owner: str) -> list[Json]:
    if isinstance(body.input, str):
        return [_user_message(body.input)]
    items = []
    for item in body.input:
        items.append(await _referred(item.id, store, owner) if isinstance(item, ItemReference) else item.to_item())
    return items


async def _referred(id: str, store: Store | None, owner: str) -> Json:
    found = await store.item(owner, id) if store else None
    if found is None:
        raise NotFound(f"item_reference: there is no item {id!r}", param="input")
    return found


def _user_message(text: str) -> Json:
    return {
        "id": new_id("msg"),
        "type": "message",
        "role": "user",
        "status": "completed",
        "content": [kind_and_text("input_text", text)],
    }
