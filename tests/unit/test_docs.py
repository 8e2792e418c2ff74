"""The tables in the docs are what the code says."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from request_parts import request_parts

ROOT = Path(__file__).parents[2]


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_part_of_every_request_has_a_table() -> None:
    assert {part for parts in generator().BODIES.values() for part in parts} == request_parts()


def test_tables_of_fields_have_no_empty_cell() -> None:
    generate = generator()
    for mark in generate.BODIES:
        _head, _rule, *rows = generate.TABLES[mark][1]()
        assert rows, f"{mark} is empty"
        for row in rows:
            name, policy, note = row.replace("\\|", "").strip("|").split("|")
            assert name.strip(), f"{mark}: {row}"
            assert policy.strip(" *") in ("honoured", "refused", "ignored"), f"{mark}: {row}"
            assert note.strip(), f"{mark}: {row}"


def test_generated_tables_are_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    check = subprocess.run(command, capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stderr
