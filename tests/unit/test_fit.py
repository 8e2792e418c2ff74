"""Which quant of a model is taken on which machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hub_server import in_this_process, tiny_gguf
from localchat.errors import DoesNotFit
from localchat.fit import best, choose, fit_rows
from localchat.hardware import Gpu, Machine
from localchat.hardware.cpu import Cpu
from localchat.registry import Choice, ModelSpec
from localchat.registry.spec import PathSource
from localchat.settings import Settings, load_settings

GIB = 1 << 30
HOME = Machine(4, 32 * GIB, 24 * GIB, cpu=Cpu("CPU", frozenset({"avx2"})))
SIZES = {
    "Q4_K_M": 4.39,
    "Q2_K": 2.84,
    "Q4_0": 3.91,
    "Q4_1": 4.33,
    "Q5_1": 5.16,
    "Q6_K": 5.53,
    "Q8_0": 7.16,
    "F16": 13.5,
}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("LOCALCHAT_CONFIG", str(tmp_path / "none.toml"))
    return load_settings(models_dir=tmp_path / "models", parallel=1)


def candidates(*names: str, source: dict[str, Any] | None = None, **fields: Any) -> tuple[Choice, ...]:
    """A model of 6.7 billion parameters in these quants, which nobody has."""
    source = source or {"kind": "convert", "repo": "owner/model"}
    quants = [{"name": name, "source": source, "size_gb": SIZES[name]} for name in names]
    entry = {"id": "mpt-7b", "title": "MPT", "architecture": "mpt", "parameters": "6.7B", "context_length": 2048}
    spec = ModelSpec.model_validate({**entry, "quant": quants, **fields})
    return tuple(Choice(spec, quant) for quant in spec.quants)


def with_ram(free: float) -> Machine:
    return replace(HOME, ram_available=int(free * GIB))


def chosen(free: float, settings: Settings, *names: str) -> str:
    return choose(candidates(*(names or tuple(SIZES))), with_ram(free), settings).choice.quant.name


@pytest.mark.parametrize(
    ("free", "name"),
    # 3.2 GiB are kept back, and 1.3 GiB are context and buffers.
    [(24, "Q8_0"), (12, "Q6_K"), (10.5, "Q4_K_M"), (10, "Q4_K_M"), (9.3, "Q4_0")],
)
def test_best_quality_with_headroom_is_taken(free: float, name: str, settings: Settings) -> None:
    assert chosen(free, settings) == name


def test_coarse_formats_are_for_machines_on_which_no_other_has_headroom(settings: Settings) -> None:
    assert chosen(8.5, settings, "Q4_0", "Q2_K") == "Q2_K"
    assert chosen(8.5, settings, "Q4_0") == "Q4_0"


def test_formats_that_this_cpu_reads_slowly_come_last(settings: Settings) -> None:
    assert chosen(24, settings, "Q5_1", "Q4_K_M") == "Q4_K_M"
    assert chosen(24, settings, "Q5_1", "Q2_K") == "Q5_1"
    decision = choose(candidates("Q5_1", "Q4_1"), HOME, settings)
    assert decision.choice.quant.name == "Q5_1"
    assert decision.reason == "of 2 quants the best that fits with headroom; this CPU reads prompts slowly in it"


def test_sixteen_bits_are_never_taken_of_themselves(settings: Settings) -> None:
    machine = Machine(4, 512 * GIB, 500 * GIB)
    assert choose(candidates("F16", "Q8_0"), machine, settings).choice.quant.name == "Q8_0"
    assert choose(candidates("F16"), machine, settings).choice.quant.name == "F16"


def test_single_candidate_is_taken_unseen(settings: Settings) -> None:
    one = candidates("F16")
    assert choose(one, with_ram(0), settings) == (one[0], "")


def test_what_fits_nowhere_is_refused_with_the_sum(settings: Settings) -> None:
    with pytest.raises(DoesNotFit) as caught:
        choose(candidates(*SIZES), with_ram(5), settings)
    message = str(caught.value)
    assert message.startswith(
        "mpt-7b does not fit in any of its 8 quants: the smallest, Q2_K, needs weights 2.6 GiB + KV"
    )
    assert "1.8 GiB can be had" in message
    assert "--force" in message


def test_force_takes_the_smallest_of_what_fits_nowhere(settings: Settings) -> None:
    forced = settings.model_copy(update={"force": True})
    assert choose(candidates(*SIZES), with_ram(5), forced).choice.quant.name == "Q2_K"


def test_memory_setting_caps_what_can_be_had(settings: Settings) -> None:
    memory = 6 * GIB + GIB // 8
    capped = settings.model_copy(update={"memory": memory})
    assert choose(candidates(*SIZES), HOME, capped).choice.quant.name == "Q4_0"
    assert all(row.room == memory for row in fit_rows(candidates(*SIZES), HOME, capped))


def test_context_that_was_asked_for_counts(settings: Settings) -> None:
    many = settings.model_copy(update={"ctx_size": 2048, "parallel": 8})
    assert choose(candidates(*SIZES), with_ram(16), settings).choice.quant.name == "Q8_0"
    assert choose(candidates(*SIZES), with_ram(16), many).choice.quant.name == "Q4_K_M"


def test_longer_context_than_was_trained_is_cut(settings: Settings) -> None:
    long = settings.model_copy(update={"ctx_size": 100_000})
    assert {row.plan.n_ctx for row in fit_rows(candidates(*SIZES), HOME, long)} == {2048}


def test_model_that_leaves_the_gpu_has_no_headroom(settings: Settings) -> None:
    machine = replace(HOME, gpus=(Gpu("GPU", 8 * GIB, 8 * GIB),))
    rows = {row.choice.quant.name: row for row in fit_rows(candidates(*SIZES), machine, settings)}
    assert rows["Q8_0"].fits
    assert not rows["Q8_0"].has_headroom
    assert rows["Q4_K_M"].has_headroom
    assert rows["Q4_K_M"].tokens_per_second(50e9) is None


def test_estimates_are_marked_and_faster_when_smaller(settings: Settings) -> None:
    rows = fit_rows(candidates("Q4_0", "Q8_0"), HOME, settings)
    assert all(row.is_estimated and row.installed is None for row in rows)
    small, large = (row.tokens_per_second(50e9) or 0 for row in rows)
    assert 10 < small < 15
    assert small > 1.7 * large
    assert rows[0].headroom == rows[0].room - rows[0].plan.memory.total


def test_sizes_that_no_page_shows_follow_from_the_format(settings: Settings) -> None:
    spec = candidates("Q4_0")[0].spec
    quant = spec.quants[0].model_copy(update={"size_gb": None})
    [row] = fit_rows([Choice(spec, quant)], HOME, settings)
    assert row.size == pytest.approx(3.91e9, rel=0.02)


def test_quant_of_no_known_size_has_no_row(settings: Settings) -> None:
    spec = candidates("Q4_0")[0].spec.model_copy(update={"parameters": None})
    quant = spec.quants[0].model_copy(update={"size_gb": None})
    nameless = [Choice(spec, quant), Choice(spec, quant.model_copy(update={"name": "Q8_0"}))]
    assert fit_rows(nameless, HOME, settings) == ()
    assert best(()) is None
    assert choose(nameless, HOME, settings).reason == "no sizes are known, and it is the first"


@pytest.fixture
def local(tmp_path: Path) -> Callable[..., tuple[Choice, ...]]:
    """A model with these quants as files; those that are named in `here` exist."""

    def make(*names: str, here: tuple[str, ...]) -> tuple[Choice, ...]:
        quants = []
        for name in names:
            path = tmp_path / f"{name}.gguf"
            if name in here:
                path.write_bytes(tiny_gguf())
            quants.append({"name": name, "source": {"kind": "path", "path": str(path)}, "size_gb": SIZES[name]})
        spec = ModelSpec.model_validate({"id": "m", "title": "M", "parameters": "6.7B", "quant": quants})
        return tuple(Choice(spec, quant) for quant in spec.quants)

    return make


def test_installed_quant_that_fits_wins(local: Callable[..., tuple[Choice, ...]], settings: Settings) -> None:
    decision = choose(local("Q8_0", "Q4_0", "Q2_K", here=("Q4_0", "Q2_K")), HOME, settings)
    assert decision.choice.quant.name == "Q4_0"
    assert decision.reason == "it is installed and fits"


def test_broken_file_counts_as_absent(local: Callable[..., tuple[Choice, ...]], settings: Settings) -> None:
    choices = local("Q8_0", "Q4_0", here=("Q4_0",))
    source = choices[1].quant.source
    assert isinstance(source, PathSource)
    Path(source.path).write_bytes(b"not a model")
    assert all(row.installed is None for row in fit_rows(choices, HOME, settings))


def test_header_of_one_quant_serves_the_others(local: Callable[..., tuple[Choice, ...]], settings: Settings) -> None:
    rows = fit_rows(local("Q8_0", "Q4_0", here=("Q4_0",)), HOME, settings)
    assert [row.is_estimated for row in rows] == [False, False]
    assert [row.installed is not None for row in rows] == [False, True]
    assert rows[0].header.metadata == rows[1].header.metadata


def test_header_is_looked_at_from_afar(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    source = {"kind": "hf", "repo": "owner/tiny", "file": "tiny.gguf"}
    two = candidates("Q4_0", "Q8_0", source=source)
    absent = candidates("Q4_0", "Q8_0", source={**source, "repo": "owner/absent"})
    with in_this_process(tmp_path, monkeypatch) as hub:
        hub.add("owner/tiny", "tiny.gguf", tiny_gguf())
        assert [row.is_estimated for row in fit_rows(two, HOME, settings, network=True)] == [False, False]
        assert [row.is_estimated for row in fit_rows(two, HOME, settings)] == [True, True]
        assert choose(absent, HOME, settings).choice.quant.name == "Q8_0"
