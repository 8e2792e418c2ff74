"""A worker without a model. The path it is to load, and the prompts it gets, say what it does."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from localchat.errors import ContextLengthExceeded, InvalidRequest, LocalchatError, ModelLoadFailed, QueueFull
from localchat.outputs import Delta, Finish
from localchat.worker import messages as m


def read() -> Iterator[m.Request]:
    unframer = m.Unframer()
    while data := os.read(0, 1 << 16):
        yield from map(m.decode_request, unframer.feed(data))


def send(*messages: m.Reply) -> None:
    """One write, so that the messages arrive together."""
    os.write(1, b"".join(m.frame(message) for message in messages))


def whisper(text: str) -> None:
    os.write(2, text.encode())


class ScriptedWorker:
    def __init__(self) -> None:
        self._open: dict[int, str] = {}

    def load(self, load: m.Load) -> None:
        match load.path:
            case "fails":
                whisper("llama_model_loader: loaded meta data\nerror loading model: unknown architecture\nbye\n")
                fail(0, ModelLoadFailed("llama.cpp could not load fails"))
                sys.exit(1)
            case "dies":
                whisper("some chatter\n\nggml_abort: out of memory\n")
                os._exit(7)
            case "dies silently":
                os._exit(9)
            case "never loads":
                whisper("thinking")
                next(read(), None)
                os._exit(0)
        send(m.Loaded(load.n_ctx, load.parallel, 8192, 256, load.path, False, "<s>", "</s>", False, "none"))

    def handle(self, request: m.Request) -> None:
        match request:
            case m.Submit():
                assert isinstance(request.prompt, str)
                verb, _, rest = request.prompt.partition(" ")
                getattr(self, verb)(request.sequence, rest)
            case m.Abort():
                # Deltas that were on their way when the abort came.
                send(m.Step([Delta(sequence, "too late") for sequence in request.sequences]))
                send(m.Step([Delta(sequence, "", None, finish()) for sequence in request.sequences]))
                for sequence in request.sequences:
                    self._open.pop(sequence, None)
            case m.Tokenize(text="die"):
                os._exit(3)
            case m.Tokenize(text="stall"):
                pass
            case m.Tokenize():
                send(m.Tokens(request.call, [int(request.add_bos), int(request.parse_special), *request.text.encode()]))
            case m.Detokenize(tokens=[]):
                fail(request.call, InvalidRequest("nothing to read", param="tokens"))
            case m.Detokenize():
                send(m.Text(request.call, bytes(request.tokens).decode()))
            case m.GetUsage():
                send(m.UsageReport(request.call, len(self._open), 0, 0, 0))

    # What a prompt may ask for.

    def say(self, sequence: int, text: str) -> None:
        send(m.Accepted(sequence, len(text)))
        for letter in text:
            send(m.Step([Delta(sequence, letter)]))
        send(m.Step([Delta(sequence, "", None, finish())]))

    def start(self, sequence: int, text: str) -> None:
        """Say something, and nothing more until the end that `end` brings, or an abort."""
        self._open[sequence] = text
        send(m.Accepted(sequence, len(text)), m.Step([Delta(sequence, text)]))

    def end(self, sequence: int, text: str) -> None:
        """End all that have been started, in one step, and itself."""
        ends = [Delta(other, text, None, finish()) for other in [*self._open, sequence]]
        self._open.clear()
        send(m.Accepted(sequence, 0), m.Step(ends))

    def stall(self, sequence: int, _text: str) -> None:
        """Never so much as accept it."""
        self._open[sequence] = ""

    def refuse(self, sequence: int, words: str) -> None:
        fail(sequence, ContextLengthExceeded(words, param="messages"))

    def overflow(self, sequence: int, words: str) -> None:
        fail(sequence, QueueFull(words))

    def die(self, sequence: int, text: str) -> None:
        send(m.Accepted(sequence, 0), m.Step([Delta(sequence, text)]))
        os._exit(3)


def finish() -> Finish:
    return Finish("stop", 1, 0, 1, 0.0, 0.0, 0.0, 0.0)


def fail(id: int, error: LocalchatError) -> None:
    send(m.Failed.of(id, error))


def main() -> None:
    worker = ScriptedWorker()
    requests = read()
    load = next(requests)
    assert isinstance(load, m.Load)
    worker.load(load)
    for request in requests:
        if isinstance(request, m.Shutdown) and load.path != "stubborn":
            return
        worker.handle(request)


if __name__ == "__main__":
    main()
