"""The draft model that --draft names: found, checked and planned beside the model that it guesses for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from localchat.errors import ConfigError, DoesNotFit
from localchat.fit import choose
from localchat.hardware import GgufHeader, LoadPlan, Machine, plan_load, read_header
from localchat.hardware.need import MemoryNeed
from localchat.hardware.plan import UNKNOWN_CONTEXT, WORTHWHILE_CONTEXT
from localchat.hub.fetch import fetch
from localchat.hub.progress import Progress
from localchat.registry import Registry
from localchat.registry.license import check_commercial
from localchat.settings import Settings
from localchat.worker.messages import LoadDraft

_MOST_MORE = 128
"""Models of one family pad their vocabularies differently; tokens that only one of them has are never guessed."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft model's file."""

    path: Path
    header: GgufHeader

    def reserve(self, machine: Machine, settings: Settings) -> Machine:
        """The machine without what the draft model needs, for a context that is worth having."""
        trained = self.header.context_length or UNKNOWN_CONTEXT
        context = trained if settings.ctx_size == "auto" else settings.ctx_size
        needed = settings.model_copy(update={"ctx_size": min(context, trained, WORTHWHILE_CONTEXT), "force": True})
        plan = plan_load(self.header, machine, needed)
        return less(machine, plan.memory, plan.vram)

    def plan(self, beside: LoadPlan, machine: Machine, settings: Settings) -> LoadPlan:
        """How to load it: the context of the model it guesses for, or what memory and training leave of that."""
        machine = less(machine, beside.memory, beside.vram)
        settings = settings.model_copy(update={"prefix_cache": 0})
        try:
            most = plan_load(self.header, machine, settings.model_copy(update={"ctx_size": "auto"})).n_ctx
        except DoesNotFit as error:
            raise DoesNotFit(f"--draft {settings.draft}: {error}") from None
        return plan_load(self.header, machine, settings.model_copy(update={"ctx_size": min(most, beside.n_ctx)}))


def load_draft(path: Path, plan: LoadPlan) -> LoadDraft:
    """What a worker is told of it."""
    return LoadDraft(path=str(path), n_ctx=plan.n_ctx, batch_size=plan.batch, gpu_layers=plan.gpu_layers)


def beside(plan: LoadPlan, draft: LoadPlan) -> LoadPlan:
    """A model's plan that counts the memory of its draft model as well."""
    return replace(plan, memory=plan.memory + draft.memory, vram=plan.vram + draft.vram)


def find_draft(
    header: GgufHeader, machine: Machine, settings: Settings, registry: Registry, progress: Progress
) -> Draft | None:
    """The draft model for a model with this header; None where none is asked for.

    Raises ConfigError for one that cannot guess for it, LicenseForbids, and whatever stands in the way of its file.
    """
    name = settings.draft
    if not name or settings.speculate == "off":
        return None
    candidates = registry.candidates(name)
    if settings.commercial:
        check_commercial(candidates[0].spec)
    choice, _ = choose(candidates, machine, settings)
    path = fetch(choice, settings.models_dir, progress)
    draft = read_header(path)
    for one in (header, draft):
        if one.is_encoder_only or one.is_encoder_decoder or one.is_recurrent:
            raise ConfigError(
                f"--draft {name}: wrong guesses cannot be taken back from a model like {one.path.name}"
                f" ({one.architecture}); leave --draft out"
            )
    if not speaks_like(draft, header):
        raise ConfigError(
            f"--draft {name}: {path.name} splits text into other tokens than {header.path.name}, so it cannot guess"
            " for it; a draft model is a smaller one of the same family"
        )
    return Draft(path, draft)


def speaks_like(one: GgufHeader, other: GgufHeader) -> bool:
    """Whether two models have the same tokenizer and vocabulary."""
    keys = [f"tokenizer.ggml.{key}" for key in ("model", "pre", "bos_token_id", "eos_token_id")]
    if any(one.metadata.get(key) != other.metadata.get(key) for key in keys):
        return False
    if abs(one.vocab_size - other.vocab_size) > _MOST_MORE:
        return False
    common = min(one.vocab_size, other.vocab_size)
    return one.token_texts(common) == other.token_texts(common)


def less(machine: Machine, ram: MemoryNeed, vram: MemoryNeed) -> Machine:
    """A machine with less memory free."""
    gpus, taken = [], vram.total
    for gpu in machine.gpus:
        part = min(taken, gpu.free_bytes)
        gpus.append(replace(gpu, free_bytes=gpu.free_bytes - part))
        taken -= part
    return replace(machine, ram_available=max(0, machine.ram_available - ram.total), gpus=tuple(gpus))
