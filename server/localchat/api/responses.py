"""The responses that the OpenAPI document lists besides the plain one."""

from __future__ import annotations

from typing import Any

from localchat.api.schemas.replies import ErrorReply

_MEANINGS = {
    400: "The request is at fault; the error names the field.",
    401: "The key is missing or wrong.",
    403: "The Host header or the model's license stands in the way; the error says which.",
    404: "No such model; the error names those that are served.",
    413: "The body is over the limit.",
    500: "The model's process failed, or localchat has a bug.",
    502: "The model could not be downloaded.",
    503: "Not now; see the Retry-After header.",
    507: "The model needs more memory than all models may take.",
}


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These errors, for the OpenAPI document."""
    return {status: {"model": ErrorReply, "description": _MEANINGS[status]} for status in statuses}


GENERATION_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "The reply, or the stream."},
    **error_responses(400, 403, 404, 413, 500, 502, 503, 507),
}

GUARD_RESPONSES = error_responses(400, 401, 403, 413, 500)
"""What may become of any request, whatever its route."""

READY_RESPONSES: dict[int | str, dict[str, Any]] = {503: {"description": "A model is still loading, or has failed."}}
