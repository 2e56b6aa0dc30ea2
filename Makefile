# One command per task; `make` alone lists them. Everything is installed into .venv and built below build/.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
JOBS   ?= $(shell nproc)
PYTEST := $(BIN)/pytest
export CMAKE_BUILD_PARALLEL_LEVEL ?= $(JOBS)

# A normal (not editable) install: tests and type checks see what a user gets, and mypy does not follow editable hooks.
# The build tools live in .venv, so that a second build is incremental.
FOLDERS := $(wildcard src store ann gnn_loader proto server client cli datasets core)
SOURCES := pyproject.toml CMakeLists.txt $(shell find $(FOLDERS) -name '*.py' -o -name '*.cpp' -o -name '*.hpp' -o -name '*.proto')
INSTALL  = $(BIN)/pip install -qq --no-build-isolation
TOOLS   := 'scikit-build-core>=1.0' 'nanobind>=3.0' 'grpcio-tools==1.76.0' cmake ninja
# What the adapters are tested against. DGL's wheels end with Python 3.11. For the demo any torch of the user's will do.
TORCH ?= 'torch==2.13.0'
FRAMEWORKS := $(TORCH) 'torch_geometric==2.8.1' 'dgl==1.1.3; python_version < "3.12"' packaging
CPP      = $(shell find core -name '*.cpp' -o -name '*.hpp')

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint format native-test sanitize node-client bench clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/user  ## search vectors and train a model from SSD, and explain what was read
	$(BIN)/outcrop demo

test: $(VENV)/dev  ## the tests that take seconds
	$(PYTEST) -m 'not slow'

test-slow: $(VENV)/dev  ## the tests that take minutes
	$(PYTEST) -m slow

lint: $(VENV)/dev  ## format, style, types and import contracts; changes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $(CPP)
	cd proto && $(abspath $(BIN))/buf lint && $(abspath $(BIN))/buf format --diff --exit-code
	$(BIN)/mypy --strict -p outcrop
	$(BIN)/lint-imports --no-logo

format: $(VENV)/dev  ## rewrite the files as lint wants them
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP)

native-test: $(VENV)/tools  ## the tests of core/, without Python
	PATH="$(abspath $(BIN)):$$PATH" cmake -S . -B build/native -G Ninja -DOUTCROP_NATIVE_TESTS=ON
	PATH="$(abspath $(BIN)):$$PATH" cmake --build build/native --target native_tests
	build/native/native_tests

sanitize: $(VENV)/dev  ## core/ under address, undefined-behaviour and thread sanitizers
	PATH="$(abspath $(BIN)):$$PATH" core/tests/sanitize.sh

node-client:  ## what examples/node needs, so that its test is not skipped
	npm ci --prefix examples/node --no-audit --no-fund --ignore-scripts

bench: $(VENV)/dev  ## the benchmarks, small; bench/ says how to run them in full
	for runner in $(wildcard bench/*/run.py); do $(BIN)/python $$runner --small || exit 1; done

clean:  ## remove what make made
	rm -rf build dist .venv demo-data .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(VENV)/tools:
	@PYTHON=$(PYTHON) tools/preflight.sh
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -qq $(TOOLS)
	@touch $@

# A developer's environment is a user's with more in it, so it serves `make demo` too.
$(VENV)/user: $(VENV)/tools $(SOURCES)
	if [ -e $(VENV)/dev ]; then $(MAKE) $(VENV)/dev; else $(INSTALL) '.[plot,hdf5,torch]' $(TORCH); fi
	@touch $@

$(VENV)/dev: $(VENV)/tools $(SOURCES)
	$(INSTALL) '.[dev]' $(FRAMEWORKS)
	@touch $@
