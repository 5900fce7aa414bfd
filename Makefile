# Needs Python 3.11 or newer and make, and nothing else: everything goes into a .venv of its own.
PYTHON ?= python3
REVIEW ?= asyncio
FUZZ_SECONDS ?= 60
SEEDS ?= 2000
# One more than there are cores: many tests wait for other processes.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)')
VENV := .venv
BIN := $(VENV)/bin
# One stamp for what runs the project and one for what develops it, so that the first `make run` waits for less.
RUN := $(VENV)/.can-run
DEV := $(VENV)/.can-develop
FUZZ := $(VENV)/.can-fuzz

# The tests start many processes, and without this each would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup run test bars brokers simulate fuzz bench check format clean
.NOTPARALLEL:

setup: $(DEV) ## everything installed; the default
	@echo "ready: make run, make test, make check"

run: $(RUN) ## the tour: a code desk of eight processes reviews real source; REVIEW=package, directory or file
	@$(BIN)/orchestrator run examples.yaml --ask lead "$(REVIEW)"

test: $(DEV) ## every test that this machine can run
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal

bars: $(DEV) ## the tests that take minutes: the same facts over very many cases
	@$(BIN)/python -m pytest -q -n auto -m bars

brokers: $(DEV) ## a NATS and a Valkey on loopback, for trying things out, until Ctrl-C
	@$(BIN)/python -m tests.brokers

simulate: $(DEV) ## our engines through bad days, on all cores; SEEDS=2000, or a range SEEDS=300:400 (docs/simulation.md)
	@$(BIN)/python -m tests.testing.simulation_runner $(SEEDS)

fuzz: $(FUZZ) ## look for bytes that frames, tokens and patterns do not stand; FUZZ_SECONDS for each of them
	@for target in frames tokens globs; do \
	  echo "fuzzing $$target for $(FUZZ_SECONDS) s ..." >&2; \
	  $(BIN)/python -m tests.fuzz $$target -max_total_time=$(FUZZ_SECONDS) -verbosity=0 -print_final_stats=1 || exit 1; \
	done

bench: $(RUN) ## what hub, client, dispatch, streams and store stand and how fast they are, with short settings; bench/README.md has the long ones
	@$(BIN)/python -m bench.hub_load --rounds 1 --seconds 0.5 --warm 0.2 --connections 2000 --channels 10000
	@$(BIN)/python -m bench.reconnect_storm --clients 300 --age 0
	@$(BIN)/python -m bench.flapping --seconds 10
	@$(BIN)/python -m bench.client_throughput --rounds 2 --messages 50000 --publishes 10000
	@$(BIN)/python -m bench.renewal --seconds 15
	@$(BIN)/python -m bench.round_trip --rounds 2 --tasks 500 --many 1920 --streams 2
	@$(BIN)/python -m bench.idle_hub --runs 2
	@$(BIN)/python -m bench.task_store --tasks 40000 --queued 1000 20000 --rounds 400

check: $(DEV) ## formatting, lint, strict types, import floors
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/test_floors.py

format: $(DEV) ## repair what can be repaired without thinking
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

$(RUN): pyproject.toml
	@$(call install,-e .)
	@touch $(RUN)

$(DEV): pyproject.toml
	@$(call install,-e . --group dev)
	@touch $(RUN) $(DEV)

$(FUZZ): pyproject.toml
	@$(call install,-e . --group dev --group fuzz)
	@touch $(RUN) $(DEV) $(FUZZ)

# uv is quick; where it cannot be had, or does not reach the packages, pip does the same (groups need a recent one).
define install
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	  "orchestrator needs Python 3.11 or newer; try: make PYTHON=python3.12")' && \
	{ $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV); } && \
	echo "setting up $(VENV) ..." >&2 && \
	{ $(BIN)/uv --version >/dev/null 2>&1 || \
	  $(BIN)/python -m pip install -q --disable-pip-version-check uv || true; } && \
	{ $(BIN)/uv pip install -q --python $(BIN)/python --compile-bytecode $(1) 2>/dev/null || \
	  { $(BIN)/python -m pip install -q --disable-pip-version-check 'pip>=25.1' && \
	    $(BIN)/python -m pip install -q --disable-pip-version-check $(1); }; }
endef

clean:
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
