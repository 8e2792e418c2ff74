"""The texts to calibrate and to measure by: many languages, registers and kinds of code, written for this project."""

from __future__ import annotations

from importlib.resources import files


def calibration() -> str:
    """What a model reads while the importance of its weights is gathered."""
    return _read("calibration.txt")


def measuring() -> str:
    """What perplexity and divergence are measured on; it shares nothing with the calibration text."""
    return _read("measuring.txt")


def _read(name: str) -> str:
    return files(__name__).joinpath(name).read_text(encoding="utf-8")
