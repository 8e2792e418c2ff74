"""Every error localchat raises on purpose, in one tree.

    LocalchatError
    ├── RequestError               the request is at fault
    │   ├── InvalidRequest
    │   │   ├── UnsupportedField
    │   │   ├── ContextLengthExceeded
    │   │   └── PreviousResponseNotFound
    │   ├── InvalidApiKey
    │   ├── HostNotAllowed
    │   ├── NotFound
    │   │   └── ModelNotFound
    │   ├── UnsupportedModel
    │   ├── LicenseForbids
    │   └── BodyTooLarge
    ├── Overloaded                 right request, wrong moment
    │   ├── QueueFull
    │   ├── ModelLoading
    │   └── ShuttingDown
    ├── EngineError                the model's process is at fault
    │   ├── ModelLoadFailed
    │   └── WorkerDied
    ├── WeightsError               a model file is at fault
    │   ├── NotGguf
    │   ├── FetchFailed
    │   │   └── NotConverted
    │   └── ChecksumMismatch
    ├── TemplateError
    ├── StoreError
    ├── DoesNotFit
    └── ConfigError                flags, environment, config file or registry are at fault

A message says what is wrong, which value, and what to do. `api/errors.py` maps the tree to HTTP.
"""

from __future__ import annotations


class LocalchatError(Exception):
    """Base of the tree; `str(error)` is fit to show a person."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class RequestError(LocalchatError):
    """The request cannot be answered as it is; sending it again will not help."""


class InvalidRequest(RequestError):
    """A field is missing, of the wrong type, or out of range; `param` names it."""


class UnsupportedField(InvalidRequest):
    """A field that localchat knows and cannot honour."""


class ContextLengthExceeded(InvalidRequest):
    """The prompt leaves no room in the model's context."""


class PreviousResponseNotFound(InvalidRequest):
    """The response that a conversation is to go on from is not kept, or not all that came before it."""


class InvalidApiKey(RequestError):
    """The bearer token is missing or wrong."""


class HostNotAllowed(RequestError):
    """The Host header names a machine that this server does not answer for."""


class NotFound(RequestError):
    """Nothing is served under this path or id."""


class ModelNotFound(NotFound):
    """No model is served under this id."""


class UnsupportedModel(RequestError):
    """The registry knows the model, and that it cannot run."""


class LicenseForbids(RequestError):
    """The model's license does not allow commercial use, or is not known to, and --commercial is set."""


class BodyTooLarge(RequestError):
    """The request body is over the limit."""


class Overloaded(LocalchatError):
    """The server cannot answer now; `retry_after` says in how many seconds it may."""

    retry_after = 1


class QueueFull(Overloaded):
    """As many requests wait as are allowed to."""


class ModelLoading(Overloaded):
    """The model is still being loaded."""

    retry_after = 3


class ShuttingDown(Overloaded):
    """The server is stopping."""

    retry_after = 5


class EngineError(LocalchatError):
    """The model's worker process failed."""


class ModelLoadFailed(EngineError):
    """llama.cpp could not load the model."""


class WorkerDied(EngineError):
    """The worker process ended while it had requests."""


class WeightsError(LocalchatError):
    """A model file is missing, broken or unobtainable."""


class NotGguf(WeightsError):
    """The file is not a GGUF file, or its header is broken."""


class FetchFailed(WeightsError):
    """A source could not be downloaded."""


class NotConverted(FetchFailed):
    """Only a checkpoint is published; a GGUF has to be made of it."""


class ChecksumMismatch(WeightsError):
    """A downloaded file is not the one the registry names."""


class TemplateError(LocalchatError):
    """A chat template does not compile, is hostile, or refuses these messages."""


class StoreError(LocalchatError):
    """What is kept between requests cannot be read or written now."""


class DoesNotFit(LocalchatError):
    """The model needs more memory than this machine has free."""


class ConfigError(LocalchatError):
    """A flag, environment variable, config file or registry entry is wrong."""


def _walk(cls: type[LocalchatError]) -> list[type[LocalchatError]]:
    return [cls, *(found for child in cls.__subclasses__() for found in _walk(child))]


BY_NAME: dict[str, type[LocalchatError]] = {cls.__name__: cls for cls in _walk(LocalchatError)}
"""Class name → class, so that an error can cross a process boundary by name."""
