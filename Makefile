# Two commands matter: `make demo` and `make test`. Everything they need is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROCESSES ?= 4

.DEFAULT_GOAL := demo

chaos: venv  ## break everything for some minutes, or kill a thousand workers: CHAOS_ARGS='--kills 1000 --provider bsg --seed 1'
	$(BIN)/python -m tests.chaos $(CHAOS_ARGS)

bench: venv  ## measure everything against its baseline and its bar; BENCH_ARGS='plan send --rows 100000'
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

.PHONY: demo test check chaos bench venv format lock clean

demo: venv  ## start the embedded stack, send a sample campaign through the sandbox, account for every row
	$(BIN)/dispatcher demo

test: venv  ## the whole suite, against a real redis-server and a real ledger; PYTEST_ARGS='tests/unit -q' for a part
ifdef PYTEST_ARGS
	$(BIN)/python -m pytest $(PYTEST_ARGS)
else
	$(BIN)/python -m pytest --quiet -m alone
	$(BIN)/python -m pytest --quiet -m 'not alone' --numprocesses $(PROCESSES) --dist loadscope --no-loadscope-reorder
endif

check: venv  ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

venv: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dispatcher needs Python 3.11 or newer; say which with: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

format: venv
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock:  ## renew requirements.lock from pyproject.toml (needs uv)
	uv pip compile --universal --python-version 3.11 --extra dev --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command 'make lock' --quiet --output-file requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
