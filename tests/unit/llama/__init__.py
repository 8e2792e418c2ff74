"""Tests of what imports llama.cpp; a package for the sake of `stock`."""
