# Python 3.11 or newer and make are all that `make run` needs. Everything is installed into .venv, from locks with hashes.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header -p 3.11
CONFIG ?=
ARGS ?=
# Most of a broker test is waiting, so three files at a time suit two cores; each worker has a broker of its own.
JOBS ?= 3

.DEFAULT_GOAL := help
.PHONY: help setup run check lint types test mutate differential patterns fiddler-clients browser bench bench-mapping lock clean chaos chaos-mutants soak \
	image dist \
	sbom audit deploy-check

help: ## print this help
	@printf 'connector: carries Kafka records to event services and never loses one\n\n'
	@sed -n 's/^\([a-z-]*\):.*## /  make \1|/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{ printf "%-16s %s\n", $$1, $$2 }'
	@printf '\n  make run ARGS="--records 5000"   stop after 5000 records and print what was proved\n'
	@printf '  make run CONFIG=my.yaml          run the daemon on your own config\n'
	@printf '  make test ARGS="-k ledger"       options for pytest\n'
	@printf '  PYTHON=/path/to/python           which Python makes .venv (3.11 or newer; found: %s)\n' "$(or $(PYTHON),none)"

run: $(VENV)/.run ## the demo on this machine alone, or the daemon with CONFIG=my.yaml
ifeq ($(strip $(CONFIG)),)
	@$(BIN)/connector demo $(ARGS)
else
	@$(BIN)/connector run "$(CONFIG)" $(ARGS)
endif

setup: $(VENV)/.dev ## install what development and the tests need

check: lint types test ## all that must hold before a change goes in: lint, types, tests

lint: $(VENV)/.dev ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## mypy, strict, over the package and the tests
	$(BIN)/mypy

test: $(VENV)/.dev ## unit, contract, flow and real-broker tests (these need Java 17+ and Maven, or KAFKA_BOOTSTRAP_SERVERS)
	$(BIN)/pytest -n $(JOBS) --dist loadfile $(ARGS)

chaos: $(VENV)/.dev ## longer and harder: a thousand seeded worlds, then runs on three real brokers (ARGS="--chaos-seed 7" for the runs alone)
	$(if $(strip $(ARGS)),,CONNECTOR_WORLDS=1000 $(BIN)/pytest -n 2 tests/flow/test_worlds.py)
	$(BIN)/pytest tests/chaos $(ARGS)

chaos-mutants: $(VENV)/.dev ## put ten known bugs of other systems into the daemon, and see a run catch each one
	$(BIN)/python -m tests.chaos.mutants $(ARGS)

soak: $(VENV)/.dev ## everything struck by chance for as long as it is told (ARGS="--minutes 60")
	$(BIN)/pytest -s tests/chaos/test_soak.py $(if $(findstring --minutes,$(ARGS)),,--minutes 10) $(ARGS)

image: ## build the container image (needs Docker)
	@command -v docker >/dev/null || { echo "Docker is not on the PATH; install it, or build deploy/Dockerfile elsewhere" >&2; exit 2; }
	version=$$(sed -n 's/^__version__ = "\(.*\)"/\1/p' connector/__init__.py) && \
	docker build -f deploy/Dockerfile --build-arg VERSION=$$version \
		--build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) -t connector:$$version .

dist: $(VENV)/.dev sbom ## wheel, source, chart, SBOM and their checksums, in dist/
	$(BIN)/python -m hatchling build -d dist
	"$$($(BIN)/python -m tests.deploy --path helm)" package deploy/helm/connector --destination dist
	cd dist && sha256sum -- *.whl *.tar.gz *.tgz *.json > SHA256SUMS

sbom: $(VENV)/.dev ## what is in the image, as a CycloneDX SBOM: dist/connector.cdx.json
	@mkdir -p dist
	"$$($(BIN)/python -m tests.deploy --path cyclonedx-py)" requirements requirements-image.lock --pyproject pyproject.toml \
		--output-reproducible --validate -o dist/connector.cdx.json

audit: $(VENV)/.dev ## known vulnerabilities of what the locks pin (Error 1), or that no database could be asked (Error 3)
	$(BIN)/python -m tests.deploy.audit

deploy-check: $(VENV)/.dev ## every file of deploy/ before helm, kubeconform, promtool, hadolint … (needs Go; ARGS=--update renders the manifests anew)
	$(BIN)/python -m tests.deploy $(ARGS)

mutate: $(VENV)/.dev ## break the core on purpose and count the changes that no test notices
	$(BIN)/python -m tests.mutate $(ARGS)

differential: $(VENV)/.differential ## hold the expressions against two other CELs (ARGS="--expressions 100000" for the long run)
	$(BIN)/python -m tests.differential $(ARGS)

patterns: $(VENV)/.dev ## hold the event patterns against AWS's own event-ruler (needs a JDK 17 and Maven)
	$(BIN)/python -m tests.differential.patterns $(ARGS)

fiddler-clients: $(VENV)/fiddler-v3/.done $(VENV)/fiddler-v2/.done $(VENV)/.dev ## what Fiddler's own clients make of the simulator, and how our requests differ from theirs
	$(BIN)/python -m tests.clients $(VENV)

browser: $(VENV)/.browser ## the status page in headless Chromium (installs it from Debian packages where it is missing)
	$(BIN)/pytest $(ARGS) tests/browser

bench: $(VENV)/.dev ## what the whole daemon costs, beside a plain script, another tool and the limit (ARGS=--short)
	$(BIN)/python -m tests.bench.daemon $(ARGS)

bench-mapping: $(VENV)/.differential ## what matching and mapping cost, as ratios to reading the record's JSON
	$(BIN)/python -m tests.bench.mapping $(ARGS)

lock: $(VENV)/.dev ## write the locks anew from pyproject.toml (ARGS=--upgrade for newer versions)
	$(COMPILE) $(ARGS) pyproject.toml -o requirements.lock
	$(COMPILE) $(ARGS) --group build -o requirements-build.lock
	$(COMPILE) $(ARGS) pyproject.toml --group dev --group build -o requirements-dev.lock
	$(COMPILE) $(ARGS) --group browser -c requirements-dev.lock -o requirements-browser.lock
	$(COMPILE) $(ARGS) --group differential -c requirements-dev.lock -o requirements-differential.lock
	$(COMPILE) $(ARGS) --group fiddler-v2 -o requirements-fiddler-v2.lock
	$(COMPILE) $(ARGS) --group fiddler-v3 -o requirements-fiddler-v3.lock
	$(COMPILE) $(ARGS) pyproject.toml --all-extras -c requirements-dev.lock -o requirements-image.lock
	$(COMPILE) $(ARGS) --group deploy -o requirements-deploy.lock

clean: ## remove .venv and every cache in the tree
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist

$(BIN)/python:
	@test -n "$(PYTHON)" || { \
		echo "No Python 3.11 or newer on the PATH. Install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 2; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is not Python 3.11 or newer. Name one that is: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 2; }
	@"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot make a virtual environment. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }

# The editable install comes from pyproject.toml alone: its dependencies are in the locks already.
$(VENV)/.run: requirements.lock requirements-build.lock pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV), once."
	@$(PIP) --require-hashes -r requirements.lock -r requirements-build.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

# The development lock holds the other two, so it brings what `run` needs.
$(VENV)/.dev: requirements-dev.lock pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV) for development, once."
	@$(PIP) --require-hashes -r requirements-dev.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $(VENV)/.run $@

# Chromium and its driver are of one version where both are Debian packages, so selenium has nothing to fetch by itself.
$(VENV)/.browser: requirements-browser.lock $(VENV)/.dev
	@{ command -v chromium && command -v chromedriver; } >/dev/null || { \
		echo "Installing Chromium, once."; \
		root=$$(test "$$(id -u)" -eq 0 || echo sudo); $$root apt-get update -qq && \
		$$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			chromium chromium-driver fonts-dejavu-core >/dev/null; } || { \
		echo "Chromium and chromedriver could not be installed. On Debian: apt-get install chromium chromium-driver" >&2; exit 2; }
	@$(PIP) --require-hashes -r requirements-browser.lock
	@touch $@

# What only `differential` and `bench-mapping` compare with. Its lock takes the versions of the development lock.
$(VENV)/.differential: requirements-differential.lock $(VENV)/.dev
	@echo "Installing what to compare with into $(VENV), once."
	@$(PIP) --require-hashes -r requirements-differential.lock
	@touch $@

# Each of Fiddler's clients has an environment of its own: they need different versions of pydantic.
$(VENV)/fiddler-%/.done: requirements-fiddler-%.lock | $(BIN)/python
	@echo "Installing Fiddler's client for API $* into $(VENV)/fiddler-$*, once."
	@$(BIN)/python -m venv $(VENV)/fiddler-$*
	@$(VENV)/fiddler-$*/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@
