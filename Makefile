# make demo: simulate, pick and score a small project.   make test: everything that is tested.
# Both set up a virtual environment in .venv; on Debian and Ubuntu missing system packages are installed first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)

.PHONY: demo test install lint clean system-python system-test

demo: $(VENV)/installed
	rm -rf demo
	$(BIN)/relion_ext_picker demo --o demo

test: system-test $(VENV)/tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest

lint: $(VENV)/tested
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy

install: $(VENV)/installed

$(VENV)/bin/pip: | system-python
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/pip
	$(BIN)/pip install -q -c constraints.txt -e .
	touch $@

$(VENV)/tested: $(VENV)/installed
	$(BIN)/pip install -q -c constraints.txt -e ".[dev]"
	touch $@

# The venv module is a package of its own on Debian.
system-python:
	@$(PYTHON) -c "import ensurepip" 2>/dev/null || \
		{ command -v apt-get >/dev/null && $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq python3-venv; }

# Real RELION for the tests of the External job; they are skipped, with the reason, where it cannot be installed.
system-test:
	@command -v relion_pipeliner >/dev/null || ! command -v apt-get >/dev/null || \
		{ $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq relion; } || \
		echo "RELION could not be installed: the tests that need it are skipped"

clean:
	rm -rf $(VENV) demo build dist *.egg-info
