# Every target sets up what it needs: Python 3.11 or newer and make are enough.

PYTHON ?= python3
ARGS   ?=

VENV  := .venv
BIN   := $(VENV)/bin
READY := $(VENV)/.ready

# Tests start many processes: none of them is to compile the sources anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## run the expense approval example from beginning to end
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/expense_approval/demo.sh

test: $(READY) ## run the tests; ARGS="tests/core -k ledger" goes to pytest
	@$(BIN)/python -m pytest -q $(ARGS)

lint: $(READY) ## check format, style, types and the rules on imports
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/python -m mypy
	@$(BIN)/lint-imports --no-logo --config deny_imports.toml

bench: $(READY) ## measure beside the peers; ARGS="--quick" or "-w W1" goes to it, ARGS="--help" says more
	@PYTHONPATH=. $(BIN)/python -m bench $(ARGS)

clean: ## remove the environment, caches and build products
	@rm -rf $(VENV) bench/.peers build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is older than pyproject.toml when a dependency has changed, and absent when an install broke off.
$(READY): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { \
	    echo "Converge needs Python 3.11 or newer, and there is no '$(PYTHON)' here: make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "Converge needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V 2>&1): make PYTHON=python3.11" >&2; exit 1; }
	@echo "Installing into $(VENV) ..." >&2
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[dev]'
	@touch $@
