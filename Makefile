# foretest: set up, test, show. Needs Python >= 3.11, git and make; everything else lands in $(VENV).

VENV ?= .venv
SCRATCH ?=
CHECKOUT ?=
export PYTHON ?=
export SCRATCH
BIN := $(VENV)/bin
JOBS ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
# foretest watches its own suite: everything runs, and the report says what would have rested.
PYTEST_FLAGS ?= --foretest=observe

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory --no-builtin-rules
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONNOUSERSITE := 1

.PHONY: help
help: ## Say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: venv
venv: $(VENV)/.engine ## Make the environment and install the engine
	@echo "Ready: $(BIN)/foretest --help"

.PHONY: demo
demo: $(VENV)/.engine ## Learn and replay on a real project from the package index (5 minutes)
	@$(BIN)/python -m foretest.cli.main demo

.PHONY: test
test: lint $(VENV)/.platform ## Check format, style, types and imports, then run the tests
	@$(BIN)/python -m pytest -n $(JOBS) -q $(PYTEST_FLAGS)

.PHONY: lint
lint: $(VENV)/.dev ## The checks without the tests
	@$(BIN)/ruff format --check --quiet . || { echo "Mend it with: make format"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo > $(VENV)/imports.log || { cat $(VENV)/imports.log; exit 1; }

.PHONY: format
format: $(VENV)/.dev ## Mend format and style; renew docs/map.md, the README's rooms and docs/cli.md
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/python scripts/tree.py
	@$(BIN)/python scripts/cli_reference.py

.PHONY: proof
proof: $(VENV)/.dev ## Print the figures: the judge over the kept facts, how selection grows (minutes)
	@$(BIN)/python -m bench.campaign table --intervals
	@$(BIN)/python bench/select_scale.py
	@$(BIN)/python bench/client_install.py
	@if [ -n "$(CHECKOUT)" ]; then $(BIN)/python bench/coverage_overhead.py "$(CHECKOUT)"; else \
	  echo "What coverage costs: make proof CHECKOUT=path/to/a/project (its tests must run here)"; fi

.PHONY: cases
cases: $(VENV)/.platform ## Make those facts anew from real repositories (hours): SCRATCH=DIR
	@: $${SCRATCH:?say where the work may lie: make cases SCRATCH=DIR}
	@$(BIN)/foretest platform corpus --no-ray --workers $(JOBS) --scratch "$(SCRATCH)" --facts proof/cases

.PHONY: clean
clean: ## Remove environments and caches; what foretest has learnt (.foretest) stays
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
	@find src tests bench scripts -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is newer than what it was made from: an interrupted installation leaves none and is repeated.
$(VENV)/.engine: pyproject.toml | $(BIN)/python
	@echo "Installing the engine into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --editable '.[engine]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "Installing the engine and the tools of development into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.engine

$(VENV)/.platform: pyproject.toml | $(VENV)/.dev
	@echo "Installing the platform into $(VENV): Ray, MLflow, torch ..."
	@$(BIN)/python -m pip install --quiet --editable '.[dev,platform]'
	@touch $@

$(BIN)/python:
	@bash scripts/venv.sh $(VENV)
