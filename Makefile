# Two commands are enough: `make demo` and `make test`. Both set up what they need; a second run starts in seconds.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3.11
BIN := $(CURDIR)/.venv/bin

.PHONY: help setup demo demo-all demo-clean test fuzz chaos lint format up down status

help: ## Show what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

# Both steps look at stamps first: the second run takes a second. PYTHONPATH lets the bare Python import the first one.
setup: ## Make the environment and fetch jars and servers (cached, checked, resumed)
	@command -v "$(PYTHON)" > /dev/null || { \
	  echo "✘ Python 3.11 was not found as $(PYTHON). Install it, or run make PYTHON=<its path>." >&2; exit 1; }
	@PYTHONPATH="$(CURDIR)" "$(PYTHON)" -m pipelines.runtime.bootstrap
	@"$(BIN)/python" -m pipelines.runtime install

demo: setup ## The main job: a city's flood from sensor bytes to KPIs in Trino
	@$(BIN)/lake demo

demo-all: setup ## The same with every dataset of the catalogue
	@$(BIN)/lake demo --all

demo-clean: setup ## Forget the demo's data (services and downloads stay)
	@LAKE_NAMESPACE=demo $(BIN)/lake forget

test: setup ## Unit, integration and end-to-end tests
	@$(BIN)/python -m pytest tests/unit -n 2 --dist loadfile
	@$(BIN)/python -m pytest tests/integration tests/e2e tests/chaos -n 2 --dist loadgroup

fuzz: setup ## The laws of the unit tests on other examples each time
	@HYPOTHESIS_PROFILE=fuzz $(BIN)/python -m pytest tests/unit -n 2 --dist loadfile

chaos: setup ## Twenty minutes of deaths and outages under load, beyond what make test kills
	@$(BIN)/python -m pytest tests/chaos -m chaos

lint: setup ## Style, types, layers, SQL and YAML
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict pipelines
	$(BIN)/lint-imports
	$(BIN)/sqlfluff lint dbt_project
	$(BIN)/yamllint --strict .

format: setup ## Format the Python code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

up: setup ## Start the local services
	@$(BIN)/lake up

down: ## Stop the local services
	@$(BIN)/lake down

status: ## Show services, jobs and freshness
	@$(BIN)/lake status
