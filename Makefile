# Two commands for everyone: make demo, make test. A third for those who change the code: make check.
PYTHON ?= python3
PINS := requirements/constraints.txt
SOURCES := pyproject.toml $(shell find src -type f -not -name '*.pyc')

# one environment for the library, and one each for what would quarrel in it
PY := .venv/bin/python
FRAMEWORKS := .venv-integrations
PEERS := .venv-benchmarks
SITE := .venv-docs
pip = $(1)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(PINS)

.PHONY: demo test check integrations benchmarks docs clean
.PRECIOUS: %/torch

demo: .venv/demo
	.venv/bin/batchproof demo

# one process more than there are cores, for tests of ranks mostly wait
test: .venv/test
	$(PY) -m pytest --numprocesses $$(($$(getconf _NPROCESSORS_ONLN) + 1)) --dist loadgroup

check: .venv/test .venv/lint
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m mypy --config-file tests/mypy.ini tests

# other people's trainers, each at a released version
integrations: $(FRAMEWORKS)/ready
	$(FRAMEWORKS)/bin/python -m pytest tests/integrations

# every benchmark, on a quiet machine: make benchmarks DATA=folder of the MNIST files
benchmarks: $(PEERS)/ready
	@test -n "$(DATA)" || { echo "make benchmarks needs the folder of the MNIST files: make benchmarks DATA=DIR"; exit 2; }
	$(PEERS)/bin/python benchmarks/meter.py
	$(PEERS)/bin/python benchmarks/linear_cross_entropy.py
	$(PEERS)/bin/python benchmarks/step.py
	$(PEERS)/bin/python benchmarks/cut.py
	$(PEERS)/bin/python benchmarks/ranks.py
	$(PEERS)/bin/python benchmarks/ranks_simulation.py
	$(PEERS)/bin/python benchmarks/check.py
	$(PEERS)/bin/python benchmarks/exactness.py
	$(PEERS)/bin/python benchmarks/trainers.py
	$(PEERS)/bin/python benchmarks/integrations_overhead.py
	$(PEERS)/bin/python benchmarks/startup.py --lightning $(abspath $(PEERS)/bin/python) --transformers $(abspath $(PEERS)/bin/python)
	$(PEERS)/bin/python benchmarks/epoch.py --data "$(DATA)"
	$(PEERS)/bin/python benchmarks/checkpoint.py --data "$(DATA)"
	$(PEERS)/bin/python benchmarks/frameworks.py --data "$(DATA)"

# the site, into build/site; a link that leads nowhere is an error. It is read from the sources, without torch
docs: $(SITE)/ready
	NO_MKDOCS_2_WARNING=1 $(SITE)/bin/mkdocs build --quiet --strict

# an environment; torch comes first and alone, so that nothing after it chooses another build of it
%/torch: $(PINS)
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"batchproof needs Python 3.11 or later, this is {v.major}.{v.minor}; try make PYTHON=python3.11")'
	@test -x $*/bin/python || $(PYTHON) -m venv $*
	$(call pip,$*) torch==2.13.0
	@touch $@

.venv/demo: .venv/torch $(SOURCES)
	$(call pip,.venv) --force-reinstall --no-deps .
	$(call pip,.venv) '.[demo]'
	@touch $@

.venv/test: .venv/demo requirements/test.txt
	$(call pip,.venv) -r requirements/test.txt
	@touch $@

.venv/lint: .venv/test requirements/lint.txt
	$(call pip,.venv) -r requirements/lint.txt
	@touch $@

$(FRAMEWORKS)/ready: $(FRAMEWORKS)/torch requirements/integrations.txt requirements/fastai.txt requirements/test.txt $(SOURCES)
	$(call pip,$(FRAMEWORKS)) -r requirements/integrations.txt -r requirements/test.txt
	$(call pip,$(FRAMEWORKS)) --no-deps -r requirements/fastai.txt
	$(call pip,$(FRAMEWORKS)) --force-reinstall --no-deps .
	$(call pip,$(FRAMEWORKS)) '.[torch]'
	@# a framework that cannot be imported would have its tests skipped
	KERAS_BACKEND=torch $(FRAMEWORKS)/bin/python -c 'import accelerate, fastai.learner, ignite, keras, lightning.pytorch, peft, skorch, torcheval, torchmetrics, transformers, trl'
	@touch $@

$(PEERS)/ready: $(PEERS)/torch requirements/integrations.txt requirements/fastai.txt requirements/benchmarks.txt $(SOURCES)
	$(call pip,$(PEERS)) -r requirements/benchmarks.txt
	$(call pip,$(PEERS)) --no-deps -r requirements/fastai.txt
	$(call pip,$(PEERS)) --force-reinstall --no-deps .
	$(call pip,$(PEERS)) '.[demo]'
	@touch $@

$(SITE)/ready: requirements/docs.txt $(PINS)
	@test -x $(SITE)/bin/python || $(PYTHON) -m venv $(SITE)
	$(call pip,$(SITE)) -r requirements/docs.txt
	@touch $@

clean:
	rm -rf .venv $(FRAMEWORKS) $(PEERS) $(SITE) build dist
