# make train   a virtual environment in .venv, gan-cli in it, and a default run on MNIST (about 3 minutes on 2 cores)
# make test    the same environment, plus what the tests need, and the tests, on all cores
# make test-all  also the tests that take long
# make test-lowest  commands, runs and configurations with the lowest supported Python and the lowest versions of all
# make lint    style and types
#
# Options go in ARGS:          make train ARGS="dataset=mnist loss=minimax k=2"
# Another Python goes in PYTHON: make train PYTHON=python3.12

PYTHON ?= python3
VENV   ?= .venv
LOWEST_PYTHON ?= python3.10
ARGS   ?=

.PHONY: train test test-all test-lowest lint clean

train: $(VENV)/.installed
	$(VENV)/bin/gan-train $(ARGS)

# One thread to a process: the processes share the cores already, and the networks of the tests are small. Files of the
# tests lie in memory where that can be: each of them is flushed to disk, which takes a quarter of the time.
SHM := $(shell test -w /dev/shm && echo /dev/shm || echo $${TMPDIR:-/tmp})
PYTEST = OMP_NUM_THREADS=1 TMPDIR=$(SHM) $(VENV)/bin/python -m pytest --numprocesses auto --dist worksteal

test: $(VENV)/.installed-dev
	$(PYTEST) -m "not slow" $(ARGS)

test-all: $(VENV)/.installed-dev
	$(PYTEST) $(ARGS)

# Old packages call what newer ones of other authors have deprecated.
LOWEST = tests/test_algorithm.py tests/test_api.py tests/test_checkpoint.py tests/test_configs.py tests/test_games.py

test-lowest: $(VENV)-lowest/.installed
	OMP_NUM_THREADS=1 TMPDIR=$(SHM) $(VENV)-lowest/bin/python -m pytest --numprocesses auto \
	  -W ignore::DeprecationWarning $(LOWEST)

$(VENV)-lowest/.installed: pyproject.toml tests/lowest.txt
	$(LOWEST_PYTHON) -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/python -m pip install --quiet --editable . --constraint tests/lowest.txt pytest pytest-xdist \
	  hypothesis scipy
	touch $@

lint: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

clean:
	rm -rf $(VENV) build dist *.egg-info

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

# Reinstalled only when pyproject.toml is newer than the last installation: the code itself is used in place.
$(VENV)/.installed: pyproject.toml | $(VENV)/bin/pip
	$(VENV)/bin/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/pip
	$(VENV)/bin/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/.installed
