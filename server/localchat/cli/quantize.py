"""`localchat quantize`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from localchat.hardware import probe
from localchat.hub.progress import TerminalProgress
from localchat.settings import load_settings


def command(
    source: Annotated[Path, typer.Argument(help="Folder of a Hugging Face checkpoint, or a GGUF file.")],
    to: Annotated[list[str], typer.Option(help="Format by llama.cpp's name, as in Q4_K_M; give it again for more.")],
    name: Annotated[str | None, typer.Option(help="The model's id; the source's name where absent.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder to write to; where `serve --model NAME` looks if absent.")
    ] = None,
    base: Annotated[Path | None, typer.Option(help="Checkpoint that the source is a difference to.")] = None,
    imatrix: Annotated[Path | None, typer.Option(help="Importance matrix; gathered where a format needs one.")] = None,
    requantize: Annotated[bool, typer.Option("--requantize", help="Allow a source that is quantized already.")] = False,
) -> None:
    """Turn a checkpoint, or a GGUF file, into GGUF files of other formats."""
    from localchat_quantize.pipeline import Job, run  # noqa: PLC0415 - the engine's library loads slowly

    id = name or (source.resolve().name if source.is_dir() else source.stem)
    job = Job(
        source=source,
        name=id,
        targets=[format.upper() for format in to],
        output=output or load_settings().models_dir / id,
        threads=probe().cores,
        base=base,
        importance=imatrix,
        requantize=requantize,
    )
    for path in run(job, TerminalProgress()):
        typer.echo(path)
