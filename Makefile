# Everything a person or a machine does with this checkout. `make` alone lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
PYTEST := $(BIN)/pytest
SOAK_S ?= 600
# Where Docker stands in for missing programs, setup.sh wrote down the addresses. An address that
# is in the environment already wins.
SERVICES := if [[ -f .state/services.env && -z "$${TRIPLINE_KAFKA_SERVERS:-}$${TRIPLINE_REDIS_URL:-}" ]]; \
	then set -a; . .state/services.env; set +a; fi

.PHONY: help setup setup-run run test check tests crash soak bench up down clean

help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' Makefile

setup: ## Install what is missing: uv, Python packages, Redis, Java, Maven, promtool, node, the Kafka jars
	@deploy/setup/setup.sh tests

setup-run:
	@deploy/setup/setup.sh run

run: setup-run ## Show it working on this machine. EVENTS=file.jsonl [MAP=mapping.yaml] for your own events
	@$(SERVICES); exec $(BIN)/tripline demo $(if $(EVENTS),--events "$$EVENTS") $(if $(MAP),--map "$$MAP")

test: setup check tests crash ## Set up, then lint, types, imports, and every test but the long ones

check: ## The fast gate: lint, format, types, import contracts (after make setup)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

tests:
	$(PYTEST) -m "not soak" tests/unit tests/reference tests/oracles tests/contract tests/integration

crash:
	$(PYTEST) -m "not soak" tests/crash

soak: setup ## Run the long repetitions, SOAK_S=600 seconds each
	TRIPLINE_SOAK_S=$(SOAK_S) $(PYTEST) -m soak --timeout=$$(( $(SOAK_S) + 1800 ))

bench: setup ## Measure it. ARGS="..." is passed on
	$(BIN)/python -m tests.bench $(ARGS)

up: setup-run ## Start everything on this machine and stay in front; Ctrl-C or make down stops it
	@$(SERVICES); exec $(BIN)/tripline up $(ARGS)

down: ## Stop what make up started, and nothing else
	@if [[ -x $(BIN)/tripline ]]; then $(BIN)/tripline down; fi
	@if [[ -f .state/services.env ]]; then docker compose -f deploy/local.compose.yaml stop kafka redis; fi

clean: ## Stop what runs from this checkout, then remove .state and every cache (not .venv)
	@if [[ -d .state && -x $(BIN)/python ]]; then \
		find .state -name stack.json -printf '%h\0' | xargs -0 -r $(BIN)/python -m engine.local.stack; fi
	@if [[ -f .state/services.env ]]; then docker compose -f deploy/local.compose.yaml down; fi
	rm -rf .state .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	find . -path ./.venv -prune -o -name __pycache__ -type d -print0 | xargs -0 -r rm -rf
