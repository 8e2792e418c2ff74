"""Writes a tiny model to a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gguf import GGUFValueType, GGUFWriter, LlamaFileType

from .architectures import ARCHITECTURES
from .size import Size
from .vocabulary import Vocabulary
from .weights import Weights

_VALUE_TYPES = {
    bool: GGUFValueType.BOOL,
    int: GGUFValueType.UINT32,
    float: GGUFValueType.FLOAT32,
    str: GGUFValueType.STRING,
}


def build(
    path: Path,
    architecture: str,
    *,
    chat_template: str | None = None,
    special_tokens: Sequence[str] = (),
    name: str | None = None,
    context_length: int = 512,
    width: int = 64,
    layers: int = 2,
    seed: int = 0,
) -> Path:
    """Write a model of an architecture; the same arguments make the same bytes. Returns the path."""
    made, size = ARCHITECTURES[architecture], Size(width, layers, context_length)
    known = made.vocabulary(()).tokens
    vocabulary = made.vocabulary([token for token in special_tokens if token not in known])
    weights = Weights(seed)
    made.graph.tensors(weights, size, len(vocabulary.tokens))
    writer = GGUFWriter(path, architecture)
    writer.add_type("model")
    writer.add_name(name or f"Tiny {architecture}")
    writer.add_file_type(LlamaFileType.ALL_F32)
    for key, value in made.graph.hparams(size).items():
        if isinstance(value, list):
            writer.add_array(f"{architecture}.{key}", value)
        else:
            writer.add_key_value(f"{architecture}.{key}", value, _VALUE_TYPES[type(value)])
    _add_vocabulary(writer, vocabulary)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    for tensor, data in weights.tensors.items():
        writer.add_tensor(tensor, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_vocabulary(writer: GGUFWriter, vocabulary: Vocabulary) -> None:
    writer.add_tokenizer_model(vocabulary.model)
    if vocabulary.pre is not None:
        writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(list(vocabulary.tokens))
    writer.add_token_types(list(vocabulary.types))
    if vocabulary.scores is not None:
        writer.add_token_scores(list(vocabulary.scores))
    if vocabulary.merges is not None:
        writer.add_token_merges(list(vocabulary.merges))
    if vocabulary.token_types is not None:
        writer.add_token_type_count(vocabulary.token_types)
    for role, token in vocabulary.special.items():
        writer.add_uint32(f"tokenizer.ggml.{role}_token_id", token)
    for flag, value in vocabulary.flags.items():
        writer.add_bool(f"tokenizer.ggml.{flag}", value)
