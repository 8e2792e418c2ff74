"""`localchat quantize`."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

from localchat.hardware import probe
from localchat.hub.progress import TerminalProgress
from localchat.registry import load_registry
from localchat.settings import load_settings, user_registry


def command(
    source: Annotated[
        str,
        typer.Argument(
            help="Registry id, ID:QUANT, hf:owner/repo, folder of a Hugging Face checkpoint, or a GGUF file."
        ),
    ],
    to: Annotated[list[str], typer.Option(help="Format by llama.cpp's name, as in Q4_K_M; give it again for more.")],
    name: Annotated[str | None, typer.Option(help="The model's id; the source's name where absent.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder to write to; where `serve --model NAME` looks if absent.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Checkpoint that the source is a difference to: a folder, or owner/repo.")
    ] = None,
    type: Annotated[
        str, typer.Option(help="F16, BF16 or F32: what a checkpoint is converted to, and compared with.")
    ] = "F16",
    imatrix: Annotated[Path | None, typer.Option(help="Importance matrix; gathered where a format needs one.")] = None,
    importance: Annotated[
        bool, typer.Option("--importance", help="Gather an importance matrix for all formats.")
    ] = False,
    requantize: Annotated[bool, typer.Option("--requantize", help="Allow a source that is quantized already.")] = False,
    measure: Annotated[bool, typer.Option(help="Compare what is made with the original, and time it.")] = True,
    text: Annotated[Path | None, typer.Option(help="Text to measure by, instead of the one that comes along.")] = None,
    register: Annotated[bool, typer.Option("--register", help="Add the entry to your own registry.")] = False,
    registry: Annotated[Path | None, typer.Option(help="Registry file that adds to the packaged one.")] = None,
) -> None:
    """Turn a checkpoint, or a GGUF file, into GGUF files of other formats, and measure them."""
    from localchat_quantize.entry import register as add  # noqa: PLC0415 - the engine's library loads slowly
    from localchat_quantize.origin import find_origin  # noqa: PLC0415
    from localchat_quantize.pipeline import Job, run  # noqa: PLC0415
    from localchat_quantize.products import note  # noqa: PLC0415

    progress, settings = InterruptibleProgress(), load_settings(registry=registry)
    for kind in (signal.SIGTERM, signal.SIGINT):  # a polite end clears away what is half done
        signal.signal(kind, progress.interrupt)
    origin = find_origin(source, base, name, load_registry(settings.registry), settings.models_dir, progress)
    folder = output or settings.models_dir / origin.name
    job = Job(
        source=origin.path,
        name=origin.name,
        targets=[format.upper() for format in to],
        output=folder,
        threads=probe().cores,
        type=type.upper(),
        base=origin.base,
        importance=imatrix,
        gather=importance,
        requantize=requantize,
        measure=measure,
        text=text,
    )
    products = run(job, progress)
    noted = note(origin, products, folder, settings.models_dir, progress)
    for product in products:
        typer.echo(product.path)
    typer.echo(folder / f"{origin.name}.card.md")
    if register:
        add(noted.entry, user_registry())
        typer.echo(f"added to {user_registry()}: localchat serve --model {origin.name}:{products[0].format}")
    else:
        typer.echo(f"\n# for a registry of yours; --register adds it\n{noted.entry}")


class InterruptibleProgress(TerminalProgress):
    """Ends the command on a signal, or soon after: nothing can be raised through llama.cpp while it calls back."""

    _is_interrupted = False

    def interrupt(self, _signal: int, _frame: object) -> None:
        """What a signal calls."""
        self._is_interrupted = True
        raise KeyboardInterrupt

    def start(self, label: str, total: int | None) -> None:
        """Begin a phase, unless all is to end."""
        self._end_if_interrupted()
        super().start(label, total)

    def update(self, done: int) -> None:
        """Go on, unless all is to end."""
        self._end_if_interrupted()
        super().update(done)

    def _end_if_interrupted(self) -> None:
        if self._is_interrupted:
            raise KeyboardInterrupt


def main() -> None:
    """`localchat-quantize` is `localchat quantize`."""
    import sys  # noqa: PLC0415

    from localchat.cli.app import main as localchat  # noqa: PLC0415

    localchat(["quantize", *sys.argv[1:]])
