"""Cards: kept as they are, merged as far as they can be compared, and told to people."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from localchat.errors import ConfigError
from localchat_quantize import card as cards
from localchat_quantize.card import Card, card_path, merge, read, save, to_markdown

from .cards import any_card, card, measured, row


@pytest.fixture
def no_plot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cards, "can_plot", lambda _figures: False)  # a plot takes a second


@pytest.mark.usefixtures("no_plot")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(any_card)
def test_saved_card_is_read_as_it_was(any: Card) -> None:
    with tempfile.TemporaryDirectory() as folder:
        save(any, Path(folder))
        assert read(card_path(Path(folder), any.id)) == any


@given(any_card, any_card)
def test_merging_again_changes_nothing(old: Card, new: Card) -> None:
    once = merge(old, new)
    assert merge(once, new) == once
    assert merge(new, new) == new
    assert merge(None, new) == new


@given(any_card, any_card)
def test_new_rows_are_all_there_as_they_are(old: Card, new: Card) -> None:
    assert set(new.figures.items()) <= set(merge(old, new).figures.items())


def test_rows_are_one_a_format_and_the_largest_first() -> None:
    made = card(row("Q4_0"), row("Q8_0"), row("Q2_K"), row("Q4_0", 93, 0.1))
    assert [one.format for one in made.rows] == ["Q8_0", "Q4_0", "Q2_K"]
    assert made.figures["Q4_0"].size == 93_000_000


def test_row_of_the_same_format_is_replaced_and_others_stay() -> None:
    merged = merge(card(row("Q8_0"), row("Q4_0")), card(row("Q4_0", 93, 0.1), made="2026-06-01"))
    assert [(one.format, one.measured.kl_mean) for one in merged.rows] == [("Q8_0", 0.0006), ("Q4_0", 0.1)]
    assert merged.made == "2026-06-01"


@pytest.mark.parametrize("other", [{"text": "b.txt"}, {"tokens": 99}, {"reference": "F32"}])
def test_rows_that_cannot_be_compared_keep_sizes_and_speeds(other: dict[str, Any]) -> None:
    merged = merge(card(row("Q8_0"), row("Q4_0")), card(row("Q4_0", 92, 0.12, **other)))
    old = merged.figures["Q8_0"]
    assert (old.kl_mean, old.kl_p99, old.perplexity, old.top1, old.text, old.reference) == (None,) * 6
    assert (old.size, old.decode_speed, old.peak_rss) == (145_000_000, 48.712345, 231_000_001)


def test_original_on_the_card_can_be_compared_with_what_is_new() -> None:
    merged = merge(card(row("F16", 270, None)), card(row("Q4_0")))
    assert merged.figures["F16"].perplexity == 18.234567


def test_rows_of_another_original_go() -> None:
    new = card(row("Q4_0"), source="owner/tiny@ba9876543210")
    assert merge(card(row("Q8_0")), new) == new


def test_no_card_is_none(tmp_path: Path) -> None:
    assert read(card_path(tmp_path, "tiny")) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"id": "tiny"}', "\udc80"])
def test_broken_card_is_one_line(tmp_path: Path, content: str) -> None:
    path = card_path(tmp_path, "tiny")
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match=r"^card .*tiny\.card\.json is broken: .+; remove it"):
        read(path)


def test_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written"):
        save(card(), tmp_path / "file")


def test_save_writes_three_files_that_belong_together(tmp_path: Path) -> None:
    assert save(card(), tmp_path) == tmp_path / "tiny.card.md"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.card.json", "tiny.card.md", "tiny.card.svg"]
    assert "](tiny.card.svg)" in (tmp_path / "tiny.card.md").read_text(encoding="utf-8")


def test_plot_goes_when_nothing_is_compared_any_more(tmp_path: Path) -> None:
    (tmp_path / "tiny.card.svg").touch()
    save(card(row("F16", 270, None)), tmp_path)
    assert not (tmp_path / "tiny.card.svg").exists()
    assert "svg" not in (tmp_path / "tiny.card.md").read_text(encoding="utf-8")


def test_markdown_has_a_row_a_format() -> None:
    lines = to_markdown(card(row("Q8_0"), row("F16", 270, None))).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert table[0].startswith("| Format | Size | Bits/weight | Perplexity | Mean KL | 99 % KL | Same top token |")
    assert table[2:] == [
        "| F16 | 270.0 MB | 4.85 | 18.23 | – | – | 91.2 % | 512 | 48.7 | 231.0 MB |",
        "| Q8_0 | 145.0 MB | 4.85 | 18.23 | 0.00060 | 0.0054 | 91.2 % | 512 | 48.7 | 231.0 MB |",
    ]


def test_markdown_has_no_column_that_nothing_was_measured_for() -> None:
    nothing = dict.fromkeys(("perplexity", "top1", "prompt_speed", "decode_speed", "peak_rss", "text"))
    text = to_markdown(card(row("F16", 45, None, **nothing)))
    assert "| Format | Size | Bits/weight |\n" in text
    assert "Perplexity" not in text
    assert "Scored" not in text


def test_markdown_says_how_it_was_made_and_measured() -> None:
    text = to_markdown(card(row("Q8_0"), row("Q4_0", 92, 0.12, imatrix=True)))
    assert "localchat quantize hf:owner/tiny@0123456789ab --to Q8_0\n" in text
    assert "localchat quantize hf:owner/tiny@0123456789ab --to Q4_0 --importance\n" in text
    assert "Scored on 12,288 tokens of `measuring.txt`, compared with F16." in text
    assert "Speeds and memory on A CPU, 2 threads." in text
    assert "Quantized by an importance matrix: Q4_0." in text


def test_markdown_tells_machines_apart() -> None:
    text = to_markdown(card(row("Q8_0"), row("Q4_0", 92, 0.12, machine="Another", threads=1)))
    assert "on A CPU, 2 threads: Q8_0." in text
    assert "on Another, 1 thread: Q4_0." in text


@pytest.mark.parametrize(
    ("values", "command"),
    [
        ({"source": "tiny"}, "localchat quantize tiny --to Q4_0"),
        ({"source": "tiny.gguf"}, "localchat quantize tiny.gguf --to Q4_0"),
        ({"source": "an original.gguf"}, "localchat quantize 'an original.gguf' --name tiny --to Q4_0"),
        (
            {"source": "owner/delta@01", "base": "owner/base@02"},
            "localchat quantize hf:owner/delta@01 --name tiny --base owner/base@02 --to Q4_0",
        ),
    ],
)
def test_command_makes_the_files_again(values: dict[str, str], command: str) -> None:
    assert f"```sh\n{command}\n```" in to_markdown(card(row("Q4_0"), **values))


def test_second_rounding_is_told() -> None:
    text = to_markdown(card(row("Q8_0", requantized_from="Q4_1"), source="tiny.gguf"))
    assert "--to Q8_0 --requantize\n" in text
    assert "Made of Q4_1, which had lost something already: Q8_0." in text


def test_original_heads_the_table_unless_it_is_one_of_the_files() -> None:
    original = measured(260, kl=None, reference="F16")
    assert list(card(row("Q8_0"), original=original).table) == ["F16, the original", "Q8_0"]
    assert list(card(row("F16", 260, 0.0), row("Q8_0"), original=original).table) == ["F16", "Q8_0"]
    assert "| F16, the original | 260.0 MB |" in to_markdown(card(row("Q8_0"), original=original))
    assert [*card(row("Q8_0"), original=original).figures] == ["Q8_0"]


def test_quant_of_an_entry_is_named_as_the_source() -> None:
    assert "\nlocalchat quantize tiny:Q4_1 --to Q8_0\n" in to_markdown(card(row("Q8_0"), source="tiny:Q4_1"))
