# flowshift: `make help` says what there is.
.DEFAULT_GOAL := help
.PHONY: help env demo test check static nightly chaos bench bench-million lint types imports audit coverage docs site constraints clean
SHELL := /bin/sh

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Five processes of tests, each with servers of its own: three begin with live processes, which mostly
# wait, and two work (tests/scheduling.py). PROCESSES=0: all in one.
PROCESSES ?= 5
AT_ONCE := -n $(PROCESSES)

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(READY) ## Make .venv with everything in it, the command `flowshift` included

$(READY): constraints.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "flowshift needs Python 3.11 or newer: none was found (set PYTHON=…)" >&2; exit 3; }
	@echo "making $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r constraints.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY) ## Convert, publish and roll back a sample fleet (DEMO_EXIT=1 ends by itself)
	@$(BIN)/flowshift demo

test: $(READY) ## Run every test, against servers started here or those of FLOWSHIFT_…_URL
	$(BIN)/python -m pytest -q $(AT_ONCE)

nightly: $(READY) ## Try generated examples, new ones and 20 times as many (FACTOR=…) as make check, and long tests
	HYPOTHESIS_PROFILE=nightly HYPOTHESIS_FACTOR=$(FACTOR) $(BIN)/python -m pytest -q $(AT_ONCE) \
		-m "hypothesis or nightly"

# (Make 3 cannot keep the output of two jobs apart.)
APART := $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

check: $(READY) ## Everything that CI runs
	@$(MAKE) --no-print-directory --jobs=2 $(APART) static
	@$(MAKE) --no-print-directory coverage

static: types lint imports audit site ## What needs no test: format, types, imports, audit, the site

lint: $(READY) ## Format and lint, without changing anything
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY) ## Check the types
	$(BIN)/mypy

imports: $(READY) ## Check that imports go one way and the core is pure
	$(BIN)/lint-imports

audit: $(READY) ## Ask whether a pinned dependency has a known vulnerability, where that can be asked
	$(BIN)/python -m pip check
	$(BIN)/python -m tests.audit

coverage: $(READY) ## Run every test and measure what they reach
	@rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest -q $(AT_ONCE) --durations=40 --durations-min=3
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

bench: $(READY) ## Measure the engines, and the speed against a floor, here and now (minutes)
	$(BIN)/python -m bench.engines
	$(BIN)/python -m bench.platform_word
	$(BIN)/python -m bench.commands
	$(BIN)/python -m bench
	$(BIN)/python -m bench --sizes 10000 --fleets distinct alike --no-peer
	$(BIN)/python -m bench.scaling
	$(BIN)/python -m bench.ledger
	$(BIN)/python -m bench.saves
	$(BIN)/python -m bench.publish
	$(BIN)/python -m bench.rollback
	$(BIN)/python -m bench.prune
	$(BIN)/python -m bench.writes
	$(BIN)/python -m bench.statements
	$(BIN)/python -m bench.gate
	$(BIN)/python -m bench.look --executions 1000000
	$(BIN)/python -m bench.pages

bench-million: $(READY) ## Measure a fleet of a million bots, or of BOTS=… (an hour or two)
	$(BIN)/python -m bench.million --bots $(or $(BOTS),1000000)

chaos: $(READY) ## Convert fleets under random faults and check what must hold (SEED=1 MINUTES=5)
	$(BIN)/python -m tests.chaos --seed $(or $(SEED),1) --minutes $(or $(MINUTES),5)

docs: $(READY) ## Write the pages of docs/reference that are generated
	$(BIN)/python -m reference docs/reference

site: $(READY) ## Build the documentation as a site in site/; a dead link fails
	$(BIN)/zensical build --clean --strict

constraints: ## Pin every dependency anew (needs uv)
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --extra embedded --extra live --extra notify --group dev \
		--no-emit-index-url --custom-compile-command "make constraints" pyproject.toml -o constraints.txt

clean: ## Remove what was made here, .venv included; never data
	find . -name __pycache__ -prune -exec rm -rf {} +
	rm -rf $(VENV) .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .cache site
