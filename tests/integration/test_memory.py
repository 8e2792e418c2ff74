"""The memory that a model is told to need, against what its worker takes once its context is full."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import psutil
import pytest

from localchat.hardware import probe
from localchat.hub.progress import SilentProgress
from localchat.launch import Launch, prepare
from localchat.registry import load_registry
from localchat.sampling_params import SamplingParams
from localchat.settings import load_settings
from localchat.worker.client import WorkerClient
from localchat.worker.messages import Submit
from localchat_quantize.pipeline import requantize

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems count mapped pages in other ways")


async def resident_when_full(launch: Launch) -> int:
    """The resident set of a worker after every sequence has filled its context with tokens of all kinds."""
    worker = await WorkerClient.start(launch.load)
    try:
        tokens, chance = range(worker.info.vocabulary_size), random.Random(0)
        prompts = [chance.choices(tokens, k=launch.plan.n_ctx - 4) for _ in range(launch.plan.parallel)]
        generation = worker.submit(Submit(0, prompt, SamplingParams(), 4) for prompt in prompts)
        async for _ in generation.batches():
            pass
        return int(psutil.Process(worker.pid).memory_info().rss)
    finally:
        await worker.stop()


@pytest.mark.parametrize(
    ("quant", "mmap"),
    [
        ("Q4_1", True),
        ("Q4_0", True),
        ("Q4_0", False),
        ("Q8_0", True),
        ("Q8_0", False),
        ("Q4_K_M", True),
        ("Q6_K", True),
    ],
)
async def test_estimate_is_within_a_tenth_of_the_resident_set(
    quant: str, mmap: bool, embedded_model_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = embedded_model_path
    if quant != "Q4_1":
        path = tmp_path_factory.getbasetemp() / f"embedded.{quant}.gguf"
        if not path.exists():
            requantize(embedded_model_path, quant, path, SilentProgress())
    # One thread, because several would wait for each other on a busy machine.
    settings = load_settings(ctx_size=512, parallel=2, threads=1, mmap=mmap, prefix_disk=0, force=True)
    launch = prepare(str(path), settings, load_registry(), probe(), SilentProgress())
    assert launch.plan.memory.total == pytest.approx(await resident_when_full(launch), rel=0.1)
