# What a person and CI run. `make` alone lists it. Everything is installed into .venv, which is made when it is missing
# or when pyproject.toml has changed.

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
# Documents are left as they were written: ruff would format the code in them, too.
CODE := src tests benchmarks
STAMP_VENV := $(VENV)/.made
STAMP_CORE := $(VENV)/.made-core
STAMP_DEV := $(VENV)/.made-dev

.DEFAULT_GOAL := help
.PHONY: help install demo test check format test-peers bench clean

help: ## list what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# pip of Python 3.11 knows no dependency groups: 25.1 is the first that does.
$(STAMP_VENV):
	@$(PYTHON) -c 'import sys; sys.exit("atdata needs Python 3.11 or later; $(PYTHON) is " + sys.version.split()[0] \
	+ ". Try: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade 'pip>=25.1'
	@touch $@

$(STAMP_CORE): pyproject.toml $(STAMP_VENV)
	$(PIP) install --quiet --editable .
	@touch $@

$(STAMP_DEV): pyproject.toml $(STAMP_VENV)
	$(PIP) install --quiet --editable '.[cloud,images,parquet,zstd]' --group dev
	@touch $(STAMP_CORE) $@

install: $(STAMP_DEV) ## make .venv with everything that development needs

demo: $(STAMP_CORE) ## publish and load real data, without account or network
	@$(BIN)/atdata demo

test: $(STAMP_DEV) ## all tests, on a real PLC directory and PDSes; not those with earlier releases
	$(BIN)/pytest -n $(JOBS) -m 'not peers'

check: $(STAMP_DEV) ## style, types, import rules, docs
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest tests/test_docs.py -k 'links or documented'

format: $(STAMP_DEV) ## repair what a machine can repair
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

test-peers: $(STAMP_DEV) ## our shards read by earlier releases, webdataset, tarfile and GNU tar
	$(BIN)/pytest -m peers

bench: $(STAMP_DEV) ## measure imports, size of the installation, memory and reading
	@status=0; for benchmark in imports install memory reading large; do \
		$(BIN)/python -m benchmarks.$$benchmark || status=1; \
	done; exit $$status

clean: ## remove caches and builds, keep .venv
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +
