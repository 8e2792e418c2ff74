"""Writes a GGUF of MPT-7B's true shape with random weights: 3.7 GB, for speed and memory at the size people run.

Its text is noise. The vocabulary comes from a vocabulary-only GGUF, as llama.cpp's source carries in `models/`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from numpy.typing import NDArray

WIDTH, FEED_FORWARD, HEADS, LAYERS, CONTEXT = 4096, 16384, 32, 32, 2048
BLOCK, BLOCK_BYTES = 32, 18  # Q4_0: a float16 scale and 16 bytes of nibbles for 32 weights
CHATML = (
    "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def write(vocabulary: Path, target: Path) -> None:
    """Write the file; at its final name only when it is whole."""
    part = target.with_suffix(".part")
    writer = GGUFWriter(part, "mpt")
    _write_metadata(writer, GGUFReader(vocabulary))
    rng = np.random.default_rng(0)
    rows = len(GGUFReader(vocabulary).fields["tokenizer.ggml.tokens"].contents())
    _add(writer, rng, "token_embd.weight", rows, WIDTH)
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for layer in range(LAYERS):
        prefix = f"blk.{layer}."
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"{prefix}{norm}.weight", np.ones(WIDTH, np.float32))
        _add(writer, rng, f"{prefix}attn_qkv.weight", 3 * WIDTH, WIDTH)
        _add(writer, rng, f"{prefix}attn_output.weight", WIDTH, WIDTH)
        _add(writer, rng, f"{prefix}ffn_up.weight", FEED_FORWARD, WIDTH)
        _add(writer, rng, f"{prefix}ffn_down.weight", WIDTH, FEED_FORWARD)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    part.replace(target)


def _write_metadata(writer: GGUFWriter, source: GGUFReader) -> None:
    writer.add_name("mpt-7b-shape")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(1e-5)
    writer.add_max_alibi_bias(8.0)
    writer.add_file_type(2)
    writer.add_chat_template(CHATML)
    writer.add_tokenizer_model(source.fields["tokenizer.ggml.model"].contents())
    writer.add_tokenizer_pre("mpt")
    writer.add_token_list(list(source.fields["tokenizer.ggml.tokens"].contents()))
    writer.add_token_types(list(source.fields["tokenizer.ggml.token_type"].contents()))
    writer.add_token_merges(list(source.fields["tokenizer.ggml.merges"].contents()))
    for add in (writer.add_bos_token_id, writer.add_eos_token_id, writer.add_unk_token_id):
        add(0)


def _add(writer: GGUFWriter, rng: np.random.Generator, name: str, rows: int, columns: int) -> None:
    blocks: NDArray[np.uint8] = np.empty((rows * columns // BLOCK, BLOCK_BYTES), np.uint8)
    blocks[:, :2] = np.full(len(blocks), 0.004, np.float16).view(np.uint8).reshape(-1, 2)
    blocks[:, 2:] = rng.integers(0, 256, (len(blocks), BLOCK_BYTES - 2), np.uint8)
    tensor = blocks.reshape(rows, columns // BLOCK * BLOCK_BYTES)
    writer.add_tensor(name, tensor, raw_dtype=GGMLQuantizationType.Q4_0)


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
