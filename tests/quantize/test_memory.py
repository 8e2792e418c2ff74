"""A conversion holds a part of a model in memory, not the model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tiny_checkpoints.vocabulary import llama

ROWS, WIDTH, LENGTH, LAYERS = 100_000, 1024, 4096, 2
MEGABYTE = 1 << 20

CONVERT = """
import sys
from pathlib import Path
from localchat.hub.progress import SilentProgress
from localchat_quantize.checkpoint import Checkpoint
from localchat_quantize.convert import plan_conversion

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024

conversion = plan_conversion(Checkpoint(Path(sys.argv[1])))
before = peak()
conversion.write(Path(sys.argv[2]), "F16", SilentProgress())
print(peak() - before)
"""


def write_hollow(folder: Path) -> int:
    """A LLaMA of zeros in a file that takes no room; its size."""
    shapes = {"model.embed_tokens.weight": [ROWS, WIDTH], "lm_head.weight": [ROWS, WIDTH], "model.norm.weight": [WIDTH]}
    for layer in range(LAYERS):
        block = f"model.layers.{layer}."
        shapes |= {f"{block}self_attn.{part}_proj.weight": [WIDTH, WIDTH] for part in "qkvo"}
        shapes |= {f"{block}mlp.{part}_proj.weight": [LENGTH, WIDTH] for part in ("gate", "up")}
        shapes[f"{block}mlp.down_proj.weight"] = [WIDTH, LENGTH]
        shapes |= {f"{block}{norm}.weight": [WIDTH] for norm in ("input_layernorm", "post_attention_layernorm")}
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    told = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(told).to_bytes(8, "little") + told)
        file.truncate(8 + len(told) + end)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": WIDTH,
        "intermediate_size": LENGTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 8,
        "rms_norm_eps": 1e-6,
    }
    (folder / "config.json").write_text(json.dumps(config))
    llama()(folder)
    return end


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_peak_is_less_than_the_model(tmp_path: Path) -> None:
    size = write_hollow(tmp_path)
    target = tmp_path / "model.gguf"
    done = subprocess.run([sys.executable, "-c", CONVERT, str(tmp_path), str(target)], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    assert target.stat().st_size > size
    assert int(done.stdout) * MEGABYTE < size / 2
    target.unlink()
