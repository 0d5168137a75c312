# Each target alone takes a fresh clone on a machine with Python 3.10+ and make to the end.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

.PHONY: demo test lint docs bench clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch numpy
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(READY)

demo: $(READY)
	$(BIN)/python examples/demo.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

docs: $(READY)
	$(BIN)/mkdocs build --strict

bench: $(READY)
	$(BIN)/pip install --quiet --constraint constraints.txt pot
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps torchcfm
	$(BIN)/python benchmarks/loop.py
	$(BIN)/python benchmarks/coupling.py
	$(BIN)/python benchmarks/straightness.py

clean:
	rm -rf $(VENV) site runs
