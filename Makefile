# Each target alone takes a fresh clone on a machine with Python 3.10+ and make to the end.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
OLDEST := .venv-oldest
# what old releases warn of is no failure of ours; the last: torch on what its own torch.export.load reads
OLD_WARNINGS := -W default::DeprecationWarning -W default::FutureWarning \
	-W "default:The given buffer is not writable:UserWarning"

.PHONY: demo test test-oldest lint docs bench clean

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

$(OLDEST)/ready: pyproject.toml tests/oldest.py
	$(PYTHON) -m venv --clear $(OLDEST)
	$(OLDEST)/bin/pip install --quiet packaging tomli
	$(OLDEST)/bin/python tests/oldest.py > $(OLDEST)/pins.txt
	$(OLDEST)/bin/pip install --quiet --requirement $(OLDEST)/pins.txt
	$(OLDEST)/bin/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $(OLDEST)/ready

# the suite with every lower bound of pyproject.toml; PYTHON=python3.10 takes the oldest Python too
test-oldest: $(OLDEST)/ready
	$(OLDEST)/bin/python -m pytest --numprocesses 2 --dist worksteal $(OLD_WARNINGS)

docs: $(READY)
	$(BIN)/mkdocs build --strict

bench: $(READY)
	$(BIN)/pip install --quiet --constraint constraints.txt pot
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps torchcfm
	$(BIN)/python benchmarks/loop.py
	$(BIN)/python benchmarks/coupling.py
	$(BIN)/python benchmarks/straightness.py

clean:
	rm -rf $(VENV) $(OLDEST) site runs
