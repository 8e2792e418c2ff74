"""`localchat chat`."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import sys
from collections.abc import Iterator
from typing import Annotated

import typer
from prompt_toolkit import PromptSession
from prompt_toolkit.patch_stdout import patch_stdout

from localchat.chat.model import ChatModel, Options
from localchat.cli.prepare import describe, prepare_models, set_up_logging
from localchat.cli.session import Leave, Session
from localchat.errors import LocalchatError
from localchat.outputs import Finish
from localchat.pool import Entry
from localchat.settings import Settings, load_settings


def command(
    model: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Registry id, FILE.gguf, or hf:repo/file.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="System message.")] = None,
    ctx_size: Annotated[str | None, typer.Option(help="Context tokens; auto fits memory.")] = None,
    threads: Annotated[str | None, typer.Option(help="Compute threads; auto takes the physical cores.")] = None,
    gpu_layers: Annotated[str | None, typer.Option(help="Layers on the GPU; auto fits VRAM.")] = None,
) -> None:
    """Talk to a model in the terminal."""
    settings = load_settings(
        model=[model] if model else None, ctx_size=ctx_size, threads=threads, gpu_layers=gpu_layers, parallel=1
    )
    set_up_logging("warning")
    alone = settings.model_copy(update={"model": settings.model[:1], "on_demand": False, "alias": []})
    asyncio.run(_main(alone, Session(system=system)))


async def _main(settings: Settings, session: Session) -> None:
    [launch], pool = prepare_models(settings)
    sys.stdout.write("".join(f"  {line}\n" for line in describe(launch)[:2]) + "  /help lists the commands\n")
    try:
        async with pool.find(launch.id).use(math.inf):
            session.sampling = launch.manner.defaults
        await _converse(pool.find(launch.id), session)
    finally:
        await pool.close()


async def _converse(entry: Entry, session: Session) -> None:
    lines: PromptSession[str] | None = PromptSession() if sys.stdin.isatty() else None
    while True:
        try:
            line = (await _read(lines)).strip()
            if line.startswith("/"):
                sys.stdout.write(session.command(line) + "\n")
            elif line:
                async with entry.use(math.inf) as model:  # a fresh one, should its process have died
                    await _exchange(model, session, line)
        except (EOFError, Leave):
            return
        except LocalchatError as error:
            sys.stdout.write(f"{error}\n")


async def _read(lines: PromptSession[str] | None) -> str:
    """A line of the user's; piped input ends with its last line."""
    if lines is not None:
        with patch_stdout():
            return await lines.prompt_async("> ")
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line


async def _exchange(chat: ChatModel, session: Session, text: str) -> None:
    """One question and its answer, as it comes."""
    session.say(text)
    answer: list[str] = []
    finish: Finish | None = None
    try:
        options = Options(max_tokens=session.max_tokens)
        generation = chat.stream(session.messages, chat.sampling(session.sampling), options).generation
        with contextlib.closing(generation), _interrupt_cancels(asyncio.current_task()):
            await generation.accepted()
            async for batch in generation.batches():
                for _, delta in batch:
                    answer.append(delta.text)
                    sys.stdout.write(delta.text)
                    finish = delta.finish
                sys.stdout.flush()
    except asyncio.CancelledError:
        sys.stdout.write(" …")
    finally:
        session.answer("".join(answer))
    sys.stdout.write(f"\n{_footer(finish)}\n")


def _footer(finish: Finish | None) -> str:
    if finish is None:
        return "(stopped)"
    rate = f", {(finish.completion_tokens - 1) / finish.decode_time:.0f} tokens/s" if finish.decode_time else ""
    cut = ", cut by length" if finish.reason == "length" else ""
    return f"({finish.prompt_tokens} + {finish.completion_tokens} tokens{rate}{cut})"


@contextlib.contextmanager
def _interrupt_cancels(task: asyncio.Task[None] | None) -> Iterator[None]:
    """Ctrl-C ends the answer, not the program."""
    assert task is not None, "an exchange runs in a task"
    previous = signal.signal(signal.SIGINT, lambda *_: asyncio.get_running_loop().call_soon_threadsafe(task.cancel))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        if hasattr(task, "uncancel"):
            task.uncancel()
