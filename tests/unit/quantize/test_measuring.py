"""Files measured in processes of their own: against the original, on a text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from localchat.errors import EngineError
from localchat.hub.progress import SilentProgress
from localchat_quantize import measuring
from localchat_quantize.measuring import Text, yardstick
from localchat_quantize.pipeline import Job, run
from localchat_quantize.probe import Speed
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


def test_speeds_are_the_best_of_visits_in_turn(
    plain: Path, text: Text, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    visited: list[str] = []
    speeds = iter([Speed(50, 5), Speed(200, 7), Speed(90, 9), Speed(150, 6)])

    def visit(path: Path, *_: object) -> Iterator[Speed]:
        visited.append(path.name)
        yield next(speeds)

    other = tmp_path / "other.gguf"
    other.write_bytes(plain.read_bytes())
    with yardstick(plain, text, tmp_path, 1, "", SilentProgress()) as ruler:
        monkeypatch.setattr(measuring, "_probe", visit)
        known = ruler.of_original().model_copy(update={"prompt_speed": 100.0, "decode_speed": 8.0})
        first, second = ruler.in_turn([plain, other], [known, known], SilentProgress())
    assert visited == ["tiny.gguf", "other.gguf", "tiny.gguf", "other.gguf"]
    assert (first.prompt_speed, first.decode_speed) == (100, 9)
    assert (second.prompt_speed, second.decode_speed) == (200, 8)
    assert first.perplexity == known.perplexity


def test_what_decodes_nothing_is_not_timed_again(plain: Path, text: Text, tmp_path: Path) -> None:
    with yardstick(plain, text, tmp_path, 1, "", SilentProgress()) as ruler:
        known = ruler.of_original().model_copy(update={"decode_speed": None})
        assert ruler.in_turn([tmp_path / "absent.gguf"], [known], SilentProgress()) == [known]


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
