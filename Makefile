# Everything runs from the repository's root and keeps to it: .venv/ for the tools, data/ for the service's database.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
SOURCES := src tests benchmarks
# What looks for passwords by their names or by chance finds test data; keys and tokens of known shapes it is.
SECRET_PLUGINS := $(addprefix --disable-plugin ,HexHighEntropyString Base64HighEntropyString KeywordDetector \
  BasicAuthDetector IPPublicDetector)
PROOF := backend/tests/simulation
# Without its cache of compiled modules Python compiles every test anew, in each of pytest's processes.
unexport PYTHONDONTWRITEBYTECODE
SEEDS ?=
# Twice the cores of the smallest machine that we think of, where tests wait for time to pass at an exchange; as many as
# its cores, where they start processes that keep leases.
WAITERS := -n 4 --dist loadscope --no-loadscope-reorder
STARTERS := -n 2 --dist loadscope --no-loadscope-reorder
LOCK := --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url

# The first that runs and is 3.11 or newer; versions with wheels for everything in the lock file come first.
PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$name"; break; }; done)

.PHONY: help run test test-all check docs bench soak story mutants crash broken-rules clean lock

help: ## show what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

run: $(VENV)/.run ## run the service on paper money with a sample decision; ARGS=--once stops after the result
	@$(BIN)/tes run --paper --submit examples/decision.json $(ARGS)

test: $(VENV)/.dev ## run what a change is likely to break, in minutes; ARGS goes to pytest: ARGS=tests/unit
	@cd backend && ../$(BIN)/python -m pytest $(WAITERS) --part short --hypothesis-profile=short $(ARGS)

test-all: test ## run the long tests as well: upgrade, secrets, examples of the documents, storms, kills, found worlds
	@cd backend && ../$(BIN)/python -m pytest $(STARTERS) --part rest $(ARGS)

check: $(VENV)/.dev ## lint, format, types, the direction of imports, no secret in a file, packages that fit together
	@cd backend && ../$(BIN)/ruff check $(SOURCES)
	@cd backend && ../$(BIN)/ruff format --check $(SOURCES)
	@cd backend && ../$(BIN)/mypy
	@cd backend && ../$(BIN)/lint-imports
	@git ls-files -z | xargs -0 $(BIN)/detect-secrets-hook $(SECRET_PLUGINS) && echo "no secret in a file"
	@$(BIN)/python -m pip check --disable-pip-version-check

docs: $(VENV)/.dev ## write docs/asyncapi.yaml anew from the events' models
	@cd backend && ../$(BIN)/python tests/support/asyncapi.py

bench: $(VENV)/.dev ## run every benchmark
	@cd backend && for file in benchmarks/*.py; do echo "== $$file"; ../$(BIN)/python "$$file"; done

soak: $(VENV)/.dev ## a storm, malformed requests, requests by the API's description, every property test with many examples, then simulated worlds; SEEDS=10000, or ARGS, runs worlds only
	@cd backend && test -n "$(SEEDS)$(ARGS)" || TES_STORM_TRADES=1000 ../$(BIN)/python -m pytest tests/scenarios -s
	@cd backend && test -n "$(SEEDS)$(ARGS)" || TES_FUZZ_REQUESTS=10000 ../$(BIN)/python -m pytest tests/integration/api/test_api_fuzz.py -s
	@cd backend && test -n "$(SEEDS)$(ARGS)" || TES_SCHEMATHESIS_EXAMPLES=80 ../$(BIN)/python -m pytest tests/integration/api/test_api_description.py -s
	@cd backend && test -n "$(SEEDS)$(ARGS)" || ../$(BIN)/python -m pytest -n 2 -m hypothesis --hypothesis-profile=soak --timeout=3600
	@cd $(PROOF) && ../../../$(BIN)/python -m proof.soak --seeds $(or $(SEEDS),2000) $(ARGS)

story: $(VENV)/.dev ## tell what happens in one simulated world, reduced if it breaks a rule: make story SEED=7
	@cd $(PROOF) && ../../../$(BIN)/python -m proof.soak --replay $(SEED) $(ARGS)

mutants: $(VENV)/.dev ## plant deliberate bugs and show after how many simulated worlds each is caught
	@cd $(PROOF) && ../../../$(BIN)/python -m proof.mutants $(ARGS)

broken-rules: $(VENV)/.dev ## break each rule on purpose and see its tests fail; ARGS=--list shows them, ARGS="U1 P" chooses
	@cd backend && ../$(BIN)/python tests/broken_rules/run.py $(ARGS)

KILLS ?= 200
crash: $(VENV)/.dev ## kill service and venue at random moments, KILLS times; ARGS goes to pytest
	@cd backend && TES_CRASH_KILLS=$(KILLS) ../$(BIN)/python -m pytest -s tests/e2e/test_crash_run.py $(ARGS)

lock: $(VENV)/.uv ## renew the lock files from backend/pyproject.toml
	@cd backend && ../$(VENV)/uv/bin/uv pip compile $(LOCK) -o requirements.lock pyproject.toml requirements-build.in
	@cd backend && ../$(VENV)/uv/bin/uv pip compile $(LOCK) --extra dev -c requirements.lock \
	  -o requirements-dev.lock pyproject.toml requirements-build.in

clean: ## remove what was built and cached; the database under data/ stays
	@rm -rf $(VENV) backend/.mypy_cache backend/.ruff_cache backend/.pytest_cache backend/.hypothesis \
	  backend/.import_linter_cache
	@find backend -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the environment: hashed lock files, stamped, so that a second run starts at once ---------------------------------

define need_python
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed and was not found." \
	  "Install one (Debian: apt install python3 python3-venv), or name one: make $(firstword $(MAKECMDGOALS)) PYTHON=/path/to/python3.12"; exit 1; }
endef

$(VENV)/bin/python:
	$(need_python)
	@echo "building $(VENV) with $(PYTHON), which takes a minute or two"
	@"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "$(PYTHON) can't make virtual environments. Debian: apt install python3-venv"; exit 1; }

$(VENV)/.run: backend/requirements.lock backend/pyproject.toml | $(VENV)/bin/python
	@$(BIN)/python -m pip install --disable-pip-version-check -q --require-hashes -r backend/requirements.lock
	@$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e backend
	@touch $@

$(VENV)/.dev: backend/requirements-dev.lock $(VENV)/.run
	@$(BIN)/python -m pip install --disable-pip-version-check -q --require-hashes -r backend/requirements-dev.lock
	@touch $@

$(VENV)/.uv: | $(VENV)/bin/python
	@$(BIN)/python -m venv $(VENV)/uv
	@$(VENV)/uv/bin/python -m pip install --disable-pip-version-check -q uv
	@touch $@
