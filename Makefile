# Two commands for a fresh machine: `make serve` and `make test`. CI runs the same ones.
# They need Python >= 3.10, make and a C++ compiler.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
ARGS   ?=

.PHONY: serve test check lint types layers docs bench container-check clean

serve: $(VENV)/.installed
	$(BIN)/localchat serve $(ARGS)

test: $(VENV)/.installed-dev
	$(BIN)/pytest $(ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

layers: $(VENV)/.installed-dev
	$(BIN)/lint-imports

docs: $(VENV)/.installed-dev
	$(BIN)/python docs/generate.py

check: lint types layers test

# Takes the Dockerfile's steps without a container engine; root on Linux, and half an hour of compiling.
container-check:
	bash tests/container/check.sh

bench: $(VENV)/.installed-bench
	$(BIN)/python benchmarks/run.py $(ARGS)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# The stamps make a second call instant. llama-cpp-python compiles llama.cpp: minutes, once.
$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install -q -e .
	touch $@

$(VENV)/.installed-dev: pyproject.toml $(VENV)/.installed
	$(BIN)/python -m pip install -q -e '.[dev]'
	touch $@

$(VENV)/.installed-bench: pyproject.toml $(VENV)/.installed
	$(BIN)/python -m pip install -q -e '.[bench]'
	touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
