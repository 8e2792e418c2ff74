"""The worker: one process, one model. Reads requests from standard input, writes replies to standard output.

Two threads. The intake thread reads messages and does what takes time and needs no context: tokenizing, checking,
building samplers. The main thread is the engine's; whatever is to happen there waits in the inbox as a function.
An encoder-decoder has a third thread, on which its encoder reads sources.
"""

from __future__ import annotations

from localchat.llama import library  # before numpy: see localchat/llama/library.py

# isort: split
import functools
import gc
import itertools
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from localchat.engine.cost_model import CostModel
from localchat.engine.embedding import EmbeddingEngine
from localchat.engine.engine import Engine, Job
from localchat.engine.pace import Pace
from localchat.errors import LocalchatError
from localchat.llama.calibration import Calibration, calibrate
from localchat.llama.context import Context, ContextParams
from localchat.llama.encoder_decoder import EncoderDecoder
from localchat.llama.model import Model
from localchat.worker import messages as m
from localchat.worker.archive import Archive
from localchat.worker.draft import load_draft, speculation
from localchat.worker.embedding import EmbeddingIntake, load_embedder, run_embedding
from localchat.worker.intake import Inbox, Intake, Output, read
from localchat.worker.keeper import Keeper


def run_engine(engine: Engine, inbox: Inbox, output: Output, keeper: Keeper | None = None) -> None:
    """The engine's loop: do what came in, then step; sleep when there is nothing to do. Ends on None."""
    while True:
        while engine.is_idle or not inbox.empty():
            job = keeper.next(inbox) if keeper is not None else inbox.get()
            if job is None:
                if keeper is not None:
                    keeper.finish()
                return
            job()
        deltas, failures = engine.step()
        if keeper is not None:
            keeper.note_work()
        if deltas:
            output.send(m.Step(deltas))
        for failure in failures:
            output.send(m.Failed.of(failure.sequence, failure.error))


def read_messages(fd: int) -> Iterator[list[m.Request]]:
    """The messages that came together, until the other side closes: then nobody is left to work for."""
    unframer = m.Unframer()
    while data := os.read(fd, 1 << 20):
        yield [m.decode_request(body) for body in unframer.feed(data)]


@dataclass(frozen=True, slots=True)
class Parts:
    """What an engine is made of."""

    context: Context | EncoderDecoder
    calibration: Calibration | None = None
    draft: Context | None = None


def load_model(request: m.Load) -> Model:
    """The weights. Raises ModelLoadFailed."""
    model = Model(Path(request.path), gpu_layers=request.gpu_layers, mmap=request.mmap)
    if request.add_bos is not None:
        model.vocabulary.adds_bos = request.add_bos
    return model


def load(request: m.Load) -> tuple[Parts, m.Loaded]:
    """Load the model and make its context. Raises ModelLoadFailed."""
    model = load_model(request)
    params = ContextParams(
        n_ctx=request.n_ctx,
        parallel=request.parallel,
        batch_size=max(request.batch_size, request.parallel),
        ubatch_size=request.ubatch_size,
        threads=request.threads,
        kv_type=request.kv_type,
        kv_unified=request.kv_unified,
        flash_attn=request.flash_attn,
        outputs=request.outputs,
    )
    if model.is_encoder_decoder:
        parts = Parts(EncoderDecoder(model, params))
    else:
        context = Context(model, params)
        calibration = calibrate(context, request.threads, known=request.single_row_threads)
        parts = Parts(context, calibration, load_draft(request, context))
    vocabulary = model.vocabulary
    info = m.Loaded(
        n_ctx=parts.context.n_ctx,
        parallel=parts.context.parallel,
        trained_context=model.trained_context,
        vocabulary_size=vocabulary.size,
        description=model.description,
        gpu_offload=library.supports_gpu(),
        bos=vocabulary.text(vocabulary.bos),
        eos=vocabulary.text(vocabulary.eos),
        has_infill=vocabulary.infill is not None,
        single_row_threads=parts.calibration.single_row_threads if parts.calibration else request.threads,
        is_encoder_decoder=model.is_encoder_decoder,
        system_info=library.system_info(),
    )
    return parts, info


def start(request: m.Load, parts: Parts, post: Callable[[Job], None], archive: Archive | None = None) -> Engine:
    """The engine of what was loaded."""
    context, calibration = parts.context, parts.calibration
    cost_model = CostModel(calibration.stairs, calibration.few, calibration.many) if calibration else CostModel()
    return Engine(
        context,
        budget=context.batch.capacity,
        outputs=context.outputs,
        encoder=context if isinstance(context, EncoderDecoder) else None,
        drafter=speculation(request, context, cost_model, parts.draft) if isinstance(context, Context) else None,
        post=post,
        cost_model=cost_model,
        pace=_pace(request, parts),
        max_seconds=request.max_step_ms / 1e3,
        streams=not request.kv_unified,
        saved_bytes=request.prefix_cache,
        archive=archive,
    )


def _pace(request: m.Load, parts: Parts) -> Pace | None:
    """What changes the number of threads, where there are several and the GPU does not do the work."""
    context, calibration = parts.context, parts.calibration
    if calibration is None or not isinstance(context, Context):
        return None
    if not request.adapt_threads or request.threads == 1 or (request.gpu_layers and library.supports_gpu()):
        return None
    single = calibration.single_row_threads

    def change(count: int) -> None:
        for one in (context, parts.draft):
            if one is not None:
                one.set_threads(min(single, count), count)

    return Pace(request.threads, change, single=single)


def _archive(request: m.Load, parts: Parts, output: Output) -> Archive | None:
    """Where prefixes outlive the process, if they are to."""
    if not request.prefix_disk or not request.prefix_key or not isinstance(parts.context, Context):
        return None
    return Archive(
        Path(request.prefix_dir), request.prefix_key, request.prefix_disk, lambda text: output.send(m.Notice(text))
    )


def _claim_stdout() -> int:
    """Keep standard output for messages alone: whatever else prints goes to standard error."""
    fd = os.dup(1)
    os.dup2(2, 1)
    return fd


def main() -> None:
    """Load what the first message names, then serve until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the API process decides
    output = Output(_claim_stdout())
    batches = read_messages(0)
    request, *others = next(batches, [None])
    if not isinstance(request, m.Load):
        return
    inbox: Inbox = queue.SimpleQueue()
    run: Callable[[], None]
    handle: Callable[[m.Request], Job | None]
    try:
        if request.embeds:
            embedder, info = load_embedder(load_model(request), request)
            vectors = EmbeddingEngine(embedder)
            handle = EmbeddingIntake(vectors, embedder, output, request.queue_size).handle
            run = functools.partial(run_embedding, vectors, inbox, output)
        else:
            parts, info = load(request)
            archive = _archive(request, parts, output)
            engine = start(request, parts, inbox.put, archive)
            keeper = Keeper(engine, archive, inbox.put) if archive is not None else None
            handle = Intake(engine, parts.context, output, request.queue_size).handle
            run = functools.partial(run_engine, engine, inbox, output, keeper)
    except LocalchatError as error:
        output.send(m.Failed.of(0, error))
        sys.exit(1)
    coming = itertools.chain([others], batches)
    threading.Thread(target=read, args=(coming, handle, inbox), name="intake", daemon=True).start()
    output.send(info)
    gc.freeze()  # all that is there stays, and every full collection would look through it again between two steps
    run()
    os._exit(0)  # the memory goes back faster than by freeing it piece by piece


if __name__ == "__main__":
    main()
