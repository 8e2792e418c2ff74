"""The `localchat` command. Only the command that is called is imported: `--help` must not wait for a web framework."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer

from localchat import __version__
from localchat.errors import LocalchatError

COMMANDS: dict[str, tuple[str, str]] = {
    "serve": ("localchat.cli.serve", "Serve a model over an OpenAI-compatible HTTP API."),
    "chat": ("localchat.cli.chat", "Talk to a model in the terminal."),
    "fit": ("localchat.cli.fit", "Show which models, or which quants of one, fit on this machine."),
    "list": ("localchat.cli.list", "List the models that localchat knows."),
    "show": ("localchat.cli.show", "Show everything that is known of a model, its license first."),
    "pull": ("localchat.cli.pull", "Fetch models, and check them."),
    "verify": ("localchat.cli.verify", "Check installed files: their hash, and the structure of their header."),
    "rm": ("localchat.cli.rm", "Remove installed models."),
    "du": ("localchat.cli.du", "Show what is installed, how large it is, and where."),
    "doctor": ("localchat.cli.doctor", "Check that an installed model is prompted as its authors meant."),
    "health": ("localchat.cli.health", "Ask a running server whether it is alive; the exit code tells."),
    "bench": ("localchat.cli.bench", "Measure how fast a model reads prompts and writes on this machine."),
    "tune": ("localchat.cli.tune", "Find the settings with which a model runs fastest here; `serve` uses them."),
    "quantize": ("localchat.cli.quantize", "Turn a checkpoint, or a GGUF file, into GGUF files of other formats."),
    "pick": ("localchat.cli.pick", "Choose a quant by what was measured of it."),
}
"""Name → module that holds it as `command`, and what it does."""


def build(chosen: str | None) -> typer.Typer:
    """The application, with stand-ins for the commands that were not chosen."""
    app = typer.Typer(
        name="localchat",
        help="Open chat models on your own hardware, behind the OpenAI API.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
    for name, (module, help) in COMMANDS.items():
        command: Callable[..., Any] = importlib.import_module(module).command if name == chosen else _stand_in
        app.command(name, help=help)(command)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; an error that localchat raised on purpose is one line and exit code 1."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    chosen = next((argument for argument in argv if not argument.startswith("-")), None)
    try:
        build(chosen)(argv)
    except LocalchatError as error:
        sys.stderr.write(f"localchat: {error}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `localchat list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"localchat {__version__}")
        raise typer.Exit


def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def _stand_in() -> None:
    raise AssertionError("only the chosen command runs")
