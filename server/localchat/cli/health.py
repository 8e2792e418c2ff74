"""`localchat health`."""

from __future__ import annotations

import http.client
import os
import sys
from typing import Annotated
from urllib.parse import urlsplit

import typer


def command(
    url: Annotated[str | None, typer.Option(help="The server; the default follows LOCALCHAT_PORT.")] = None,
    ready: Annotated[
        bool, typer.Option("--ready", help="Ask whether it can answer, not only whether it lives.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait.")] = 3.0,
) -> None:
    """Ask a running server whether it is alive; the exit code tells."""
    address = urlsplit(url or f"http://127.0.0.1:{os.environ.get('LOCALCHAT_PORT', '8000')}")
    try:
        port = address.port or 80
    except ValueError:  # not a number, or none that a port can have
        port = 0
    if address.scheme != "http" or not address.hostname or not port:
        raise typer.BadParameter(f"{address.geturl()} is not an http:// address", param_hint="--url")
    path = "/ready" if ready else "/health"
    connection = http.client.HTTPConnection(address.hostname, port, timeout=timeout)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        sys.stderr.write(f"localchat: no answer from {address.geturl()}: {error}\n")
        raise typer.Exit(1) from None
    finally:
        connection.close()
    if status != 200:
        sys.stderr.write(f"localchat: {address.geturl()}{path} answers {status}\n")
        raise typer.Exit(1)
    typer.echo("ok")
