"""Every error as OpenAI's body: one table from the exception tree to HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from localchat import errors as e
from localchat.api.schemas import media
from localchat.api.schemas.items import ITEM_KINDS, PART_KINDS

TABLE: dict[type[e.LocalchatError], tuple[int, str, str | None]] = {
    e.LocalchatError: (500, "server_error", "internal_error"),
    e.RequestError: (400, "invalid_request_error", None),
    e.InvalidRequest: (400, "invalid_request_error", "invalid_value"),
    e.UnsupportedField: (400, "invalid_request_error", "unsupported_parameter"),
    e.ContextLengthExceeded: (400, "invalid_request_error", "context_length_exceeded"),
    e.PreviousResponseNotFound: (400, "invalid_request_error", "previous_response_not_found"),
    e.InvalidApiKey: (401, "invalid_request_error", "invalid_api_key"),
    e.HostNotAllowed: (403, "invalid_request_error", "host_not_allowed"),
    e.NotFound: (404, "invalid_request_error", "not_found"),
    e.ModelNotFound: (404, "invalid_request_error", "model_not_found"),
    e.UnsupportedModel: (400, "invalid_request_error", "unsupported_model"),
    e.LicenseForbids: (403, "invalid_request_error", "license_forbids"),
    e.BodyTooLarge: (413, "invalid_request_error", "body_too_large"),
    e.TemplateError: (400, "invalid_request_error", "template_error"),
    e.StoreError: (500, "server_error", "store_error"),
    e.Overloaded: (503, "overloaded_error", "overloaded"),
    e.QueueFull: (503, "overloaded_error", "queue_full"),
    e.ModelLoading: (503, "overloaded_error", "model_loading"),
    e.ShuttingDown: (503, "overloaded_error", "shutting_down"),
    e.EngineError: (500, "server_error", "engine_error"),
    e.WorkerDied: (500, "server_error", "worker_died"),
    e.WeightsError: (500, "server_error", "weights_error"),
    e.FetchFailed: (502, "server_error", "fetch_failed"),
    e.DoesNotFit: (507, "server_error", "does_not_fit"),
}
"""Exception → status, OpenAI's error type, code. A class that is not here takes its nearest ancestor's row."""


def describe(error: e.LocalchatError) -> tuple[int, dict[str, Any]]:
    """Status and body of an error."""
    status, kind, code = next(TABLE[cls] for cls in type(error).__mro__ if cls in TABLE)
    return status, body(error.message, kind, error.param, code)


def body(message: str, kind: str, param: str | None, code: str | None) -> dict[str, Any]:
    """OpenAI's error object."""
    # Messages quote what came in, and JSON can spell half of a surrogate pair, which UTF-8 cannot.
    whole = message.encode("utf-8", "backslashreplace").decode()
    param = param and param.encode("utf-8", "backslashreplace").decode()
    return {"error": {"message": whole, "type": kind, "param": param, "code": code}}


def response(error: e.LocalchatError) -> Response:
    """An error as an HTTP response."""
    status, content = describe(error)
    headers = {"retry-after": str(error.retry_after)} if isinstance(error, e.Overloaded) else {}
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return _json(status, content, headers)


def add_handlers(app: FastAPI) -> None:
    """Make every way to fail end in OpenAI's shape."""

    async def on_localchat_error(_request: Request, error: Exception) -> Response:
        assert isinstance(error, e.LocalchatError)
        return response(error)

    async def on_validation_error(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return response(explain(error.errors()))

    async def on_http_exception(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if isinstance(error.__cause__, e.LocalchatError):  # raised while FastAPI read the body
            return response(error.__cause__)
        if isinstance(error.__cause__, UnicodeDecodeError):
            return response(e.InvalidRequest("the body is not valid JSON: it is not UTF-8"))
        if error.status_code == 404:
            return response(e.NotFound(f"there is no {request.method} {request.url.path} here; see /docs"))
        message, code = str(error.detail), HTTPStatus(error.status_code).name.lower()
        if error.status_code == 405:
            message = f"{request.method} is not a method of {request.url.path}; see /docs"
        content = body(message, "invalid_request_error", None, code)
        return _json(error.status_code, content, dict(error.headers or {}))

    app.add_exception_handler(e.LocalchatError, on_localchat_error)
    app.add_exception_handler(RequestValidationError, on_validation_error)
    app.add_exception_handler(HTTPException, on_http_exception)


def explain(errors: Sequence[Any]) -> e.InvalidRequest:
    """The first of pydantic's errors, as one sentence that names the field."""
    # A union complains once for each of its members; the one that got deepest understood most.
    first = max(errors, key=lambda error: len(error["loc"]))
    path = _path(first["loc"])
    match first["type"]:
        case "json_invalid":
            reason = first.get("ctx", {}).get("error", "it cannot be read")
            return e.InvalidRequest(f"the body is not valid JSON: {reason}")
        case "missing" if not path:
            return e.InvalidRequest("the body is empty; send a JSON object with Content-Type: application/json")
        case "missing":
            return e.InvalidRequest(f"{path} is missing", param=path)
        case "extra_forbidden":
            return e.UnsupportedField(f"{path} is not a field of this request; see docs/api.md", param=path)
        case media.ERROR:
            place = f"{path}[{first['ctx']['index']}]"
            return e.UnsupportedField(f"{place}: {first['msg']}", param=place)
        case "model_attributes_type" | "dict_type" if not path:
            return e.InvalidRequest("the body must be a JSON object, sent with Content-Type: application/json")
        case _:
            message = str(first["msg"]).removeprefix("Value error, ")
            where = path or "the body"
            return e.InvalidRequest(f"{where}: {message[:1].lower()}{message[1:]}{_shown(first)}", param=path or None)


def _path(location: Sequence[int | str]) -> str:
    """`messages[0].content` for a place in the body; the names of a union's members are left out."""
    path, tags = "", frozenset[str]()
    for place, part in enumerate(location[1:], 2):
        if isinstance(part, int):
            path += f"[{part}]"
        elif part in tags and place < len(location):
            tags = frozenset()
        elif "[" not in part and part not in _TYPES:
            path, tags = f"{path}.{part}" if path else part, _TAGS.get(part, frozenset())
    return path


_FORMATS = frozenset(["text", "json_object", "json_schema"])
_TAGS = {
    "messages": frozenset(["system", "developer", "user", "assistant", "tool", "function"]),
    "content": frozenset(["text", *PART_KINDS]),
    "input": frozenset(ITEM_KINDS),
    "format": _FORMATS,
    "response_format": _FORMATS,
}
"""Field → what tells the members of its union apart, and stands behind it or its index."""

_TYPES = frozenset(["str", "int", "float", "bool"])


def _shown(error: Any) -> str:
    value = error.get("input")
    return f", not {value!r}" if isinstance(value, str | int | float | bool) and len(repr(value)) < 80 else ""


def _json(status: int, content: dict[str, Any], headers: dict[str, str]) -> Response:
    return Response(msgspec.json.encode(content), status, headers, media_type="application/json")
