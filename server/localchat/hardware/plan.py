"""How to load a model on this machine: the sizes that were asked for, or the largest that fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from localchat.errors import ConfigError, DoesNotFit
from localchat.hardware.ggml_types import TENSOR_TYPES_BY_NAME
from localchat.hardware.header import GgufHeader
from localchat.hardware.machine import Machine
from localchat.hardware.need import MemoryModel, MemoryNeed, readable
from localchat.hardware.shape import CELL_PAD, ContextShape
from localchat.settings import Auto, Settings

GIB = 1 << 30

# Less context than this is no use for a chat.
SMALLEST_CONTEXT = 512
# Prefixes that lost their slot get this part of what a model leaves, and no more than so much or what a sequence takes.
PREFIX_CACHE_PART = 16
MOST_PREFIX_CACHE = GIB // 2
# For a file that does not say what its model was trained for.
UNKNOWN_CONTEXT = 2048
# A context of so many tokens is worth most of the memory, or keeping the whole model on the GPU for.
WORTHWHILE_CONTEXT = 4096
# Rows of logits: for each sequence the next token's, and those of 15 guesses when tokens are drafted.
OUTPUTS_PER_SEQUENCE = 16
# At least so many, for prompts whose every token's probability is asked for.
LEAST_OUTPUTS = 64
# VRAM that the driver, the screen and cuBLAS's own buffers take after the probe.
VRAM_RESERVE = GIB


@dataclass(frozen=True)
class LoadPlan:
    """What to load a model with. `n_ctx` is the tokens of one sequence: llama.cpp is to get `n_ctx * parallel`."""

    n_ctx: int
    parallel: int
    threads: int
    batch: int
    ubatch: int
    outputs: int
    kv_type: str
    gpu_layers: int
    flash_attn: str
    kv_unified: bool
    memory: MemoryNeed
    vram: MemoryNeed
    prefix_cache: int = 0
    """Bytes of RAM that prefixes without a slot may come to take; no part of `memory`."""
    single_row_threads: int = 0
    """0 is as many as prove worth it while loading."""


def plan_load(header: GgufHeader, machine: Machine, settings: Settings) -> LoadPlan:
    """Choose what the settings leave open. Raises ConfigError for what the model cannot have, DoesNotFit for memory."""
    _check(header, settings)
    planner = _Planner(header, machine, settings)
    shape = planner.shape()
    layers = planner.gpu_layers(shape)
    ram, vram = planner.split(shape, layers)
    if not settings.force:
        planner.refuse_if_too_large(shape, ram, vram)
    return LoadPlan(
        n_ctx=shape.n_ctx,
        parallel=shape.parallel,
        threads=machine.cores if settings.threads == "auto" else settings.threads,
        single_row_threads=0 if settings.single_row_threads == "auto" else settings.single_row_threads,
        batch=shape.batch,
        ubatch=shape.ubatch,
        outputs=shape.outputs,
        kv_type=shape.kv_type,
        gpu_layers=layers,
        flash_attn=settings.flash_attn,
        kv_unified=shape.kv_unified,
        memory=ram,
        vram=vram,
        prefix_cache=planner.prefix_cache(shape, ram),
    )


def ram_budget(machine: Machine, memory: Auto | int = "auto") -> int:
    """RAM that a model may take: what is free, less a tenth of the machine and at least 1 GiB; `memory` at most.

    The rest is for the API process, the page cache that a load goes through, and whatever else the machine is for; a
    model that is swapped out answers slower than a smaller one that is not.
    """
    free = machine.ram_available - max(GIB, machine.ram_total // 10)
    return free if memory == "auto" else min(free, memory)


def vram_budget(machine: Machine) -> int:
    """VRAM of all GPUs that a model may take."""
    return sum(max(0, gpu.free_bytes - VRAM_RESERVE) for gpu in machine.gpus)


class _Planner:
    def __init__(self, header: GgufHeader, machine: Machine, settings: Settings) -> None:
        self._header = header
        self._settings = settings
        self._machine = machine
        self._model = MemoryModel(header, machine.cpu)
        self._ram = ram_budget(machine, settings.memory)
        self._vram = vram_budget(machine)

    def shape(self) -> ContextShape:
        trained = self._header.context_length
        if self._settings.ctx_size != "auto":
            return self._shape_of(self._settings.ctx_size)
        most = trained or UNKNOWN_CONTEXT
        if self._machine.gpus:
            on_gpu = self._largest(most, self._fits_on_gpu)
            if on_gpu >= min(most, WORTHWHILE_CONTEXT):
                return self._shape_of(on_gpu)
        return self._shape_of(self._largest(most, self._fits_modestly) or min(most, SMALLEST_CONTEXT))

    def gpu_layers(self, shape: ContextShape) -> int:
        asked = self._settings.gpu_layers
        if asked != "auto":
            return min(asked, self._model.layers)
        return self._model.layers_that_fit(shape, self._vram)

    def split(self, shape: ContextShape, layers: int) -> tuple[MemoryNeed, MemoryNeed]:
        # Layers that were asked for without a GPU that we know of stay in RAM, as far as we can tell.
        return self._model.split(shape, layers if self._machine.gpus else 0)

    def prefix_cache(self, shape: ContextShape, ram: MemoryNeed) -> int:
        asked = self._settings.prefix_cache
        if asked != "auto":
            return asked
        most = max(MOST_PREFIX_CACHE, ram.kv_cache // shape.parallel)  # it must be of use for large models too
        return max(0, min(most, (self._ram - ram.total) // PREFIX_CACHE_PART))

    def refuse_if_too_large(self, shape: ContextShape, ram: MemoryNeed, vram: MemoryNeed) -> None:
        """Raise DoesNotFit with the sum."""
        for need, room, kind in ((ram, self._ram, "RAM"), (vram, self._vram, "VRAM")):
            if need.total <= max(0, room):
                continue
            fewer = " or --gpu-layers" if kind == "VRAM" else ""
            raise DoesNotFit(
                f"{self._header.path.name} does not fit: {need} of {kind}, and {readable(max(0, room))} can be had"
                f" ({self._free(kind)}). Use a smaller --ctx-size (it is {shape.n_ctx}), --parallel"
                f" (it is {shape.parallel}){fewer}, a smaller quantization, or --force."
            )

    def _free(self, kind: str) -> str:
        if kind == "RAM" and self._settings.memory == self._ram:
            return f"--memory is {readable(self._ram)}"
        if kind == "VRAM":
            free, kept = sum(gpu.free_bytes for gpu in self._machine.gpus), VRAM_RESERVE * len(self._machine.gpus)
        else:
            free, kept = self._machine.ram_available, self._machine.ram_available - self._ram
        return f"{readable(free)} free, {readable(kept)} of it kept back"

    def _shape_of(self, n_ctx: int) -> ContextShape:
        settings = self._settings
        parallel = settings.parallel
        batch = min(settings.batch_size, n_ctx * parallel)
        ubatch = min(batch, settings.ubatch_size)
        outputs = max(parallel, min(batch, max(LEAST_OUTPUTS, parallel * OUTPUTS_PER_SEQUENCE)))
        if self._header.is_encoder_only or self._header.is_encoder_decoder:
            # An encoder sees the whole text at once, and gives a row for every token.
            batch = ubatch = outputs = max(ubatch, n_ctx)
        return ContextShape(
            n_ctx=n_ctx,
            parallel=parallel,
            batch=batch,
            ubatch=ubatch,
            outputs=outputs,
            kv_type=settings.kv_type,
            # llama.cpp aborts on T5 with a buffer for each sequence, and knows no flash attention for its biases.
            kv_unified=settings.kv_unified or self._header.is_encoder_decoder,
            flash_attn=settings.flash_attn != "off" and not self._header.is_encoder_decoder,
        )

    def _fits(self, n_ctx: int) -> bool:
        shape = self._shape_of(n_ctx)
        ram, vram = self.split(shape, self.gpu_layers(shape))
        return ram.total <= self._ram and vram.total <= self._vram

    def _fits_modestly(self, n_ctx: int) -> bool:
        """Whether it fits and leaves half of what the weights leave: a long context is seldom worth all the memory."""
        shape = self._shape_of(n_ctx)
        ram, _ = self.split(shape, self.gpu_layers(shape))
        modest = n_ctx <= WORTHWHILE_CONTEXT or ram.kv_cache <= (self._ram - ram.weights) // 2
        return modest and self._fits(n_ctx)

    def _fits_on_gpu(self, n_ctx: int) -> bool:
        return self.gpu_layers(self._shape_of(n_ctx)) == self._model.layers and self._fits(n_ctx)

    def _largest(self, most: int, fits: Callable[[int], bool]) -> int:
        """The largest context that fits: `most`, or a multiple of 256 from 512 on; 0 if there is none."""
        if fits(most):
            return most
        low, high = SMALLEST_CONTEXT // CELL_PAD, (most - 1) // CELL_PAD
        if low > high or not fits(low * CELL_PAD):
            return 0
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if fits(middle * CELL_PAD) else (low, middle - 1)
        return low * CELL_PAD


def _check(header: GgufHeader, settings: Settings) -> None:
    """What llama.cpp refuses, or aborts the process for."""
    asked, trained = settings.ctx_size, header.context_length
    if asked != "auto" and trained and asked > trained:
        raise ConfigError(
            f"--ctx-size {asked} is more than the {trained} tokens that {header.path.name} was trained for"
        )
    kind = TENSOR_TYPES_BY_NAME[settings.kv_type.upper()]
    if kind.block == 1:
        return
    if settings.flash_attn == "off":
        raise ConfigError(f"--kv-type {settings.kv_type} needs flash attention, and --flash-attn is off")
    for length in (header.key_length, header.value_length):
        if length % kind.block:
            raise ConfigError(
                f"--kv-type {settings.kv_type} needs heads of a multiple of {kind.block},"
                f" and those of {header.path.name} are {length} wide; use f16"
            )
