"""What travels between the API process and a worker, as MessagePack behind a four-byte length."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from localchat.constraint import Constraint, Thoughts
from localchat.errors import BY_NAME, EngineError, LocalchatError
from localchat.lane import Lane
from localchat.outputs import Delta
from localchat.sampling_params import SamplingParams

_HEADER = 4
MAX_MESSAGE = 256 * 2**20


class LoadDraft(msgspec.Struct, frozen=True):
    """A smaller model that guesses ahead, with as many sequences."""

    path: str
    n_ctx: int
    batch_size: int
    gpu_layers: int


class Load(msgspec.Struct, tag=True, frozen=True):
    """The first message: which model to load, and how."""

    path: str
    n_ctx: int
    parallel: int
    batch_size: int
    ubatch_size: int
    threads: int
    gpu_layers: int
    kv_type: str
    kv_unified: bool
    flash_attn: str
    mmap: bool
    queue_size: int
    outputs: int
    single_row_threads: int = 0
    """Compute threads of a step with a single row; 0 is as many as prove worth it."""
    add_bos: bool | None = None
    """Whether texts begin with BOS; None is as the file says."""
    prefix_cache: int = 0
    """Bytes of RAM for prefixes that lost their slot."""
    prefix_disk: int = 0
    """Bytes of files for prefixes that outlive the process; 0 keeps none."""
    prefix_dir: str = ""
    prefix_key: str = ""
    """Names all that decides what the KV cache holds of given tokens."""
    max_step_ms: float = 70.0
    adapt_threads: bool = True
    speculate: bool = True
    draft: LoadDraft | None = None
    embeds: bool = False
    """Whether it makes vectors instead of text."""


class Submit(msgspec.Struct, tag=True, frozen=True):
    """Start a sequence. `prompt` is text, or token ids that are taken as they are."""

    sequence: int
    prompt: str | list[int]
    params: SamplingParams
    max_tokens: int | None = None
    stops: tuple[str, ...] = ()
    add_bos: bool = True
    parse_special: bool = False
    logprobs: int | None = None
    prompt_logprobs: bool = False
    param: str = "messages"
    """The request's field that errors about the prompt name."""
    suffix: str | None = None
    """What stands behind the gap that is to be filled."""
    lead: str = ""
    """What of this the answer begins with belongs to the prompt's format."""
    lane: Lane = Lane.INTERACTIVE
    key: str = ""
    """Whose request it is; turns are taken between keys."""
    prediction: str = ""
    """A text that the answer is expected to be much like."""
    deterministic: bool = False
    """Whether the text must be the same at any load."""
    constraint: Constraint | None = None
    """What the text must be."""
    thoughts: Thoughts | None = None
    shown: tuple[str, ...] = ()
    """Control tokens that are a part of the text."""


class Abort(msgspec.Struct, tag=True, frozen=True):
    """End these sequences; nothing more is said of them."""

    sequences: list[int]


class Tokenize(msgspec.Struct, tag=True, frozen=True):
    """Ask for the token ids of a text."""

    call: int
    text: str
    add_bos: bool
    parse_special: bool


class Detokenize(msgspec.Struct, tag=True, frozen=True):
    """Ask for the text of token ids."""

    call: int
    tokens: list[int]


class Embed(msgspec.Struct, tag=True, frozen=True):
    """Ask for the vectors of texts; token ids are taken as they are."""

    call: int
    texts: list[str | list[int]]
    param: str = "input"
    """The request's field that errors name."""
    lane: Lane = Lane.INTERACTIVE
    key: str = ""


class GetUsage(msgspec.Struct, tag=True, frozen=True):
    """Ask what is in use."""

    call: int


class Shutdown(msgspec.Struct, tag=True, frozen=True):
    """End the process."""


class Loaded(msgspec.Struct, tag=True, frozen=True):
    """The model is ready; what it turned out to be."""

    n_ctx: int
    parallel: int
    trained_context: int
    vocabulary_size: int
    description: str
    gpu_offload: bool
    bos: str
    eos: str
    has_infill: bool
    system_info: str
    single_row_threads: int = 1
    is_encoder_decoder: bool = False
    """Whether prompts go into an encoder, and are not what the answer continues."""
    embedding_width: int = 0
    """Numbers in a vector, of a model that makes them; it writes no text."""


class Accepted(msgspec.Struct, tag=True, frozen=True):
    """A sequence is queued."""

    sequence: int
    prompt_tokens: int


class Failed(msgspec.Struct, tag=True, frozen=True):
    """A sequence or call has come to an error and nothing more will be said of it."""

    id: int
    error: str
    message: str
    param: str | None = None

    @classmethod
    def of(cls, id: int, error: LocalchatError) -> Failed:
        """An error as a message."""
        return cls(id, type(error).__name__, error.message, error.param)

    def exception(self) -> LocalchatError:
        """The error again."""
        return BY_NAME.get(self.error, EngineError)(self.message, param=self.param)


class Notice(msgspec.Struct, tag=True, frozen=True):
    """Something that whoever runs the server should know."""

    text: str


class Step(msgspec.Struct, tag=True, frozen=True):
    """What one engine step made, of all sequences."""

    deltas: list[Delta]


class Tokens(msgspec.Struct, tag=True, frozen=True):
    """Answer to Tokenize."""

    id: int
    tokens: list[int]


class Text(msgspec.Struct, tag=True, frozen=True):
    """Answer to Detokenize."""

    id: int
    text: str


class Vectors(msgspec.Struct, tag=True, frozen=True):
    """Answer to Embed: (texts, width) in float32 as bytes, row by row, each of length 1; and tokens of each text."""

    id: int
    vectors: bytes
    tokens: list[int]


class UsageReport(msgspec.Struct, tag=True, frozen=True):
    """Answer to GetUsage."""

    id: int
    running: int
    waiting: int
    kv_tokens_running: int
    kv_tokens_cached: int
    drafted: int = 0
    """Tokens that were guessed so far, and how many of them came."""
    accepted: int = 0


Request = Load | Submit | Abort | Tokenize | Detokenize | Embed | GetUsage | Shutdown
Reply = Loaded | Accepted | Failed | Notice | Step | Tokens | Text | Vectors | UsageReport

decode_request = msgspec.msgpack.Decoder(Request).decode
decode_reply = msgspec.msgpack.Decoder(Reply).decode
_encoder = msgspec.msgpack.Encoder()


def frame(message: Request | Reply) -> bytearray:
    """A message as it travels."""
    buffer = bytearray(_HEADER)
    _encoder.encode_into(message, buffer, _HEADER)
    buffer[:_HEADER] = (len(buffer) - _HEADER).to_bytes(_HEADER, "little")
    return buffer


class Unframer:
    """Cuts a byte stream, in whatever pieces it comes, into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The bodies that are complete now. Raises EngineError for a length that no message has."""
        self._buffer += data
        while len(self._buffer) >= _HEADER:
            end = _HEADER + int.from_bytes(self._buffer[:_HEADER], "little")
            if end > MAX_MESSAGE:
                raise EngineError(f"a message of {end} bytes arrived from the other process")
            if end > len(self._buffer):
                break
            body = bytes(self._buffer[_HEADER:end])
            del self._buffer[:end]  # before it is read: a message that its reader fails over must not come again
            yield body
