"""BERT: what our embedder makes of a text is what the model's own class makes of it."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf

from localchat.errors import ModelLoadFailed
from localchat.hub.progress import SilentProgress
from localchat.llama.embedding import Embedder
from localchat.llama.model import Model
from localchat_quantize.checkpoint import Checkpoint
from localchat_quantize.convert import plan_conversion
from minilm import minilm_checkpoint
from tiny_checkpoints.case import write_checkpoint
from tiny_checkpoints.texts import COMPARED
from tiny_checkpoints.vocabulary import wordpiece
from tiny_checkpoints.weights import randomize

NOT_AS_BERT = ("안녕", "नमस्ते")
"""llama.cpp does not take Korean syllables apart, and drops more of the marks of Indian scripts than BERT does."""

TEXTS = [text for text in COMPARED if not any(part in text for part in NOT_AS_BERT)]
CONFIG: dict[str, Any] = {
    "architectures": ["BertModel"],
    "vocab_size": 320,
    "hidden_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 384,
    "max_position_embeddings": 128,
    "hidden_act": "gelu",
}


def convert(checkpoint: Path, file: Path) -> Path:
    plan_conversion(Checkpoint(checkpoint)).write(file, "F32", SilentProgress())
    return file


def cosine(one: Any, other: Any) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


@pytest.fixture(scope="module")
def minilm_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert(minilm_checkpoint(), tmp_path_factory.mktemp("minilm") / "minilm.gguf")


def test_minilm_says_what_it_says_itself(minilm_file: Path) -> None:
    own = hf.AutoModel.from_pretrained(minilm_checkpoint()).eval()
    tokenizer = hf.AutoTokenizer.from_pretrained(minilm_checkpoint())
    with closing(Model(minilm_file)) as model, closing(Embedder(model, n_ctx=256)) as embedder:
        for text in TEXTS:
            encoded = tokenizer(text, return_tensors="pt")
            tokens = embedder.tokenize(text)
            assert tokens == encoded["input_ids"][0].tolist()
            with torch.no_grad():
                wanted = own(**encoded).last_hidden_state[0].mean(0).numpy()
            assert cosine(embedder.embed(tokens), wanted) >= 1 - 1e-5


@pytest.mark.parametrize("pooling", ["mean_tokens", "cls_token"])
def test_tiny_bert(tmp_path: Path, pooling: str) -> None:
    told = {key: value for key, value in CONFIG.items() if key != "architectures"}
    own: Any = hf.BertModel(hf.BertConfig(**told))
    own.eval()
    randomize(own, 0)
    folder = tmp_path / "checkpoint"
    write_checkpoint(folder, CONFIG, own.state_dict())
    wordpiece()(folder)
    write_pooling(folder, {f"pooling_mode_{pooling}": True})
    tokens = [int(token) for token in np.random.default_rng(0).integers(5, 300, 60)]
    with torch.no_grad():
        states = own(torch.tensor([tokens])).last_hidden_state[0].numpy()
    wanted = states.mean(0) if pooling == "mean_tokens" else states[0]
    with closing(Model(convert(folder, tmp_path / "m.gguf"))) as model, closing(Embedder(model, n_ctx=128)) as embedder:
        assert cosine(embedder.embed(tokens), wanted) >= 1 - 1e-5
        assert np.array_equal(embedder.embed(tokens), embedder.embed(tokens))


def test_model_that_does_not_say_how_it_pools_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    told = {key: value for key, value in CONFIG.items() if key != "architectures"}
    write_checkpoint(folder, CONFIG, hf.BertModel(hf.BertConfig(**told)).state_dict())
    wordpiece()(folder)
    with (
        closing(Model(convert(folder, tmp_path / "m.gguf"))) as model,
        pytest.raises(ModelLoadFailed, match="does not say how one vector is made"),
    ):
        Embedder(model, n_ctx=64)


def write_pooling(folder: Path, told: dict[str, bool]) -> None:
    modules = [{"path": "", "type": "sentence_transformers.models.Transformer"}]
    modules.append({"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"})
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps(told))
