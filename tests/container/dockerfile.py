"""Reads a Dockerfile and a .dockerignore: as much of both formats as the ones of this repository use."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template


@dataclass(frozen=True)
class Instruction:
    """One instruction, its continued lines joined."""

    keyword: str
    flags: dict[str, str]
    text: str

    @property
    def exec_form(self) -> list[str]:
        """The words of `["a", "b"]`; ValueError for the shell form."""
        words = json.loads(self.text)
        if not isinstance(words, list):
            raise ValueError(f"{self.keyword} {self.text} is not in exec form")
        return [str(word) for word in words]

    def assignments(self, known: Mapping[str, str]) -> dict[str, str | None]:
        """The names that ARG, ENV or LABEL set; None for an ARG without a default."""
        pairs = [word.partition("=") for word in shlex.split(self.text)]
        return {name: expand(value, known) if equals else None for name, equals, value in pairs}


@dataclass(frozen=True)
class Stage:
    """What follows one FROM."""

    name: str
    base: str
    instructions: list[Instruction]

    def all(self, keyword: str) -> list[Instruction]:
        """The instructions with this keyword."""
        return [instruction for instruction in self.instructions if instruction.keyword == keyword]

    def last(self, keyword: str) -> Instruction:
        """The one that counts, where later ones replace earlier ones."""
        return self.all(keyword)[-1]


def expand(text: str, known: Mapping[str, str]) -> str:
    """`$NAME` and `${NAME}` replaced; an unknown name stands for nothing, as in a shell."""
    return Template(re.sub(r"\$\{?(\w+)\}?", r"${\1}", text)).substitute(_Missing(known))


class _Missing(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return ""


def parse(text: str) -> list[Stage]:
    """The stages in their order; ValueError says which line makes no sense."""
    stages: list[Stage] = []
    known: dict[str, str] = {}
    for line in _logical_lines(text):
        instruction = _instruction(line)
        if instruction.keyword == "FROM":
            base, _, name = instruction.text.partition(" AS ")
            stages.append(Stage(name.strip(), expand(base.strip(), known), []))
        elif stages:
            stages[-1].instructions.append(instruction)
        elif instruction.keyword == "ARG":
            known.update({name: value or "" for name, value in instruction.assignments(known).items()})
        else:
            raise ValueError(f"{instruction.keyword} before the first FROM")
    return stages


def _logical_lines(text: str) -> Iterator[str]:
    joined = ""
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue  # a comment does not end a continued instruction
        if line.endswith("\\"):
            joined += line[:-1]
        else:
            yield joined + line
            joined = ""
    if joined:
        raise ValueError(f"nothing continues: {joined}")


def _instruction(line: str) -> Instruction:
    keyword, _, rest = line.strip().partition(" ")
    if not re.fullmatch(r"[A-Z]+", keyword):
        raise ValueError(f"not an instruction: {line}")
    rest, flags = rest.strip(), {}
    while flag := re.match(r"--([a-z-]+)(?:=(\S*))?\s+", rest):
        flags[flag[1]] = flag[2] or ""
        rest = rest[flag.end() :]
    if not rest:
        raise ValueError(f"nothing follows {keyword}")
    return Instruction(keyword, flags, rest)


def is_ignored(path: str, patterns: list[str]) -> bool:
    """Whether a .dockerignore keeps this path, relative to its folder, out of the build context."""
    ignored = False
    for pattern in patterns:
        matches = re.match(_regex(pattern.removeprefix("!")), path)
        ignored = ignored if matches is None else not pattern.startswith("!")
    return ignored


def ignore_patterns(text: str) -> list[str]:
    """The patterns of a .dockerignore, of which the last that matches decides."""
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def context_files(root: Path, patterns: list[str]) -> Iterator[str]:
    """The files that a build would be sent, relative to `root`."""
    for folder, folders, files in os.walk(root):
        here = Path(folder).relative_to(root)
        # An ignored folder is not entered; one that hides an exception inside it does not occur here.
        folders[:] = [name for name in folders if not is_ignored((here / name).as_posix(), patterns)]
        names = [(here / name).as_posix() for name in files]
        yield from (name for name in names if not is_ignored(name, patterns))


def _regex(pattern: str) -> str:
    parts = []
    for part in pattern.strip("/").split("/"):
        parts.append("(?:[^/]+/)*" if part == "**" else re.escape(part).replace(r"\*", "[^/]*") + "/")
    return "".join(parts).removesuffix("/") + "(?:/|$)"  # a folder stands for all that is in it
