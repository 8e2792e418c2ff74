"""Runs the application: a socket that says clearly when it is taken, and a shutdown that lets streams end."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket

import uvicorn
from fastapi import FastAPI

from localchat.api.runs import Runs
from localchat.errors import ConfigError
from localchat.pool import ModelPool
from localchat.settings import Settings

log = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 120
"""Longer than the idle time of any client's connection pool, so that it is never the server who hangs up first."""
LAST_WORDS_SECONDS = 3
"""For clients to take the end of their streams once the models have ended; who has not by then is cut off."""
_POLL_SECONDS = 0.05


def check_exposure(settings: Settings) -> None:
    """Raises ConfigError when strangers could use the server."""
    if settings.asks_for_key or settings.insecure or _is_loopback(settings.host):
        return
    raise ConfigError(
        f"--host {settings.host} lets other machines in, and no API key is set: "
        "set LOCALCHAT_API_KEY (or --api-key), listen on 127.0.0.1, or accept the risk with --insecure"
    )


def bind(settings: Settings) -> socket.socket:
    """A listening socket. Raises ConfigError when the address cannot be had."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, proto)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen(2048)
        except OSError:
            sock.close()
            raise
    except OSError as error:
        hint = (
            "something listens there already; stop it, or choose another --port"
            if error.errno in (48, 98, 10048)
            else (error.strerror or str(error)).lower()
        )
        raise ConfigError(f"cannot listen on {settings.host}:{settings.port}: {hint}") from None
    sock.set_inheritable(False)
    return sock


class Server(uvicorn.Server):
    """uvicorn, with a bounded drain: on the first Ctrl-C running requests go on, new ones are refused."""

    def __init__(self, app: FastAPI, pool: ModelPool, settings: Settings) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="on",
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=LAST_WORDS_SECONDS,
                server_header=False,
                proxy_headers=False,
            )
        )
        self._pool = pool
        self._runs: Runs = app.state.runs
        self._drain_seconds = settings.drain_seconds

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let running requests end, for a while; then end their models, which ends them with an error event."""
        self._pool.refuse_new()
        for server in self.servers:
            server.close()
        if running := len(self.server_state.tasks) + len(self._runs):
            log.info("letting %d requests end; Ctrl-C again stops at once", running)
        await self._requests_end(self._drain_seconds, or_forced=True)
        await self._pool.close()
        await self._requests_end(LAST_WORDS_SECONDS, or_forced=False)
        if self.server_state.tasks:  # clients that stopped reading, or never finished asking
            for connection in list(self.server_state.connections):
                connection.transport.abort()
        await super().shutdown(sockets)

    async def _requests_end(self, seconds: float, *, or_forced: bool) -> None:
        """Wait until no request runs, or the time is over, or perhaps until Ctrl-C is pressed again."""
        waited = 0.0
        while (self.server_state.tasks or self._runs) and waited < seconds and not (or_forced and self.force_exit):
            await asyncio.sleep(_POLL_SECONDS)
            waited += _POLL_SECONDS


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
