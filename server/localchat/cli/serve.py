"""`localchat serve`."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Coroutine
from typing import Any

from localchat.cli.flags import with_settings
from localchat.settings import Settings


@with_settings(list(Settings.model_fields))
def command(settings: Settings) -> None:
    """Serve models over an OpenAI-compatible HTTP API."""
    # A web framework takes a third of a second to import; a mistyped flag should not wait for it.
    from localchat.api.app import create_app  # noqa: PLC0415
    from localchat.api.server import Server, bind, check_exposure  # noqa: PLC0415
    from localchat.cli.prepare import describe, prepare_models, set_up_logging  # noqa: PLC0415
    from localchat.store import open_store  # noqa: PLC0415

    set_up_logging(settings.log_level)
    check_exposure(settings)
    sock = bind(settings)
    store = open_store(settings)
    launches, pool = prepare_models(settings)
    server = Server(create_app(pool, settings, store), pool, settings)
    host, port = sock.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    models = [line for launch in launches for line in describe(launch)]
    lines = [*models, f"API       http://{shown}:{port}/v1 (try /docs); Ctrl-C stops"]
    sys.stderr.write("".join(f"  {line}\n" for line in lines))
    gc.freeze()  # all that is there stays, and every full collection would look through it again while streams wait
    try:
        run(server.serve(sockets=[sock]))
    except KeyboardInterrupt:
        sys.stderr.write("  stopped\n")


def run(main: Coroutine[Any, Any, Any]) -> None:
    """Run a coroutine on the fastest loop there is."""
    try:
        import uvloop  # noqa: PLC0415 - there is none on Windows
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)
