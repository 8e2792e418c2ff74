"""Everything a worker and its chat model start from, checked before a process is started."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localchat import __version__
from localchat.chat.template import ChatTemplate
from localchat.errors import ConfigError
from localchat.hardware import GgufHeader, LoadPlan, Machine, plan_load, read_header
from localchat.hub.fetch import fetch
from localchat.hub.progress import Progress
from localchat.registry import FROM_FILE, Choice, Registry
from localchat.settings import Settings
from localchat.worker.messages import Load


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One model, ready to be loaded."""

    choice: Choice
    stops: tuple[str, ...]
    path: Path
    plan: LoadPlan
    template: ChatTemplate | None
    load: Load
    fingerprint: str

    @property
    def id(self) -> str:
        """The name under which the model is served."""
        return self.choice.spec.id

    @property
    def defaults(self) -> dict[str, Any]:
        """Sampling settings that the model's authors recommend."""
        return self.choice.spec.sampling.model_dump(exclude_none=True)


def prepare(model: str, settings: Settings, registry: Registry, machine: Machine, progress: Progress) -> Launch:
    """Find, fetch and check a model by its name, and plan how to load it.

    Raises whatever of the error tree stands in the way: ModelNotFound, WeightsError, TemplateError, DoesNotFit.
    """
    choice = registry.resolve(model)
    path = fetch(choice, settings.models_dir, progress)
    header = read_header(path)
    plan = plan_load(header, machine, settings)
    template = _template(settings, registry, choice, header)
    load = Load(
        path=str(path),
        n_ctx=plan.n_ctx,
        parallel=plan.parallel,
        batch_size=plan.batch,
        ubatch_size=plan.ubatch,
        threads=plan.threads,
        gpu_layers=plan.gpu_layers,
        kv_type=plan.kv_type,
        kv_unified=plan.kv_unified,
        flash_attn=plan.flash_attn,
        mmap=settings.mmap,
        queue_size=settings.queue_size,
        outputs=plan.outputs,
        add_bos=_adds_bos(registry, choice),
    )
    family = registry.family(choice.spec)
    return Launch(
        choice=choice,
        stops=(*(family.stop if family else ()), *choice.spec.stop),
        path=path,
        plan=plan,
        template=template,
        load=load,
        fingerprint=_fingerprint(choice, path),
    )


def _template(settings: Settings, registry: Registry, choice: Choice, header: GgufHeader) -> ChatTemplate | None:
    """The one given, else the family's, else the GGUF's own; None for a model that has none."""
    family = registry.family(choice.spec)
    source = family.jinja if family else header.chat_template if choice.spec.template == FROM_FILE else None
    if settings.chat_template is not None:
        try:
            source = settings.chat_template.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"--chat-template {settings.chat_template}: {error.strerror}") from None
    if not source:
        return None
    return ChatTemplate(source, bos=_token_text(header, header.bos_id), eos=_token_text(header, header.eos_id))


def _adds_bos(registry: Registry, choice: Choice) -> bool | None:
    """Whether prompts begin with BOS; None leaves it to the file."""
    if choice.spec.bos is not None:
        return choice.spec.bos
    family = registry.family(choice.spec)
    return family.bos if family else None


def _token_text(header: GgufHeader, token: int | None) -> str:
    return "" if token is None else header.token_text(token)


def _fingerprint(choice: Choice, path: Path) -> str:
    """Names the weights and the program, so that a changed answer can be explained."""
    weights = choice.quant.sha256 or f"{path.name}:{path.stat().st_size}"
    return "fp_" + hashlib.sha256(f"{weights}:{choice.quant.name}:{__version__}".encode()).hexdigest()[:12]
