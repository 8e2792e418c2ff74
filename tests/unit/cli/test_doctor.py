"""`localchat doctor`: the self-test on real files."""

from __future__ import annotations

from pathlib import Path

import pytest

from localchat.cli import app as cli
from localchat.registry import load_registry
from vocabularies import vocabulary_file

EMBEDDED_MODEL = "smollm2-135m-instruct"


def doctor(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        cli.main(["doctor", *arguments])
    assert isinstance(caught.value.code, int)
    shown = capsys.readouterr()
    return caught.value.code, shown.out, shown.err


def registry_with(folder: Path, template: str, entry: str, file: Path) -> str:
    """A registry with the model `mine` of this family, in this file."""
    path = folder / "registry.toml"
    path.write_text(
        f'[[model]]\nid = "mine"\ntitle = "Mine"\ntemplate = "{template}"\n{entry}\n'
        f'[[model.quant]]\nname = "F16"\nsource = {{ kind = "path", path = \'{file}\' }}\n',
        encoding="utf-8",
    )
    return str(path)


def test_embedded_model_is_well(embedded_model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = doctor(capsys, EMBEDDED_MODEL, "--models-dir", str(embedded_model_path.parents[1]))
    assert code == 0
    assert "FAILED" not in out
    assert "'<|im_end|>' ends replies" in out


def test_file_is_well(embedded_model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = doctor(capsys, str(embedded_model_path))
    assert code == 0
    assert "template gguf" in out


def test_model_that_is_not_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = doctor(capsys, EMBEDDED_MODEL, "--models-dir", str(tmp_path))
    assert (code, out) == (1, "")
    assert err == (
        f"localchat: {EMBEDDED_MODEL} is not on this machine; `localchat pull {EMBEDDED_MODEL}` fetches it\n"
    )


def test_model_of_a_family_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = vocabulary_file("dolly-v2", load_registry().templates["dolly-v2"])
    code, out, _ = doctor(capsys, "mine", "--registry", registry_with(tmp_path, "dolly-v2", "", file))
    assert code == 0
    assert out.count("text and tokens") == 4


def test_file_without_the_familys_markers_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = vocabulary_file("mpt-instruct", load_registry().templates["mpt-instruct"])
    code, out, _ = doctor(capsys, "mine", "--registry", registry_with(tmp_path, "dolly-v2", "", bare))
    assert code == 1
    assert "FAILED" in out
    assert "the file lacks these markers" in " ".join(out.split())


def test_entry_with_a_stop_string_that_is_never_found_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = vocabulary_file("llama2-chat", load_registry().templates["llama2-chat"])
    entry = "stop = ['</s>!']"
    code, out, _ = doctor(capsys, "mine", "--registry", registry_with(tmp_path, "llama2-chat", entry, file))
    assert code == 1
    assert "'</s>!' is never found" in out


def test_base_model_has_nothing_to_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = vocabulary_file("mpt-instruct", load_registry().templates["mpt-instruct"])
    code, out, _ = doctor(capsys, "mine", "--registry", registry_with(tmp_path, "none", "", file))
    assert code == 0
    assert "has no chat template" in out
