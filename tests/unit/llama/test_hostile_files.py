"""Files that pass the header's checks do not end the process in which llama.cpp opens them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tiny_models import DECODERS, build

# Each file is loaded and decodes in a fork of one process, because starting Python for each would take minutes.
OPEN_ALL = """
import os, signal, struct, sys
from pathlib import Path

from localchat.errors import LocalchatError
from localchat.hardware import read_header
from localchat.llama import library
from localchat.llama.context import Context, ContextParams
from localchat.llama.model import Model

VALUES = (0, 3, (1 << 32) - 1)

def variants(path):
    content = path.read_bytes()
    header = read_header(path)
    for key, value in header.metadata.items():
        if type(value) not in (int, float) or not key.startswith((header.architecture, "tokenizer.")):
            continue
        place = content.index(struct.pack("<Q", len(key)) + key.encode()) + 8 + len(key) + 4
        for number in VALUES:
            changed = path.with_suffix(".changed")
            changed.write_bytes(content[:place] + struct.pack("<I", number) + content[place + 4:])
            yield f"{key}={number}", changed

def use(path):
    signal.alarm(30)
    model = Model(path)
    context = Context(model, ContextParams(n_ctx=32, batch_size=16, ubatch_size=16, outputs=1))
    context.batch.add(0, 0, model.vocabulary.tokenize("ab") or [0], last=True)
    context.decode()

library.start()
for path in map(Path, sys.argv[1:]):
    for name, changed in variants(path):
        try:
            read_header(changed)
        except LocalchatError:
            continue
        child = os.fork()
        if not child:
            try:
                use(changed)
            except LocalchatError:
                pass
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if status:
            print(path.stem, name, status)
print("done")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="each file needs a process of its own")
def test_numbers_that_pass_do_not_end_the_process(tmp_path: Path) -> None:
    files = [str(build(tmp_path / f"{architecture}.gguf", architecture)) for architecture in DECODERS]
    environment = os.environ | {"GGML_NO_BACKTRACE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", OPEN_ALL, *files], capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.stdout == "done\n", done.stdout + done.stderr[-2000:]
