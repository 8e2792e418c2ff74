"""Importance matrices: gathered, kept and given to the quantizer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from localchat.errors import ConfigError
from localchat.llama.activations import Use
from localchat.llama.quantize import quantize
from localchat_quantize import imatrix
from localchat_quantize.imatrix import ImportanceMatrix

TEXT = "Rivers carve valleys, and glaciers widen them; what either leaves behind tells geologists which it was. " * 60


@pytest.fixture(scope="module")
def gathered(embedded_model_path: Path) -> ImportanceMatrix:
    return imatrix.collect(embedded_model_path, TEXT, dataset="rivers", threads=2)


def test_every_chunk_counts(gathered: ImportanceMatrix) -> None:
    assert gathered.chunks == 2
    assert gathered.uses["blk.0.attn_q.weight"].counts.tolist() == [gathered.chunks * gathered.chunk_size]
    assert gathered.importance()["blk.0.attn_q.weight"].shape == (576,)


def test_file_is_read_as_it_was_written(gathered: ImportanceMatrix, tmp_path: Path) -> None:
    gathered.save(tmp_path / "m.gguf")
    again = imatrix.load(tmp_path / "m.gguf")
    assert (again.dataset, again.chunks, again.chunk_size) == ("rivers", gathered.chunks, gathered.chunk_size)
    assert set(again.uses) == set(gathered.uses)
    for name, values in gathered.importance().items():
        np.testing.assert_allclose(again.importance()[name], values, rtol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["m.gguf"]


def test_format_that_needs_importance_gets_it(
    gathered: ImportanceMatrix, embedded_model_path: Path, tmp_path: Path
) -> None:
    target = tmp_path / "small.gguf"
    quantize(embedded_model_path, target, "IQ2_XS", threads=2, requantize=True, importance=gathered.importance())
    assert target.stat().st_size < embedded_model_path.stat().st_size


def test_expert_that_was_never_asked_counts_as_any() -> None:
    use = Use(np.array([[4.0, 8.0], [0.0, 0.0]]), np.array([2, 0]))
    matrix = ImportanceMatrix({"blk.0.ffn_up_exps.weight": use}, "none", 1, 2)
    assert matrix.importance()["blk.0.ffn_up_exps.weight"].tolist() == [2, 4, 1, 1]


def test_other_files_are_refused(tmp_path: Path, embedded_model_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        imatrix.load(tmp_path / "none.gguf")
    (tmp_path / "text").write_text("no matrix at all, and no GGUF either")
    with pytest.raises(ConfigError, match="is not an importance matrix"):
        imatrix.load(tmp_path / "text")
    with pytest.raises(ConfigError, match="is not an importance matrix"):
        imatrix.load(embedded_model_path)
