# Two commands are enough: `make demo` shows the main job, `make test` proves the house. Both set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ENGINE ?= sandbox
ROLE ?= data-owner
# Commands start faster from byte code, also where the environment keeps Python from writing it.
COMPILE = $(BIN)/python -m compileall -q cli reconciler registry runner schemas

.PHONY: tutorial clean-tutorial demo dev check test bench clean

demo: $(VENV)/.demo
	$(COMPILE)
	$(BIN)/python examples/chestxray/demo.py --engine $(ENGINE)

tutorial: $(VENV)/.demo   # ROLE=committee|model-owner|data-owner, see docs/tutorials/
	$(COMPILE)
	$(BIN)/python examples/tutorial/seed.py $(ROLE)

clean-tutorial:
	chmod -R u+w tutorial 2>/dev/null || true
	rm -rf tutorial

dev: $(VENV)/.dev .link/medperf

check: dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: dev
	$(COMPILE)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

bench: dev
	$(COMPILE)
	$(BIN)/python -m bench

clean:
	rm -rf demo build dist .link .coverage* *.egg-info

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[examples]'
	touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[dev,examples]'
	touch $@ $(VENV)/.demo

.link/medperf:
	mkdir -p .link && ln -sfn .. $@
