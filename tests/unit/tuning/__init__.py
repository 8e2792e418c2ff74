"""Unit tests of measuring and tuning."""
