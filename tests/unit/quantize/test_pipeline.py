"""`localchat quantize`, from one GGUF file to others; what it does with checkpoints is in tests/quantize."""

from __future__ import annotations

from pathlib import Path

import pytest

from localchat.cli.app import main
from localchat.errors import ConfigError
from localchat.hardware import read_header
from localchat.hub.progress import SilentProgress
from localchat_quantize.pipeline import Job, run
from tiny_models import build


def job(source: Path, *targets: str, requantize: bool = False) -> Job:
    return Job(
        source=source,
        name="tiny",
        targets=targets,
        output=source.parent / "out",
        threads=1,
        requantize=requantize,
        measure=False,
    )


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return build(tmp_path / "tiny.gguf", "qwen2")


def test_each_target_is_a_file_of_its_format(plain: Path) -> None:
    made = run(job(plain, "Q8_0", "Q4_0"), SilentProgress())
    assert [product.path.name for product in made] == ["tiny.Q8_0.gguf", "tiny.Q4_0.gguf"]
    assert [read_header(product.path).quant for product in made] == ["Q8_0", "Q4_0"]
    assert sorted(path.name for path in made[0].path.parent.iterdir()) == ["tiny.Q4_0.gguf", "tiny.Q8_0.gguf"]


def test_quantized_file_is_a_source_only_if_asked_for_and_the_product_says_so(plain: Path) -> None:
    [once] = run(job(plain, "Q8_0"), SilentProgress())
    with pytest.raises(ConfigError, match=r"quantized already \(Q8_0\).*--requantize"):
        run(job(once.path, "Q4_0"), SilentProgress())
    [twice] = run(job(once.path, "Q4_0", requantize=True), SilentProgress())
    assert read_header(twice.path).metadata["localchat.requantized_from"] == "Q8_0"


def test_format_that_is_none_and_file_that_is_there_stop_before_anything_is_made(plain: Path) -> None:
    with pytest.raises(ConfigError, match="Q9_9 is not a format"):
        run(job(plain, "Q8_0", "Q9_9"), SilentProgress())
    assert not (plain.parent / "out").exists()
    run(job(plain, "Q8_0"), SilentProgress())
    with pytest.raises(ConfigError, match="exists already"):
        run(job(plain, "Q4_0", "Q8_0"), SilentProgress())


def test_command_writes_where_serve_looks(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALCHAT_MODELS_DIR", str(plain.parent / "models"))
    with pytest.raises(SystemExit) as caught:
        main(["quantize", str(plain), "--to", "q8_0", "--name", "own"])
    assert caught.value.code in (0, None)
    assert read_header(plain.parent / "models" / "own" / "own.Q8_0.gguf").quant == "Q8_0"


def test_missing_source_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["quantize", str(tmp_path / "none"), "--to", "Q8_0", "--output", str(tmp_path)])
    assert caught.value.code == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
