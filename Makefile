# Two commands set everything up: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= auto

.PHONY: demo test lint bench docs mutants coverage lowest fuzz soak clean

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "blkcrypto needs Python 3.11 or newer: set PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/blkcrypto run trace-replay

test: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) -m 'not bench'

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python -m pytest -m bench -s tests/bench

docs: $(STAMP)
	$(BIN)/python -m sphinx -q -W --keep-going docs build/docs

mutants: $(STAMP)
	$(BIN)/python -m tests.mutants

# Each target for SECONDS; by coverage where the extra [fuzz] is installed, else by mutation.
SECONDS ?= 600
fuzz: $(STAMP)
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

# An hour of mixed replays with faults: `make soak SECONDS=3600`.
soak: SECONDS := $(if $(filter file,$(origin SECONDS)),3600,$(SECONDS))
soak: $(STAMP)
	$(BIN)/python -m tests.soak --seconds $(SECONDS)

# Branch coverage, with the tests that reach each line; `python -m tests.mutants --sampled N` reads both files.
COVERED := build/coverage
coverage: $(STAMP)
	mkdir -p $(COVERED)
	COVERAGE_FILE=$(COVERED)/data $(BIN)/python -m pytest -n 2 -m 'not bench' \
		--cov --cov-context=test --cov-report= --junitxml=$(COVERED)/tests.xml
	COVERAGE_FILE=$(COVERED)/data $(BIN)/python -m coverage report --skip-covered

# The suite with the oldest releases that pyproject.toml allows.
lowest:
	$(PYTHON) -m venv build/lowest
	build/lowest/bin/python -m pip install --quiet -r tests/lowest.txt pytest pytest-xdist hypothesis hatchling build
	PYTHONPATH=. build/lowest/bin/python -m pytest -n $(WORKERS) -m 'not bench'

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
