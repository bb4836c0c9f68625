# The only commands a newcomer needs:  make demo · make test
# `make setup` builds .venv (the project) and .tools (the scanners) from hash-pinned lock files.

PYTHON ?= python3
VENV := .venv/bin
TOOLS := $(CURDIR)/.tools/bin
# Programs of the project first, then the scanners, then the user's own.
export PATH := $(CURDIR)/$(VENV):$(TOOLS):$(PATH)
EDITABLES := -e . -e reference_server $(foreach plugin,$(sort $(wildcard plugins/*)),-e $(plugin))
PIP := --disable-pip-version-check --quiet
LOCK_FLAGS := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
WORKERS := $(shell $(PYTHON) -c 'import os; print(2 * (os.cpu_count() or 1))')  # most tests wait for processes
DIST ?= dist
OURS := rediver-agent rediver-server $(foreach plugin,$(wildcard plugins/*),rediver-$(notdir $(plugin)))

.PHONY: help setup demo test test-slow check format docs site surface picture bench dist lock clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: .venv/.ready .tools/.ready  ## build .venv and .tools (once; again when a lock file changes)

.venv/.ready: requirements.lock pyproject.toml reference_server/pyproject.toml $(wildcard plugins/*/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Rediver needs Python 3.11 or newer: make PYTHON=python3.12 setup"; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python's venv module is missing: apt install python3-venv"; exit 2; }
	@echo "setting up .venv (about 20 s)"
	@$(PYTHON) -m venv .venv
	@$(VENV)/pip install $(PIP) --require-hashes -r requirements.lock
	@$(VENV)/pip install $(PIP) --no-deps --no-build-isolation $(EDITABLES)
	@touch $@

.tools/.ready: tools.lock
	@echo "setting up .tools: semgrep, trivy, gitleaks, bandit (about a minute, 580 MB)"
	@$(PYTHON) -m venv .tools
	@.tools/bin/pip install $(PIP) --require-hashes -r tools.lock
	@touch $@

demo: setup  ## three real scans of a vulnerable app, through a real server
	@$(VENV)/rediver-agent demo

test: setup  ## every fast test (under 10 minutes on 2 cores)
	@$(VENV)/pytest -n $(WORKERS) --dist loadgroup -m "not slow"

test-slow: setup  ## soak and fault runs
	@$(VENV)/pytest -m slow --timeout 900
	@REDIVER_TEST_DEPTH=8 $(VENV)/pytest --timeout 1800 $(wildcard tests/server/*_random.py) tests/server/test_server_openapi.py tests/server/test_server_races.py

.bench/.ready: bench.lock
	@echo "setting up .bench: celery, orjson and other peers (about 20 s)"
	@$(PYTHON) -m venv .bench/venv
	@.bench/venv/bin/pip install $(PIP) --require-hashes -r bench.lock
	@touch $@

bench: .venv/.ready  ## speed beside Celery, Huey and others (12 minutes), into docs/reference/performance.md
	@$(MAKE) --no-print-directory .bench/.ready || echo "what is in bench.lock cannot be installed: ours is measured without it"
	@python=.bench/venv/bin/python; test -e .bench/.ready || python=$(VENV)/python; \
		$$python tests/benchmarks/run.py .bench/results.json
	@$(VENV)/python tests/benchmarks/report.py .bench/results.json docs/reference/performance.md

check: setup  ## format, lint, types, imports, size
	@$(VENV)/ruff format --check .
	@$(VENV)/ruff check .
	@$(VENV)/basedpyright --level error
	@$(VENV)/lint-imports
	@$(VENV)/pytest -q tests/architecture

format: setup  ## what `make check` asks for
	@$(VENV)/ruff format .
	@$(VENV)/ruff check --fix .

docs: setup  ## write the reference pages from the code
	@$(VENV)/python tests/support/reference_pages.py

site: setup  ## build the documentation as a site, into site/
	@$(VENV)/zensical build --strict --clean

surface: setup  ## write down anew what plugins are promised
	@$(VENV)/python tests/support/public_surface.py

picture: setup  ## draw the demo anew, for the README
	@FORCE_COLOR=1 COLUMNS=112 $(VENV)/rediver-agent demo 2>/dev/null | $(VENV)/python tests/support/demo_picture.py

dist: .venv/.ready  ## build the nine wheels into dist/, the same from the same commit
	@rm -f $(DIST)/rediver_*.whl
	@epoch=$$(git log -1 --format=%ct 2>/dev/null) && export SOURCE_DATE_EPOCH=$$epoch; \
		for place in . reference_server $(sort $(wildcard plugins/*)); do \
			(cd $$place && $(CURDIR)/$(VENV)/python -m hatchling build --target wheel --directory $(abspath $(DIST))) || exit; \
		done

lock:  ## renew the lock files (needs uv)
	uv pip compile $(LOCK_FLAGS) $(foreach name,$(OURS),--no-emit-package $(name)) --group dev --group build --all-extras pyproject.toml reference_server/pyproject.toml $(wildcard plugins/*/pyproject.toml) -o requirements.lock
	uv pip compile $(LOCK_FLAGS) tools.in -o tools.lock
	uv pip compile $(LOCK_FLAGS) --group bench -c requirements.lock -o bench.lock

clean:  ## remove what setup made
	rm -rf .venv .tools .bench dist
