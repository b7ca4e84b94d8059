# Everything by one command each. `make up` and `make test` install into .venv by themselves.
# Compiled modules are kept: the tests start hundreds of processes.
unexport PYTHONDONTWRITEBYTECODE
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input
ARGS ?=
WORKERS ?= 5

POSTGRES := postgresql://postgres@127.0.0.1:5432/postgres
REDIS := redis://127.0.0.1:6379/0
# What touches the database, and so runs on PostgreSQL and Redis as well.
DATABASE_TESTS := tests/test_checks.py $(wildcard $(addprefix tests/,access accounts admin agents api audit coordination mailboxes mcp nodes pages readers triggers usage webhooks))

.PHONY: permissions up test static test-sqlite test-postgres journeys access access-postgres pages wheel faults peers bench protos events lint types clean help
.DEFAULT_GOAL := help

help:
	@echo "make up       start AgentHub (ARGS=--json for scripts)"
	@echo "make test     static checks, tests on SQLite, the database's part on PostgreSQL and Redis"
	@echo "make journeys a real hub, nodes and agents, from the first start on"
	@echo "make access   ask every door as everybody, in their own project and in a foreign one (access-postgres: there)"
	@echo "make pages    every page in headless Chromium: size, contrast, keyboard, content policy"
	@echo "make wheel    build the wheel, install it into an empty environment, run it"
	@echo "make faults   kill, cut, fill and corrupt things, and see that nothing is lost"
	@echo "make peers    real agents against a local stub of their model servers"
	@echo "make bench    measure, beside what this machine can do"
	@echo "make protos   generate nodes/pb from protos/"
	@echo "make events   generate docs/events/ from the event contract"
	@echo "make lint types clean"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "AgentHub needs Python 3.11 or newer. Name one: make PYTHON=python3.12 …" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) >&2 || \
		{ echo "No virtual environment could be made; on Debian: apt install python3-venv" >&2; exit 2; }

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@echo "Installing AgentHub into $(VENV) (only when its dependencies change) …" >&2
	@$(PIP) install --root-user-action=ignore --upgrade pip >&2
	@$(PIP) install --root-user-action=ignore --editable . >&2
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "Installing what the tests need …" >&2
	@$(PIP) install --root-user-action=ignore --group dev >&2
	@touch $@

up: $(VENV)/.installed
	@exec $(BIN)/agenthub up $(ARGS)

test: static test-sqlite test-postgres

static: lint types
	@home=$$(mktemp -d) && trap 'rm -rf "$$home"' EXIT && export AGENTHUB_HOME="$$home" && \
		$(BIN)/python manage.py makemigrations --check --dry-run && \
		AGENTHUB_SERVER__PUBLIC_URL=https://hub.example.com $(BIN)/python manage.py check --deploy --fail-level WARNING

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.installed-dev
	$(BIN)/mypy .

test-sqlite: $(VENV)/.installed-dev
	$(BIN)/pytest -n $(WORKERS) -m "not journey and not browser and not matrix" $(ARGS)

journeys: $(VENV)/.installed-dev
	$(BIN)/pytest -n $(WORKERS) -m journey tests $(ARGS)

access: $(VENV)/.installed-dev
	$(BIN)/pytest -n $(WORKERS) -m matrix tests/access $(ARGS)

access-postgres: $(VENV)/.installed-dev
	AGENTHUB_DATABASE__URL=$(POSTGRES) AGENTHUB_REDIS__URL=$(REDIS) \
		$(BIN)/pytest -n $(WORKERS) -m matrix tests/access $(ARGS)

pages: $(VENV)/.installed-dev
	tests/browser/provider/install.sh
	$(BIN)/pytest -n 2 -m browser --tb=native tests/browser $(ARGS)

test-postgres: $(VENV)/.installed-dev
	@if $(BIN)/python .ci/reachable 127.0.0.1:5432 127.0.0.1:6379; then \
		set -x; AGENTHUB_DATABASE__URL=$(POSTGRES) AGENTHUB_REDIS__URL=$(REDIS) \
		$(BIN)/pytest -n $(WORKERS) -m "not journey and not browser and not matrix" \
			--ignore=tests/readers/test_stop_web.py $(DATABASE_TESTS) $(ARGS); \
	elif [ -n "$$CI" ]; then exit 1; \
	else echo "SKIPPED: tests on PostgreSQL and Redis, since they are not there (CI has them)"; fi

wheel: $(VENV)/.installed-dev
	$(BIN)/pytest -n 0 tests/wheel $(ARGS)

faults: $(VENV)/.installed-dev
	$(BIN)/python .ci/record faults -- $(BIN)/pytest -n 0 tests/faults $(ARGS)

peers: $(VENV)/.installed-dev
	tests/peers/install.sh
	$(BIN)/python .ci/record peers -- $(BIN)/pytest -n 0 tests/peers $(ARGS)

bench: $(VENV)/.installed-dev
	$(BIN)/python -m tests.benchmarks $(ARGS)

protos: $(VENV)/.installed-dev
	$(BIN)/python -m grpc_tools.protoc -Inodes/pb=protos/agenthub/node/v1 \
		--python_out=. --pyi_out=. --grpc_python_out=. nodes/pb/link.proto
	$(BIN)/python -m grpc_tools.protoc -Inodes/pb=protos/agenthub/actor/v1 \
		--python_out=. --pyi_out=. --grpc_python_out=. nodes/pb/actor.proto

permissions: $(VENV)/.installed-dev
	$(BIN)/python tools/permission_docs.py

events: $(VENV)/.installed-dev
	$(BIN)/python tools/event_docs.py

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
