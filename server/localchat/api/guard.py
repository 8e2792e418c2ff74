"""What every request passes before a route sees it: Host, key, size. And the id every response carries."""

from __future__ import annotations

import hmac
import ipaddress
import logging
import secrets
import socket
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from localchat.api import errors
from localchat.errors import BodyTooLarge, HostNotAllowed, InvalidApiKey, LocalchatError

log = logging.getLogger(__name__)

OPEN_PATHS = frozenset(["/health", "/ready", "/docs", "/openapi.json"])
"""Paths that need no key: they tell nothing about anybody's prompts."""


class Guard:
    """ASGI middleware; plain, since Starlette's base class would copy every streamed chunk."""

    def __init__(self, app: ASGIApp, *, api_key: str | None, allowed_hosts: list[str], max_body: int) -> None:
        self._app = app
        self._api_key = api_key
        self._hosts = {"localhost", socket.gethostname().lower(), f"{socket.gethostname().lower()}.local"}
        self._hosts.update(host.lower() for host in allowed_hosts)
        # A page that rebinds its name to this machine has no key, so with one any name is fine.
        self._any_host = api_key is not None or "*" in allowed_hosts
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
            self._check_key(scope["path"], headers.get("authorization", ""))
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

    def _check_key(self, path: str, authorization: str) -> None:
        if self._api_key is None or path in OPEN_PATHS or path.startswith("/docs/"):
            return
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), self._api_key.encode()):
            raise InvalidApiKey("send the server's API key as Authorization: Bearer KEY")

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
