# Everything happens in .venv, which is made when it is missing. Needed beforehand: python3 (3.11 or later for the
# pinned versions), a C++20 compiler, make, git. PYTHON=python3.12 picks another interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

READY := $(VENV)/.pintsize-ready
KERNELS := build/dev/.built
SOURCES := CMakeLists.txt $(shell find pintsize/kernels/src -type f)
BUILD := $(BIN)/cmake -G Ninja -S . -DPINTSIZE_INPLACE=ON -DPython_EXECUTABLE=$(BIN)/python -DCMAKE_MAKE_PROGRAM=$(BIN)/ninja

.PHONY: help demo test check format docs tables native sanitize clean

help:
	@echo "make demo      compress a real table with every kind of method; prints, writes a bundle and a page"
	@echo "make test      the test suite"
	@echo "make check     lint, types, import contracts, generated tables, documentation"
	@echo "make format    rewrite the Python files in the house's format"
	@echo "make docs      build the documentation into site/"
	@echo "make tables    rewrite the tables of README and docs from benchmarks/results"
	@echo "make native    build the kernels into the tree"
	@echo "make sanitize  the kernel tests under the address and undefined-behaviour sanitizers"
	@echo "make clean     remove what was built; .venv stays"

demo: $(KERNELS)
	$(BIN)/pintsize demo $(ARGS)

test: $(KERNELS)
	$(BIN)/python -m pytest -n 2 $(ARGS)

check: $(KERNELS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/tables.py --check
	$(BIN)/mkdocs build --strict --quiet

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(KERNELS)
	$(BIN)/mkdocs build --strict

tables: $(READY)
	$(BIN)/python scripts/tables.py

native: $(KERNELS)

# Leaks are not looked for: the interpreter itself never frees all it holds.
sanitize: $(READY)
	$(BUILD) -B build/sanitize -DPINTSIZE_SANITIZE=address,undefined -DCMAKE_BUILD_TYPE=RelWithDebInfo
	@echo "placeholder"

clean:
	rm -rf build dist site pintsize/kernels/_native*.so .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev,docs]'
	touch $@

$(KERNELS): $(READY) $(SOURCES)
	$(BUILD) -B build/dev
	$(BIN)/cmake --build build/dev
	touch $@
