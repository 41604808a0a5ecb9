# Set-up and daily commands; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Where this file lies: the work is done where make is called, for a bundle may be read-only.
HERE := $(dir $(abspath $(lastword $(MAKEFILE_LIST))))
# A lock file is complete: pip resolves nothing, it only checks hashes.
PIP_LOCKED := $(BIN)/python -m pip install --quiet --require-hashes --no-deps -r
RUN_READY := $(VENV)/.run-ready
ALL_READY := $(VENV)/.all-ready
# ROOT lives in an environment of its own, where its compiler meets no other one; what compares with it looks here.
ROOT_VENV := .root-venv
ROOT_READY := $(ROOT_VENV)/.ready
ifneq ($(wildcard $(ROOT_READY)),)
export ROOT_PYTHON ?= $(CURDIR)/$(ROOT_VENV)/bin/python
endif

# In a bundle everything is installed: make -f BUNDLE/Makefile run
ifneq ($(wildcard $(HERE)bundle.json),)
BIN := $(HERE)bin
RUN_READY :=
ALL_READY :=
endif

.DEFAULT_GOAL := help
.PHONY: help install install-all root run paper test soak mutants lowest check lint bench bench-compare bundle ci-packages golden notebooks docs lock clean

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(f"got Python {sys.version.split()[0]}, wanted 3.11 or newer: make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(RUN_READY): requirements/run.lock pyproject.toml | $(VENV)/bin/python
	@echo "installing the locked dependencies into $(VENV) (once, a minute or two)"
	$(PIP_LOCKED) requirements/run.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(ALL_READY): requirements/all.lock $(RUN_READY)
	@echo "installing the locked dependencies of all extras into $(VENV) (once, a few minutes)"
	$(PIP_LOCKED) requirements/all.lock
	@touch $@

$(ROOT_READY): requirements/root.lock
	$(PYTHON) -m venv $(ROOT_VENV)
	$(ROOT_VENV)/bin/python -m pip install --quiet --require-hashes --no-deps -r requirements/root.lock
	@touch $@

root: $(ROOT_READY)  ## install ROOT beside the rest (250 MB), for the tests and benchmarks that compare with it

install: $(RUN_READY)  ## make .venv with the locked dependencies and the package

install-all: $(ALL_READY)  ## the same with every extra and the test tools

fileset.json:
	cp $(HERE)fileset.json .

# Another set: make run SET=ci FILESET=samples/ci/fileset.json
SET := demo
FILESET := fileset.json
run: $(RUN_READY) fileset.json  ## simulate the demo set if there is none, run the search, compute the limit
	$(BIN)/lnv simulate --set $(SET) --output samples --if-missing
	$(BIN)/lnv fileset complete $(FILESET) --output samples/fileset.json
	$(BIN)/lnv run samples/fileset.json --executor dask --cluster local --output results
	$(BIN)/lnv systematics --output results
	$(BIN)/lnv background --output results
	$(BIN)/lnv limits --method all --output results
	$(BIN)/lnv report --output results

PAPER := results/paper
paper: $(ALL_READY)  ## Table 1 and Table 2 beside the publication, on the big sample set (a few minutes; resumes)
	$(BIN)/lnv simulate --set paper --output samples --if-missing
	$(BIN)/lnv fileset complete samples/paper/fileset.json --output samples/paper.json
	$(BIN)/lnv run samples/paper.json --executor dask --cluster local --resume --output $(PAPER)
	$(BIN)/lnv systematics --output $(PAPER) --compare docs/published_systematics.json
	$(BIN)/lnv background --output $(PAPER)
	$(BIN)/lnv optimize --output $(PAPER) --n-jpsi 10087e6
	$(BIN)/lnv topology --output $(PAPER)
	$(BIN)/lnv limits --output $(PAPER)
	$(BIN)/lnv paper --output $(PAPER)
	$(BIN)/lnv report --output $(PAPER)

test: $(ALL_READY)  ## the whole test suite (under 15 minutes on two cores)
	$(BIN)/python tests/suite.py

soak: $(ALL_READY)  ## what repeats: random kills, mutated inputs, properties with thousands of examples
	HYPOTHESIS_PROFILE=soak $(BIN)/python -m pytest tests -m "soak or hypothesis" --timeout 3600
	$(BIN)/python tests/disturbances.py

mutants: $(ALL_READY)  ## plant faults in what decides a result and see which the suite catches (hours; goes on where it was)
	$(BIN)/python tests/mutants.py map
	$(BIN)/python tests/mutants.py map --kernels
	$(BIN)/python tests/mutants.py run
	$(BIN)/python tests/mutants.py run --kernels
	$(BIN)/python tests/mutants.py report

LOWEST_VENV := .lowest-venv
$(LOWEST_VENV)/.ready: requirements/lowest.lock $(RUN_READY)
	$(PYTHON) -m venv $(LOWEST_VENV)
	$(LOWEST_VENV)/bin/python -m pip install --quiet --require-hashes --no-deps -r requirements/lowest.lock
	@touch $@

lowest: $(LOWEST_VENV)/.ready $(ALL_READY)  ## the same results with the oldest packages that are allowed (ten minutes)
	$(LOWEST_VENV)/bin/python -m pip install --quiet --no-deps --force-reinstall .
	$(BIN)/python tests/lowest.py $(LOWEST_VENV)/bin $(BIN) samples/lowest

check: lint  ## lint, types, import contracts and the fast tests
	$(BIN)/python -m pytest tests -m fast -x -q

lint: $(ALL_READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(ALL_READY)  ## measure everything (15 minutes): benchmarks/results.json and docs/performance.md
	$(BIN)/python -m benchmarks.suite --pages

bench-compare: $(ALL_READY)  ## measure the ratios again and compare them with benchmarks/results.json
	$(BIN)/python -m benchmarks.suite --only limit,peers,scaling,kinfit --output samples/benchmarks/compare.json
	$(BIN)/python -m benchmarks.compare samples/benchmarks/compare.json

bundle: $(ALL_READY)  ## pack interpreter, packages and kernels into one archive in dist/ that runs anywhere (five minutes)
	$(BIN)/python bundle/make.py

golden: $(ALL_READY)  ## renew the golden files after a change that is meant to move them
	$(BIN)/python -m pytest tests/golden tests/report/test_image_regression.py --renew-golden -q

results/report.html:
	$(MAKE) run

$(PAPER)/report.html:
	$(MAKE) paper

results/notebooks/.made: $(wildcard notebooks/*.ipynb) $(ALL_READY) | results/report.html
	$(BIN)/jupyter nbconvert --to markdown --execute --log-level WARN --output-dir results/notebooks notebooks/*.ipynb
	@touch $@

notebooks: results/notebooks/.made  ## run the notebooks and keep them as pages of the documentation

docs: $(ALL_READY) notebooks | results/report.html $(PAPER)/report.html  ## build the documentation into site/, with the reports (made if they are not there)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

ci-packages:  ## install the Debian packages that the service tests use (needs root)
	./.ci/packages

lock:  ## renew the lock files (needs uv)
	cd requirements && uv pip compile ../pyproject.toml build.in --all-extras --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url -q -o all.lock
	cd requirements && uv pip compile ../pyproject.toml build.in --extra dask --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url -q -c all.lock -o run.lock
	cd requirements && uv pip compile ../pyproject.toml --extra dask --resolution lowest-direct --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url -q -o lowest.lock
	cd requirements && uv pip compile root.in --prerelease allow --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url -q -c all.lock -o root.lock

clean:  ## remove what the commands made (not the samples)
	rm -rf results .pytest_cache .mypy_cache .ruff_cache
