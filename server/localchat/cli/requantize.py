"""`localchat requantize`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    source: Annotated[Path, typer.Argument(help="The GGUF file.", metavar="FILE.gguf")],
    to: Annotated[str, typer.Option(help="Format by llama.cpp's name, as in Q4_0 or Q8_0.")],
    output: Annotated[Path | None, typer.Option(help="File to write; beside the source where absent.")] = None,
) -> None:
    """Turn a GGUF file into one of another format."""
    # The engine's library loads slowly; no other command needs it in this process.
    from localchat_quantize.requantize import requantize  # noqa: PLC0415

    typer.echo(requantize(source, to.upper(), output))
