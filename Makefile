# Everything runs in .venv, made on first use. Another Python: make PYTHON=python3.12 ... More for pytest: make test ARGS="-x -k dense"
PYTHON ?= python3
ARGS ?=
BIN = .venv/bin

.PHONY: help quickstart test long lint format docs-check against-torch bench-peers bench-layers clean

help:
	@echo "make quickstart   train on handwritten digits, save, load, predict"
	@echo "make test         every test (ARGS='...' goes to pytest)"
	@echo "make long         every test, the long ones too"
	@echo "make lint         ruff and mypy"
	@echo "make format       let ruff rewrite the sources"
	@echo "make docs-check   only the code in README, docs and docstrings"
	@echo "make against-torch  500 configurations of each layer beside PyTorch (installs it)"
	@echo "make bench-peers  side by side with PyTorch (installs it)"
	@echo "make bench-layers a training step of every layer beside PyTorch's (installs it)"
	@echo "make clean        remove .venv, builds and caches"

quickstart: .venv/installed
	$(BIN)/python examples/digits.py

# Kernels first, on all cores: a test that needs one more would compile alone.
test: .venv/installed
	$(BIN)/numbaflux cache warm
	$(BIN)/python -m pytest $(ARGS)

long: .venv/installed
	$(BIN)/numbaflux cache warm
	NUMBAFLUX_LONG=1 $(BIN)/python -m pytest $(ARGS)

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs-check: .venv/installed
	$(BIN)/python -m pytest tests/test_docs.py $(ARGS)

against-torch: .venv/peers
	$(BIN)/numbaflux cache warm
	NUMBAFLUX_LONG=1 $(BIN)/python -m pytest tests/test_against_torch.py $(ARGS)

bench-peers: .venv/peers
	$(BIN)/python -m benchmarks.peers $(ARGS)

bench-layers: .venv/peers
	$(BIN)/python -m benchmarks.layers $(ARGS)

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .hypothesis .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps: .venv is made anew when what it is made from changes.
.venv/installed: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 16))' || \
		{ echo "numbaflux needs Python 3.11 to 3.15, and $(PYTHON) is not one: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "Making .venv (a minute or two) ..."
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,examples]'
	@touch $@

.venv/peers: .venv/installed
	@echo "Installing PyTorch into .venv ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[peers]'
	@touch $@
