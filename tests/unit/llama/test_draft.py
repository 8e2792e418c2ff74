"""llama.cpp's own contexts as model and draft: what the scripts of the engine's tests allow, these do as well."""

from __future__ import annotations

from collections.abc import Sequence as Items
from pathlib import Path

import pytest

from localchat.engine.cost_model import CostModel
from localchat.engine.detokenizer import Detokenizer
from localchat.engine.draft_model import DraftModel
from localchat.engine.engine import Engine, Usage
from localchat.engine.sequence import Sequence
from localchat.engine.speculation import Speculation
from localchat.errors import ModelLoadFailed
from localchat.llama.context import Context, ContextParams
from localchat.llama.model import Model
from localchat.llama.sampler import Sampler
from localchat.sampling_params import SamplingParams
from localchat.worker import messages as m
from localchat.worker.draft import load_draft
from tiny_models import build

STAIRS = [(1, 1.0), (2, 1.1), (64, 2.0)]
CHEAP = [(1, 0.01), (64, 0.02)]
PROMPTS = [[5, 9, 20, 31], [7, 7, 8], [100, 90, 80, 70, 60, 50, 40, 30, 20]]


class Steady(CostModel):
    """Of a machine that never changes."""

    def observe(self, passes: Items[tuple[int, int, int]], seconds: float) -> float:
        return 0.0


def context(model: Model, *, unified: bool) -> Context:
    return Context(model, ContextParams(n_ctx=256, parallel=3, outputs=48, kv_unified=unified))


def write(engine: Engine, model: Model) -> tuple[list[list[int]], Usage]:
    sequences = [
        Sequence(
            id,
            list(prompt),
            max_tokens=60,
            sampler=Sampler(SamplingParams(temperature=0, ignore_eos=True), model.vocabulary, 256),
            detokenizer=Detokenizer(),
        )
        for id, prompt in enumerate(PROMPTS)
    ]
    for sequence in sequences:
        engine.submit(sequence)
    while not engine.is_idle:
        engine.step()
    return [list(sequence.output) for sequence in sequences], engine.usage()


@pytest.mark.parametrize("unified", [False, True])
def test_model_is_its_own_draft(tmp_path: Path, unified: bool) -> None:
    model = Model(build(tmp_path / "model.gguf", "llama"))
    plain, _ = write(Engine(context(model, unified=unified), budget=64, streams=not unified), model)
    cost_model = Steady(STAIRS)
    draft_model = DraftModel(context(model, unified=unified), Steady(CHEAP), model.vocabulary.size)
    drafter = Speculation(cost_model, 256, streams=not unified, draft_model=draft_model)
    engine = Engine(
        context(model, unified=unified),
        budget=64,
        outputs=48,
        drafter=drafter,
        cost_model=cost_model,
        streams=not unified,
    )
    drafted, usage = write(engine, model)
    assert drafted == plain
    assert usage.accepted > 0.9 * usage.drafted > 100


def test_draft_that_forgets_is_refused(tmp_path: Path) -> None:
    llama, mamba = build(tmp_path / "llama.gguf", "llama"), build(tmp_path / "mamba.gguf", "mamba")
    request = m.Load(
        *(str(llama), 256, 2, 64, 64, 1, 0, "f16", False, "auto", True, 8, 32),
        draft=m.LoadDraft(str(mamba), 256, 64, 0),
    )
    with pytest.raises(ModelLoadFailed, match=r"wrong guesses cannot be taken back from the memory of mamba\.gguf"):
        load_draft(request, Context(Model(llama), ContextParams(n_ctx=256)))
