"""`localchat pick`: a choice by figures from the registry and from this machine's own card."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localchat.cli import pick as command
from localchat.hardware import Machine
from localchat.hardware.cpu import Cpu
from localchat.registry import Measured
from localchat_quantize import card
from localchat_quantize.card import Card, Row

GIB = 1 << 30
HOME = Machine(4, 16 * GIB, 6 * GIB, cpu=Cpu("Some CPU", frozenset({"avx2"})))
FIGURES = {
    "F16": (8, None, 2.0),
    "Q8_0": (4, 0.01, 5.0),
    "Q4_0": (2, 0.05, 10.0),
    "Q2_K": (1, 0.5, 12.0),
}


def measured(format: str, **other: Any) -> Measured:
    ram, kl, speed = FIGURES[format]
    figures: dict[str, Any] = {
        "size": ram * GIB - 1000,
        "bits_per_weight": 4.5,
        "perplexity": 20.0,
        "kl_mean": kl,
        "decode_speed": speed,
        "peak_rss": ram * GIB,
        "reference": "F16",
    }
    return Measured(**figures | other)


def row(format: str, source: str, *, is_measured: bool = True) -> str:
    lines = ["[[model.quant]]", f'name = "{format}"', f"source = {source}"]
    if is_measured:
        lines.append("[model.quant.measured]")
        figures = measured(format).model_dump(exclude_none=True, exclude_defaults=True)
        lines += [f"{name} = {json.dumps(value)}" for name, value in figures.items()]
    return "\n".join(lines)


HUB = '{ kind = "hf", repo = "owner/m", file = "m.gguf" }'
CONVERT = '{ kind = "convert", repo = "owner/m" }'


class Pick:
    """Runs the command on a home machine with the model `m`."""

    def __init__(self, run: Callable[..., Any], folder: Path) -> None:
        self._run = run
        self._registry = folder / "registry.toml"
        self._models = folder / "models"

    def register(self, *rows: str) -> None:
        self._registry.write_text(
            "\n".join(['[[model]]\nid = "m"\ntitle = "M"', *rows, '[alias]\nsmall = "m"']), encoding="utf-8"
        )

    def note(self, **figures: Measured) -> None:
        """A card of this machine's own."""
        rows = [Row(format=name, file=f"m.{name}.gguf", sha256="0" * 64, measured=own) for name, own in figures.items()]
        made = Card(id="m", source="owner/m@abc", made="2025-01-01", localchat="1", rows=tuple(rows))
        card.save(made, self._models / "m")

    def make(self, format: str) -> None:
        """A file where `quantize` would have put it."""
        (self._models / "m").mkdir(parents=True, exist_ok=True)
        (self._models / "m" / f"m.{format}.gguf").touch()

    def __call__(self, *arguments: str) -> Any:
        arguments = arguments if arguments and not arguments[0].startswith("--") else ("m", *arguments)
        return self._run("pick", *arguments, "--registry", str(self._registry), "--models-dir", str(self._models))


@pytest.fixture
def pick(run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pick:
    monkeypatch.setattr(command, "probe", lambda: HOME)
    made = Pick(run, tmp_path)
    made.register(*(row(format, HUB) for format in FIGURES))
    return made


@pytest.mark.parametrize(
    ("bounds", "best"),
    [
        ((), "Q8_0"),
        (("--ram", "100G"), "F16"),
        (("--ram", "2G"), "Q4_0"),
        (("--min-speed", "10"), "Q4_0"),
        (("--ram", "100G", "--max-kl", "0.05", "--min-speed", "3"), "Q8_0"),
        (("--ram", "3G", "--max-kl", "0.05", "--min-speed", "3"), "Q4_0"),
    ],
)
def test_name_alone_is_printed(pick: Pick, bounds: tuple[str, ...], best: str) -> None:
    code, out, err = pick(*bounds)
    assert (code, out) == (0, f"m:{best}\n")
    [line] = [line for line in err.splitlines() if line.startswith("→")]
    assert line.split()[1] == best


def test_table_says_why_the_others_are_left_out(pick: Pick) -> None:
    lines = pick("--min-speed", "3").err.splitlines()
    assert lines[1].endswith("needs --ram 8G; needs --min-speed 2")
    assert lines[2].split()[:8] == ["→", "Q8_0", "4.0", "GiB", "4.0", "GiB", "0.01", "5"]


def test_memory_setting_bounds_too(pick: Pick, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALCHAT_MEMORY", "3G")
    assert pick().out == "m:Q4_0\n"


def test_alias_and_quant_are_names(pick: Pick) -> None:
    assert pick("small").out == "m:Q8_0\n"
    assert pick("m:q4_0").out == "m:Q4_0\n"


def test_nothing_within_the_bounds_is_one_line(pick: Pick) -> None:
    code, out, err = pick("--ram", "512M")
    assert (code, out) == (1, "")
    assert err == "localchat: no quant of m fits: --ram 512M leaves none; the nearest, m:Q2_K, needs --ram 1G\n"


def test_bound_of_the_machine_is_told_from_a_given_one(pick: Pick, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "probe", lambda: Machine(4, 16 * GIB, 2 * GIB, cpu=HOME.cpu))
    assert "m fits: --ram 410M (what this machine can give) leaves none; " in pick().err


def test_nothing_measured_says_how(pick: Pick) -> None:
    pick.register(row("Q4_0", HUB, is_measured=False), row("Q8_0", CONVERT, is_measured=False))
    assert pick() == (
        1,
        "",
        "localchat: no quant of m was measured; `localchat quantize m --to FORMAT` makes one and measures it\n",
    )


def test_quant_that_was_not_measured_is_listed(pick: Pick) -> None:
    pick.register(row("Q4_0", HUB), row("Q8_0", HUB, is_measured=False))
    code, out, err = pick()
    assert (code, out) == (0, "m:Q4_0\n")
    assert err.splitlines()[-1].split() == ["Q8_0", "not", "measured"]


def test_quant_to_be_made_is_listed_with_how_and_taken_once_made(pick: Pick) -> None:
    pick.register(row("Q8_0", CONVERT), row("Q4_0", HUB))
    code, out, err = pick()
    assert (code, out) == (0, "m:Q4_0\n")
    assert "not made yet: `localchat quantize m --to Q8_0` makes it" in err
    pick.make("Q8_0")
    assert pick().out == "m:Q8_0\n"


def test_nothing_that_could_be_served_says_what_to_make(pick: Pick) -> None:
    pick.register(row("Q8_0", CONVERT), row("Q4_0", '{ kind = "path", path = "gone.gguf" }'))
    said = "the best, m:Q8_0, is not made yet: `localchat quantize m --to Q8_0` makes it\n"
    assert pick().err == f"localchat: no quant of m within the bounds can be served; {said}"


def test_file_of_an_entry_that_is_gone_is_not_taken(pick: Pick, tmp_path: Path) -> None:
    pick.register(row("Q8_0", '{ kind = "path", path = "gone[1].gguf" }'), row("Q4_0", HUB))
    code, out, err = pick()
    assert (code, out) == (0, "m:Q4_0\n")
    assert "not here: there is no" in err
    assert "gone[1].gguf" in err.replace("\n", "").replace(" ", "")


def test_own_card_comes_before_the_registry(pick: Pick) -> None:
    pick.note(Q8_0=measured("Q8_0", peak_rss=9 * GIB), Q4_0=measured("Q4_0", decode_speed=1.5))
    code, out, err = pick()
    assert (code, out) == (0, "m:Q4_0\n")
    f16, q8, q4, q2 = (line.split() for line in err.splitlines()[1:])
    assert ("elsewhere" in f16, "here" in q8, "here" in q4, "elsewhere" in q2) == (True, True, True, True)
    assert q4[7] == "1.5"


def test_format_of_the_card_that_the_registry_does_not_list(pick: Pick) -> None:
    pick.register(row("Q2_K", HUB))
    pick.note(Q4_0=measured("Q4_0"))
    code, out, err = pick()
    assert (code, out) == (0, "m:Q2_K\n")
    assert "not in the registry" in err


def test_figures_from_different_originals_are_pointed_out(pick: Pick) -> None:
    assert "different originals" not in pick().err
    pick.note(Q4_0=measured("Q4_0", reference="Q8_0"))
    assert pick().err.splitlines()[-1] == "KL is from different originals (F16, Q8_0): compare it with care"


def test_broken_card_is_one_line(pick: Pick, tmp_path: Path) -> None:
    pick.note(Q4_0=measured("Q4_0"))
    card.card_path(tmp_path / "models" / "m", "m").write_text("{}")
    code, out, err = pick()
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "m.card.json is broken" in err


def test_json_has_all(pick: Pick) -> None:
    pick.note(Q4_0=measured("Q4_0"))
    code, out, err = pick("--ram", "2G", "--json")
    got = json.loads(out)
    assert (code, err, got["model"], got["bounds"]) == (0, "", "m:Q4_0", {"ram": 2 * GIB})
    assert [(each["quant"], each["is_chosen"], each["measured_here"]) for each in got["quants"]] == [
        ("F16", False, False),
        ("Q8_0", False, False),
        ("Q4_0", True, True),
        ("Q2_K", False, False),
    ]
    assert got["quants"][0]["left_out"] == ["needs --ram 8G"]
    assert (got["quants"][0]["kl"], got["quants"][1]["measured"]["kl_mean"]) == (0, 0.01)


def test_json_of_nothing_has_the_reasons_and_fails(pick: Pick) -> None:
    code, out, err = pick("--ram", "1K", "--max-kl", "0.1", "--json")
    got = json.loads(out)
    assert (code, got["model"], err.count("\n")) == (1, None, 1)
    assert got["bounds"] == {"ram": 1024, "max_kl": 0.1}
    assert got["quants"][3]["left_out"] == ["needs --ram 1G", "needs --max-kl 0.5"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("n",), "no model is called 'n'"),
        (("mm",), "did you mean m"),
        (("m:Q5_0",), "m has no quant 'Q5_0'; it has F16, Q8_0, Q4_0, Q2_K"),
        (("--ram", "much"), "--ram: 'much' is not valid: a size is a number of bytes, or a text such as 512M or 8G"),
    ],
)
def test_wrong_name_or_size_is_one_line(pick: Pick, arguments: tuple[str, ...], said: str) -> None:
    code, out, err = pick(*arguments)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert said in err


def test_single_file_is_no_choice(pick: Pick, tmp_path: Path) -> None:
    (tmp_path / "a.gguf").touch()
    assert "is one file, so there is nothing to choose" in pick(str(tmp_path / "a.gguf")).err
