# make demo: simulate, pick and score a small project.   make test: everything that is tested.
# Both set up a virtual environment in .venv; on Debian and Ubuntu missing system packages are installed first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SCIPION := .venv-scipion
SCIPION_PACKAGES := scipion-pyworkflow==3.11.7 scipion-em==3.11.1 scipion-app==3.8.3 scipion-em-relion==5.0.2
SCIPION_TESTS := $(SCIPION)/bin/pytest -o filterwarnings=ignore
SUDO := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)

.PHONY: demo test test-core test-scipion test-scipion-one install lint clean system-python system-test system-tk

demo: $(VENV)/installed
	rm -rf demo
	$(BIN)/relion_ext_picker demo --o demo

test: test-core test-scipion test-scipion-one

# In two processes, each with one thread: most tests are too small for two threads to help.
test-core: system-test $(VENV)/tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

# As most users have it: Scipion in an environment of its own, with numpy 1.26, runs the program in that of $(VENV).
test-scipion: $(VENV)/installed $(SCIPION)/installed
	RELION_EXT_PICKER_PYTHON=$(CURDIR)/$(BIN)/python $(SCIPION_TESTS) scipion_plugin/tests

# Both in one environment, with the old libraries that Scipion asks for.
test-scipion-one: $(SCIPION)/one
	RELION_EXT_PICKER_PYTHON= $(SCIPION_TESTS) scipion_plugin/tests -k "installation or every_mode"

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

$(SCIPION)/installed: pyproject.toml Makefile | system-python system-tk
	$(PYTHON) -m venv --clear $(SCIPION)
	$(SCIPION)/bin/pip install -q $(SCIPION_PACKAGES) pytest pytest-timeout
	$(SCIPION)/bin/pip install -q --no-deps -e .
	touch $@

$(SCIPION)/one: $(SCIPION)/installed constraints.txt
	$(SCIPION)/bin/pip install -q -c constraints.txt -e ".[scipion]"
	$(SCIPION)/bin/pip check
	touch $@

# The venv module is a package of its own on Debian.
system-python:
	@$(PYTHON) -c "import ensurepip" 2>/dev/null || \
		{ command -v apt-get >/dev/null && $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq python3-venv; }

# Real RELION for the tests of the External job, and a reader of PDF files for those of the reports; the tests are skipped,
# with the reason, where these cannot be installed.
system-test:
	@{ command -v relion_pipeliner && command -v pdftotext; } >/dev/null || ! command -v apt-get >/dev/null || \
		{ $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq relion poppler-utils; } || \
		echo "RELION or pdftotext could not be installed: the tests that need them are skipped"

# Scipion needs tkinter even without a display; it is a package of its own on Debian.
system-tk:
	@$(PYTHON) -c "import tkinter" 2>/dev/null || \
		{ command -v apt-get >/dev/null && $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq python3-tk; }

clean:
	rm -rf $(VENV) $(SCIPION) demo build dist *.egg-info
