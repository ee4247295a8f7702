# Everything runs in .venv, made from the lock files. `make help` lists the targets.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.PHONY: help install demo example test test-unit test-fast test-compose soak soak-sdk blast mutants check format bench bench-plots bench-compare lock clean
COMPOSE_TESTS = $(BIN)/python -m pytest tests/compose $(ARGS)
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

install: .venv/installed ## make .venv with the parade command
demo: install ## run the whole system on a million events and check every byte
	@$(BIN)/parade demo

example: install ## a small social feed in the browser, on Parade: examples/feed
	@$(BIN)/python examples/feed/run.py $(ARGS)

test: .venv/installed-dev ## all tests (redis-server, redis-cli and chromium are used where they are installed)
	$(BIN)/python -m pytest $(ARGS)

test-unit: .venv/installed-dev ## the rules of each module: under 20 seconds
	$(BIN)/python -m pytest -m "not slow" --numprocesses=2 tests/unit $(ARGS)

test-fast: .venv/installed-dev ## all that is quick, on real processes and servers too: under two minutes
	$(BIN)/python -m pytest -m "not slow" $(ARGS)

test-compose: .venv/installed-dev ## the compose file on a real engine; ENGINE=script starts one where there is none
	@if docker info >/dev/null 2>&1; then $(COMPOSE_TESTS); \
	elif [ -n "$(ENGINE)" ]; then $(ENGINE) start; $(COMPOSE_TESTS); status=$$?; $(ENGINE) stop; exit $$status; \
	else echo "no Docker engine answers: start one, or name a script that does: ENGINE=…" >&2; exit 1; fi

soak: .venv/installed-dev ## random faults against the whole system: MINUTES=30, ARGS="--seed 1 --json"
	$(BIN)/python -m tests.system.chaos --minutes $(or $(MINUTES),30) $(ARGS)

soak-sdk: .venv/installed-dev ## both client libraries while nodes and listeners are killed: MINUTES=10, ARGS="--json"
	$(BIN)/python -m tests.sdk.soak --minutes $(or $(MINUTES),10) $(ARGS)

blast: .venv/installed-dev ## how long clients of healthy nodes wait while another part is sick: ARGS="--rate 10000 --json"
	@$(BIN)/python -m tests.system.blast $(ARGS)

mutants: .venv/installed-dev ## small changes to the pure modules, each of which a test should notice: MODULE=fanout/merge
	@$(BIN)/python -m tests.mutants $(MODULE) $(ARGS)

check: .venv/installed-dev ## linters and types; .pre-commit-config.yaml has the same as hooks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --python-version 3.10 -p parade_client
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/ci.yml
	$(BIN)/pre-commit validate-config

format: .venv/installed-dev ## format the code and sort imports
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install ## measure throughput, latency, CPU time and memory; a table, and bench.json
	$(BIN)/python -m tests.bench $(ARGS)

bench-plots: .venv/installed-dev ## draw bench.json, made with ARGS=--sweep, into docs/
	$(BIN)/python -m tests.bench.plots $(ARGS)

bench-compare: install ## measure this tree and another revision in turn: BASE=HEAD~1
	@$(BIN)/python -m tests.bench.compare $(or $(BASE),$(error give BASE=<revision>)) $(ARGS)

UPGRADE := --upgrade
LOCK = $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --custom-compile-command 'make lock' $(UPGRADE)
BUILD_REQUIRES = import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")
# The build backend shares .venv with the others: what both need has one version.
lock: .venv/installed-dev ## resolve the dependencies; UPGRADE= keeps each version that still fits
	$(LOCK) pyproject.toml -o requirements/runtime.lock
	$(LOCK) pyproject.toml --extra embedded -o requirements/local.lock
	$(LOCK) pyproject.toml --extra embedded --group dev -o requirements/dev.lock
	$(BIN)/python -c '$(BUILD_REQUIRES)' | $(LOCK) - -c requirements/dev.lock -o requirements/build.lock

clean: ## remove what the targets made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info build dist bench*.json

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Parade needs Python 3.11 or newer; choose one with: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv

# Everything that is downloaded is in a lock file with its hash, the build backend too.
.venv/installed: requirements/local.lock requirements/build.lock pyproject.toml | .venv/bin/python
	@echo "installing into .venv …"
	@$(PIP) install --require-hashes -r requirements/local.lock -r requirements/build.lock
	@$(PIP) install --no-index --no-build-isolation --no-deps -e .
	@touch $@

.venv/installed-dev: requirements/dev.lock .venv/installed
	@$(PIP) install --require-hashes -r requirements/dev.lock
	@touch $@
