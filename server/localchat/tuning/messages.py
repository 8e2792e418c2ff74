"""What travels between a command and the process that measures for it: a line of JSON each."""

from __future__ import annotations

import msgspec

from localchat.errors import BY_NAME, EngineError, LocalchatError


class Open(msgspec.Struct, tag=True, frozen=True):
    """The first message: the weights."""

    path: str
    gpu_layers: int = 0
    mmap: bool = True


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What a context is made with."""

    n_ctx: int
    parallel: int
    threads: int
    single_row_threads: int = 0
    """Of a pass with one row; 0 is what loading would find out."""
    batch_size: int
    ubatch_size: int
    kv_type: str
    kv_unified: bool
    flash_attn: str


class Prompt(msgspec.Struct, tag=True, frozen=True):
    """Read so many tokens in an empty sequence."""

    tokens: int


class Decode(msgspec.Struct, tag=True, frozen=True):
    """So many steps of some sequences together, behind `depth` tokens that each has already."""

    sequences: int
    steps: int
    depth: int = 0
    rows: int = 1
    """Of each sequence in a step: its next token, and guesses at what follows it."""


Work = Prompt | Decode


class Trial(msgspec.Struct, tag=True, frozen=True):
    """Do this work with this setup."""

    setup: Setup
    works: tuple[Work, ...]


class Times(msgspec.Struct, tag=True, frozen=True):
    """Seconds of each work, and the threads for single rows that were used."""

    seconds: tuple[float, ...]
    single_row_threads: int


class Refused(msgspec.Struct, tag=True, frozen=True):
    """The weights cannot be loaded, or a context not be made or used."""

    error: str
    message: str

    def exception(self) -> LocalchatError:
        """The error again."""
        return BY_NAME.get(self.error, EngineError)(self.message)


Reply = Times | Refused
