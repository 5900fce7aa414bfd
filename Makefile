# Everything below needs Python 3.11+ and make beforehand, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp

.PHONY: run test check format clean

run: $(STAMP) ## the tour: a code desk of nine processes reviews real source
	@$(BIN)/orchestrator run examples.yaml --ask lead asyncio

test: $(STAMP) ## every test that this machine can run
	@$(BIN)/python -m pytest -q -n auto

check: $(STAMP) ## formatting, lint, strict types, import floors
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/test_floors.py

format: $(STAMP)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# uv installs the rest quickly; where it cannot be had, or does not work, plain pip does the same.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "orchestrator needs Python 3.11 or newer; try: make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "setting up $(VENV) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check 'uv>=0.5' 'pip>=25.1' || true
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install -q -e . --group dev \
	  || $(BIN)/python -m pip install -q --disable-pip-version-check -e . --group dev
	@touch $@

clean:
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
