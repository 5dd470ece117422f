# Everything happens in .venv, which is made when it is missing. Needed beforehand: python3 (3.11 or later for the
# pinned versions), a C++20 compiler, make, git. PYTHON=python3.12 picks another interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
export NO_MKDOCS_2_WARNING := 1
PIP := $(BIN)/python -m pip --disable-pip-version-check

READY := $(VENV)/.pintsize-ready
KERNELS := build/dev/.built
SOURCES := CMakeLists.txt $(shell find pintsize/kernels/src)
CONFIGURE := $(BIN)/cmake -G Ninja -S . -DPython_EXECUTABLE=$(BIN)/python -DCMAKE_MAKE_PROGRAM=$(BIN)/ninja

.PHONY: help demo test check format docs tables native sanitize tsan clean

help:
	@echo "make demo      compress a real table with every kind of method; prints, writes a bundle and a page"
	@echo "make test      the test suite"
	@echo "make check     lint, types, import contracts, generated tables, documentation"
	@echo "make format    rewrite the Python files in the house's format"
	@echo "make docs      build the documentation into site/"
	@echo "make tables    rewrite the tables of README and docs from benchmarks/results"
	@echo "make native    build the kernels into the tree"
	@echo "make sanitize  the kernel tests under the address and undefined-behaviour sanitizers"
	@echo "make tsan      threads on the same tables under the thread sanitizer"
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

# Package and tests are copied to the sanitized extension, so that the tree keeps its own. Leaks are not looked for: the
# interpreter never frees all it holds. libstdc++ is loaded early so that the sanitizer sees exceptions thrown; -S leaves
# out the editable installation, which would lead back to the tree.
sanitize: $(READY)
	$(CONFIGURE) -B build/sanitize -DPINTSIZE_SANITIZE=address,undefined
	$(BIN)/cmake --build build/sanitize
	rm -rf build/sanitize/tree && mkdir build/sanitize/tree
	cp -r pintsize tests pyproject.toml build/sanitize/tree/
	rm -f build/sanitize/tree/pintsize/kernels/_native*.so
	cp build/sanitize/_native*.so build/sanitize/tree/pintsize/kernels/
	cd build/sanitize/tree && \
	  LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
	  ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PINTSIZE_KERNELS=native \
	  PYTHONPATH=$$($(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))") \
	  $(BIN)/python -S -m pytest -p no:cacheprovider $(or $(ARGS),tests/kernels --ignore=tests/kernels/triton)

# Built and run as for `sanitize`. NumPy's own threads are not built for it, hence one for them.
tsan: $(READY)
	$(CONFIGURE) -B build/tsan -DPINTSIZE_SANITIZE=thread
	$(BIN)/cmake --build build/tsan
	rm -rf build/tsan/tree && mkdir build/tsan/tree
	cp -r pintsize tests pyproject.toml build/tsan/tree/
	rm -f build/tsan/tree/pintsize/kernels/_native*.so
	cp build/tsan/_native*.so build/tsan/tree/pintsize/kernels/
	cd build/tsan/tree && \
	  LD_PRELOAD="$$($(CXX) -print-file-name=libtsan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
	  TSAN_OPTIONS="halt_on_error=1 ignore_noninstrumented_modules=1" OPENBLAS_NUM_THREADS=1 PINTSIZE_KERNELS=native \
	  PYTHONPATH=$$($(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))") \
	  $(BIN)/python -S -m pytest -p no:cacheprovider $(or $(ARGS),tests/kernels/test_threads.py)

clean:
	rm -rf build dist site pintsize/kernels/_native*.so .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev,docs]'
	touch $@

$(KERNELS): $(READY) $(SOURCES)
	$(CONFIGURE) -B build/dev -DPINTSIZE_INPLACE=ON
	$(BIN)/cmake --build build/dev
	touch $@
