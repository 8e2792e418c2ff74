"""What every request passes before a route sees it: Host, key, size. And the id every response carries."""

from __future__ import annotations

import ipaddress
import logging
import secrets
import socket
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from localchat.api import errors
from localchat.api.keys import Caller, Keys
from localchat.errors import BodyTooLarge, HostNotAllowed, InvalidApiKey, LocalchatError

log = logging.getLogger(__name__)

OPEN_PATHS = frozenset(["/health", "/ready", "/docs", "/openapi.json"])
"""Paths that need no key: they tell nothing about anybody's prompts."""


class Guard:
    """ASGI middleware; plain, since Starlette's base class would copy every streamed chunk."""

    def __init__(self, app: ASGIApp, *, keys: Keys, allowed_hosts: list[str], max_body: int) -> None:
        self._app = app
        self._keys = keys
        self._hosts = {"localhost", socket.gethostname().lower(), f"{socket.gethostname().lower()}.local"}
        self._hosts.update(host.lower() for host in allowed_hosts)
        # A page that rebinds its name to this machine has no key, so with one any name is fine.
        self._any_host = bool(keys) or "*" in allowed_hosts
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = headers.get("x-request-id") or f"req_{secrets.token_hex(12)}"

        has_started = False

        async def send_with_id(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                MutableHeaders(scope=message)["x-request-id"] = request_id[:200]
            await send(message)

        try:
            self._check_host(headers.get("host", ""))
            if self._keys and not _is_open(scope["path"]):
                scope.setdefault("state", {})["caller"] = self._caller(headers.get("authorization", ""))
            await self._app(scope, self._limited(receive, headers), send_with_id)
        except LocalchatError as error:
            await errors.response(error)(scope, receive, send_with_id)
        except Exception:
            if has_started:
                raise
            # Answered here and not by Starlette, after whose answer uvicorn would cut the connection.
            log.exception("a bug in localchat met request %s", request_id[:200])
            bug = LocalchatError("localchat has a bug, and this request met it; its log says more")
            await errors.response(bug)(scope, receive, send_with_id)

    def _check_host(self, host: str) -> None:
        name = _hostname(host)
        if self._any_host or name in self._hosts or _is_address(name):
            return
        raise HostNotAllowed(f"the Host header says {host!r}; if that is this machine, add it to --allowed-hosts")

    def _caller(self, authorization: str) -> Caller:
        scheme, _, token = authorization.partition(" ")
        caller = self._keys.caller(token.strip()) if scheme.lower() == "bearer" else None
        if caller is None:
            raise InvalidApiKey("send the server's API key as Authorization: Bearer KEY")
        return caller

    def _limited(self, receive: Receive, headers: Headers) -> Receive:
        """`receive` that stops at the limit, whatever the Content-Length claimed."""
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > self._max_body:
            raise BodyTooLarge(f"the body has {length} bytes; {self._max_body} are allowed (--max-body-mb)")
        seen = 0

        async def limited() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max_body:
                raise BodyTooLarge(f"the body has more than the {self._max_body} bytes allowed (--max-body-mb)")
            return message

        return limited


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith("/docs/")


def _hostname(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    """Whether a host is a bare IP address, which no name server can point elsewhere."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
