"""The vocabularies of real models, without the models: llama.cpp keeps them in its sources for tests of its own.

They are fetched once, with the sources of llama-cpp-python. A family whose models add markers to the vocabulary they
build on gets a copy with those markers, as these models' own tokenizers have them.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import platformdirs
from filelock import FileLock
from gguf import GGUFWriter, TokenType

from localchat.hardware import read_header
from localchat.hardware.header import GgufArray
from localchat.llama.model import Model
from localchat.registry.spec import TemplateFamily

SOURCES = "llama-cpp-python==0.3.36"

BASES: dict[str, str] = {
    # GPT-NeoX's tokenizer. llama.cpp's file of that name holds the same tokens, but not how text is split into words.
    **dict.fromkeys(("oasst-endoftext", "dolly-v2", "stablelm-alpha", "incite-chat", "incite-instruct"), "mpt"),
    **dict.fromkeys(("openchatkit", "h2ogpt-human-bot", "h2ogpt-prompt-answer", "rwkv-raven"), "mpt"),
    **dict.fromkeys(("mpt-chatml", "mpt-instruct"), "mpt"),
    **dict.fromkeys(("oasst-eos-llama", "alpaca", "alpaca-nosys", "alpaca-guanaco-leh", "vicuna-v1.1"), "llama-spm"),
    **dict.fromkeys(("vicuna-v0", "koala", "gpt4all-plain", "guanaco-qlora", "stable-vicuna"), "llama-spm"),
    **dict.fromkeys(("llama2-chat", "stable-beluga", "airoboros-1.4", "belle", "wizardlm-7b"), "llama-spm"),
    "chinese-vicuna-chat": "llama-spm",
    **dict.fromkeys(("dlite-v2", "gpt4all-j", "camel-writer", "minchatgpt"), "gpt-2"),
    "falcon-instruct": "falcon",
    "starchat": "refact",  # StarCoder's tokenizer; the file named so holds StarCoder 2's
}
"""Family → the vocabulary its models build on. llama.cpp has none for the other families' models."""


def vocabulary_file(name: str, family: TemplateFamily) -> Path:
    """A GGUF file with nothing but the vocabulary of a family's models."""
    folder = Path(platformdirs.user_cache_dir("localchat")) / "tests" / SOURCES.replace("==", "-")
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        base = folder / f"{BASES[name]}.gguf"
        if not base.is_file():
            _fetch(folder)
        added = added_tokens(family, base)
        if not added:
            return base
        copy = folder / f"{BASES[name]}.{hashlib.sha256(repr(added).encode()).hexdigest()[:12]}.gguf"
        if not copy.is_file():
            _add_tokens(base, added, copy)
        return copy


def added_tokens(family: TemplateFamily, base: Path) -> list[str]:
    """The markers of a family that the vocabulary lacks."""
    model = Model(base, vocab_only=True)
    missing = [token for token in family.special_tokens if model.vocabulary.control_token(token) is None]
    model.close()
    return missing


def _fetch(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download", "--no-deps"]
        subprocess.run([*pip, "--no-binary", "llama-cpp-python", "--dest", scratch, SOURCES], check=True)
        [archive] = Path(scratch).glob("*.tar.gz")
        wanted = {f"ggml-vocab-{base}.gguf": base for base in BASES.values()}
        with tarfile.open(archive) as members:
            for member in members:
                base = wanted.get(Path(member.name).name)
                if base and (file := members.extractfile(member)):
                    part = Path(scratch) / base
                    part.write_bytes(file.read())
                    os.replace(part, folder / f"{base}.gguf")


def _add_tokens(base: Path, added: Sequence[str], copy: Path) -> None:
    """Copy a vocabulary with these control tokens in the places it keeps free, or at its end."""
    metadata = read_header(base).metadata
    values: dict[str, Any] = {
        name: value.read() if isinstance(value, GgufArray) else value
        for name, value in metadata.items()
        if name.startswith("tokenizer.")
    }
    tokens, types = values["tokenizer.ggml.tokens"], values["tokenizer.ggml.token_type"]
    free = [place for place, token in enumerate(tokens) if token.startswith("[PAD")]
    for token in added:
        if free:
            place = free.pop(0)
            tokens[place], types[place] = token, int(TokenType.CONTROL)
        else:
            tokens.append(token)
            types.append(int(TokenType.CONTROL))
            values.get("tokenizer.ggml.scores", []).append(0.0)
    part = copy.with_suffix(".part")
    writer = GGUFWriter(part, metadata["general.architecture"])
    for name, value in values.items():
        _ADD[type(value)](writer, name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    os.replace(part, copy)


_ADD: dict[type, Callable[[Any, str, Any], None]] = {
    list: GGUFWriter.add_array,
    str: GGUFWriter.add_string,
    bool: GGUFWriter.add_bool,
    int: GGUFWriter.add_uint32,
}
