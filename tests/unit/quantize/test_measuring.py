"""Files measured in processes of their own: against the original, on a text."""

from __future__ import annotations

from pathlib import Path

import pytest

from localchat.errors import EngineError
from localchat.hub.progress import SilentProgress
from localchat_quantize.measuring import Text, yardstick
from localchat_quantize.pipeline import Job, run
from tiny_models import build

WORDS = "Salt keeps meat from spoiling, and sugar keeps fruit; both take the water that mould would need. " * 20


@pytest.fixture
def text(tmp_path: Path) -> Text:
    path = tmp_path / "words.txt"
    path.write_text(WORDS, encoding="utf-8")
    return Text(path, "words")


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return build(tmp_path / "tiny.gguf", "qwen2")


def test_every_figure_of_a_file_and_of_its_original(plain: Path, text: Text, tmp_path: Path) -> None:
    with yardstick(plain, text, tmp_path, 1, "a CPU", SilentProgress()) as ruler:
        original, same = ruler.of_original(), ruler.measure(plain, SilentProgress())
        assert (tmp_path / ".answers.npy").exists()
    assert not (tmp_path / ".answers.npy").exists()
    assert original.perplexity == same.perplexity
    assert (original.kl_mean, original.top1) == (None, None)
    assert (same.kl_mean, same.kl_p99, same.top1) == (0, 0, 1)
    assert (same.text, same.machine, same.threads) == ("words", "a CPU", 1)
    assert same.size == plain.stat().st_size
    for figure in (same.prompt_speed, same.decode_speed, same.peak_rss, same.tokens):
        assert figure is not None
        assert figure > 0


def test_what_cannot_be_measured_is_one_line(plain: Path, text: Text, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(plain.read_bytes()[:5000])
    with (
        yardstick(plain, text, tmp_path, 1, "", SilentProgress()) as ruler,
        pytest.raises(EngineError, match=r"broken.gguf could not be measured: llama.cpp could not load"),
    ):
        ruler.measure(broken, SilentProgress())
    text.path.write_text("short")
    with (
        pytest.raises(EngineError, match="the text has"),
        yardstick(plain, text, tmp_path, 1, "", SilentProgress()),
    ):
        pass


def test_pipeline_compares_with_the_original(plain: Path, text: Text, tmp_path: Path) -> None:
    job = Job(source=plain, name="tiny", targets=["Q8_0", "Q2_K"], output=tmp_path / "out", threads=1, text=text.path)
    fine, coarse = (product.measured for product in run(job, SilentProgress()))
    assert fine is not None
    assert coarse is not None
    assert fine.kl_mean is not None
    assert coarse.kl_mean is not None
    assert fine.kl_mean < coarse.kl_mean
    assert fine.bits_per_weight > coarse.bits_per_weight
