"""Everything a worker and its chat model start from, checked before a process is started."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from localchat.chat.model import Manner
from localchat.chat.template import ChatTemplate
from localchat.draft import beside, find_draft, load_draft
from localchat.errors import ConfigError, DoesNotFit
from localchat.fingerprint import fingerprint
from localchat.fit import choose, keep
from localchat.hardware import GgufHeader, LoadPlan, Machine, plan_load, read_header
from localchat.hub.fetch import fetch
from localchat.hub.progress import Progress
from localchat.prefix_key import prefix_key
from localchat.registry import FROM_FILE, Choice, Registry
from localchat.registry.license import check_commercial
from localchat.registry.spec import NO_TEMPLATE
from localchat.settings import Settings
from localchat.tuning.store import described, find_tuned
from localchat.worker.messages import Load, LoadDraft


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One model, ready to be loaded."""

    name: str
    """As it was asked for."""
    choice: Choice
    path: Path
    plan: LoadPlan
    manner: Manner
    load: Load
    fingerprint: str
    settings: Settings
    """As it was planned with, tuning included."""
    reason: str = ""
    """Why this quant, where there were several."""
    tuned: str = ""
    """What of the settings comes from `localchat tune`."""

    @property
    def id(self) -> str:
        """The name under which the model is served."""
        return self.choice.spec.id


def prepare(
    model: str,
    settings: Settings,
    registry: Registry,
    machine: Machine,
    progress: Progress,
    whole: Machine | None = None,
) -> Launch:
    """Find, fetch and check a model by its name, and plan how to load it.

    Where `machine` is a share of one, `whole` is all of it: an installed quant that fits there is not given up for one
    that would have to be fetched.

    Raises whatever of the error tree stands in the way: ModelNotFound, UnsupportedModel, LicenseForbids, WeightsError,
    TemplateError, DoesNotFit.
    """
    candidates = registry.candidates(model)
    if settings.commercial:
        check_commercial(candidates[0].spec)
    kept = keep(candidates, whole, settings) if whole else None
    choice, reason = kept or choose(candidates, machine, settings)
    path = fetch(choice, settings.models_dir, progress)
    header = read_header(path)
    draft = None if header.is_embedder else find_draft(header, machine, settings, registry, progress)
    room = draft.reserve(machine, settings) if draft else machine
    plan, settings, tuned = _plan(header, room, _sizes(settings, header))
    draft_plan = draft.plan(plan, machine, settings) if draft else None
    spec, family = choice.spec, registry.family(choice.spec)
    source = _template_source(settings, registry, choice, header)
    manner = Manner(
        template=_template(source, header),
        defaults=spec.sampling.model_dump(exclude_none=True, exclude={"max_tokens"}),
        max_tokens=spec.sampling.max_tokens,
        stops=(*(family.stop if family else ()), *spec.stop),
        is_base=spec.template == NO_TEMPLATE,
    )
    load = load_request(
        path,
        plan,
        settings,
        adds_bos=_adds_bos(registry, choice),
        embeds=header.is_embedder,
        draft=load_draft(draft.path, draft_plan) if draft and draft_plan else None,
    )
    if load.prefix_disk:
        load = msgspec.structs.replace(load, prefix_key=prefix_key(choice, load, header, source))
    return Launch(
        name=model,
        choice=choice,
        path=path,
        plan=beside(plan, draft_plan) if draft_plan else plan,
        manner=manner,
        load=load,
        fingerprint=fingerprint(choice, load, settings.models_dir, source),
        settings=settings,
        reason=reason,
        tuned=tuned,
    )


def load_request(
    path: Path,
    plan: LoadPlan,
    settings: Settings,
    *,
    adds_bos: bool | None = None,
    draft: LoadDraft | None = None,
    embeds: bool = False,
) -> Load:
    """What a worker is told to load."""
    return Load(
        path=str(path),
        n_ctx=plan.n_ctx,
        parallel=plan.parallel,
        batch_size=plan.batch,
        ubatch_size=plan.ubatch,
        threads=plan.threads,
        single_row_threads=plan.single_row_threads,
        gpu_layers=plan.gpu_layers,
        kv_type=plan.kv_type,
        kv_unified=plan.kv_unified,
        flash_attn=plan.flash_attn,
        mmap=settings.mmap,
        queue_size=settings.queue_size,
        outputs=plan.outputs,
        add_bos=adds_bos,
        prefix_cache=plan.prefix_cache,
        speculate=settings.speculate != "off",
        draft=draft,
        embeds=embeds,
        max_step_ms=settings.max_step_ms,
        adapt_threads=settings.adapt_threads,
        prefix_dir=str(settings.prefix_dir),
        prefix_disk=settings.prefix_disk,
    )


def _plan(header: GgufHeader, machine: Machine, settings: Settings) -> tuple[LoadPlan, Settings, str]:
    """With what was tuned for what the person left open, unless the model cannot be had so."""
    tuned = find_tuned(header, machine) if settings.tuned else None
    if tuned is not None and (changes := tuned.changes_to(settings)):
        better = settings.model_copy(update=changes)
        with suppress(ConfigError, DoesNotFit):
            return plan_load(header, machine, better), better, described(changes)
    return plan_load(header, machine, settings), settings, ""


def _sizes(settings: Settings, header: GgufHeader) -> Settings:
    """Where several models share a --ctx-size, one that was trained for less gets what it was trained for."""
    asked, trained = settings.ctx_size, header.context_length
    if settings.serves_several and asked != "auto" and trained and asked > trained:
        return settings.model_copy(update={"ctx_size": trained})
    return settings


def _template_source(settings: Settings, registry: Registry, choice: Choice, header: GgufHeader) -> str | None:
    """The template given, else the family's, else the GGUF's own; None for a model that has none."""
    family = registry.family(choice.spec)
    source = family.jinja if family else header.chat_template if choice.spec.template == FROM_FILE else None
    if settings.chat_template is not None:
        try:
            source = settings.chat_template.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"--chat-template {settings.chat_template}: {error.strerror}") from None
    return source or None


def _template(source: str | None, header: GgufHeader) -> ChatTemplate | None:
    if source is None:
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
