"""Tests of the engine; a package for the sake of `scripted`."""
