# Two commands for a fresh machine: `make serve` and `make test`. CI runs the same ones.
# They need Python >= 3.10, make and a C++ compiler.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
ARGS   ?=
# Test files that run at a time; a file stays in one process, whose servers its tests share.
JOBS   ?= 2

.PHONY: serve test check lint types layers docs bench container-check clean

serve: $(VENV)/.installed
	$(BIN)/localchat serve $(ARGS)

test: $(VENV)/.installed-dev
	$(BIN)/pytest -n $(JOBS) --dist loadfile $(ARGS)

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
	options="$(PIP_BUILD)"; $${options:+env "CMAKE_ARGS=$(WITHOUT_AMX) $(CMAKE_ARGS)"} $(BIN)/python -m pip install -q $$options -e .
	touch $@

$(VENV)/.installed-dev: pyproject.toml $(VENV)/.installed
	$(BIN)/python -m pip install -q -e '.[dev]'
	touch $@

$(VENV)/.installed-bench: pyproject.toml $(VENV)/.installed
	$(BIN)/python -m pip install -q -e '.[bench]'
	touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

# GCC 12 takes _tile_loadconfig for a reader of 8 bytes and drops the stores to the other 56, so llama.cpp's kernels for AMX
# end the process. Where a program with such stores fails, llama.cpp is compiled for the rest of a CPU with AMX, and not
# taken from pip's cache, which does not know how a wheel was compiled.
define AMX_PROBE
#include <immintrin.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
typedef struct { unsigned char palette, row, none[14]; unsigned short columns[16]; unsigned char rows[16]; } Tiles;
__attribute__((noinline)) static void load(void) {
    _Alignas(64) Tiles tiles = {0};
    tiles.palette = 1;
    tiles.rows[0] = 8;
    tiles.columns[0] = 64;
    _tile_loadconfig(&tiles);
}
int main(void) {
    _Alignas(64) static Tiles seen;
    if (syscall(SYS_arch_prctl, 0x1023, 18)) return 0;  /* refused openly: llama.cpp does without */
    load();
    _tile_storeconfig(&seen);
    return !(seen.rows[0] == 8 && seen.columns[0] == 64);
}
endef
export AMX_PROBE
SHOWS_AMX := $(shell grep -qsw amx_int8 /proc/cpuinfo && echo yes)
ifeq ($(SHOWS_AMX),yes)
PIP_BUILD = $$(probe=$$(mktemp) && printf '%s\n' "$$AMX_PROBE" | $(CC) -O3 -mamx-tile -x c -o $$probe - && ! $$probe 2>/dev/null \
    && echo --no-cache-dir --no-binary llama-cpp-python; rm -f $$probe)
WITHOUT_AMX = -DGGML_NATIVE=OFF -DGGML_AVX512=ON -DGGML_AVX512_VBMI=ON -DGGML_AVX512_VNNI=ON -DGGML_AVX512_BF16=ON \
    -DGGML_AVX_VNNI=ON
endif
