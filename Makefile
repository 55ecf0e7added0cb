# Two commands for everyone: make demo, make test. A third for those who change the code: make check.
PYTHON ?= python3
PY := .venv/bin/python
INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test check integrations benchmarks clean

demo: .venv/demo
	.venv/bin/batchproof demo

test: .venv/test
	$(PY) -m pytest

check: .venv/test .venv/lint
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

.venv/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"batchproof needs Python 3.11 or later, this is {v.major}.{v.minor}; try make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	@touch $@

# torch comes first and alone, so that nothing after it chooses another build of it
.venv/torch: .venv/python constraints.txt
	$(INSTALL) torch==2.13.0
	@touch $@

SOURCES := pyproject.toml $(shell find src -type f -not -name '*.pyc')

.venv/demo: .venv/torch $(SOURCES)
	$(INSTALL) --force-reinstall --no-deps .
	$(INSTALL) '.[demo]'
	@touch $@

.venv/test: .venv/demo test-requirements.txt
	$(INSTALL) -r test-requirements.txt
	@touch $@

.venv/lint: .venv/test lint-requirements.txt
	$(INSTALL) -r lint-requirements.txt
	@touch $@

# other people's trainers, each at a released version, in an environment of their own
FRAMEWORKS := .venv-integrations
FRAMEWORKS_PIP := $(FRAMEWORKS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

integrations: $(FRAMEWORKS)/ready
	$(FRAMEWORKS)/bin/python -m pytest tests/integrations

$(FRAMEWORKS)/ready: constraints.txt integration-requirements.txt test-requirements.txt $(SOURCES)
	test -x $(FRAMEWORKS)/bin/python || $(PYTHON) -m venv $(FRAMEWORKS)
	$(FRAMEWORKS_PIP) torch==2.13.0
	$(FRAMEWORKS_PIP) -r integration-requirements.txt -r test-requirements.txt
	$(FRAMEWORKS_PIP) --force-reinstall --no-deps .
	$(FRAMEWORKS_PIP) '.[torch]'
	@touch $@

# every benchmark, on a quiet machine: make benchmarks DATA=folder of the MNIST files
PEERS := .venv-benchmarks
PEERS_PIP := $(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

benchmarks: $(PEERS)/ready
	@test -n "$(DATA)" || { echo "make benchmarks needs the folder of the MNIST files: make benchmarks DATA=DIR"; exit 2; }
	$(PEERS)/bin/python benchmarks/meter.py
	$(PEERS)/bin/python benchmarks/linear_cross_entropy.py
	$(PEERS)/bin/python benchmarks/step.py
	$(PEERS)/bin/python benchmarks/ranks.py
	$(PEERS)/bin/python benchmarks/ranks_simulation.py
	$(PEERS)/bin/python benchmarks/check.py
	$(PEERS)/bin/python benchmarks/startup.py --lightning $(abspath $(PEERS)/bin/python) --transformers $(abspath $(PEERS)/bin/python)
	$(PEERS)/bin/python benchmarks/epoch.py --data "$(DATA)"
	$(PEERS)/bin/python benchmarks/checkpoint.py --data "$(DATA)"
	$(PEERS)/bin/python benchmarks/frameworks.py --data "$(DATA)"

$(PEERS)/ready: constraints.txt integration-requirements.txt benchmark-requirements.txt $(SOURCES)
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS_PIP) torch==2.13.0
	$(PEERS_PIP) -r benchmark-requirements.txt
	$(PEERS_PIP) --force-reinstall --no-deps .
	$(PEERS_PIP) '.[demo]'
	@touch $@

clean:
	rm -rf .venv .venv-integrations .venv-benchmarks build dist
