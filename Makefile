# Everything runs in .venv, made on first use. Another Python: make PYTHON=python3.12 ... More for pytest: make test ARGS="-x -k dense"
PYTHON ?= python3
ARGS ?=
BIN = .venv/bin
TOOLS = .venv-security/bin

.PHONY: help quickstart test test-folders test-files test-mpi test-slurm test-cuda cuda-compiled cuda-operations cuda-kernels cuda-driven gpu-check long lint format docs-check against-torch soak bench bench-check bench-peers bench-layers bench-growth bench-ranks fuzz security audit sbom dist locks clean

help:
	@echo "make quickstart   train on handwritten digits, save, load, predict"
	@echo "make test         every test (ARGS='...' goes to pytest)"
	@echo "make test-mpi     only the tests of several ranks: MPICH, Open MPI, two hosts (root and iproute2)"
	@echo "make test-slurm   only the tests under a Slurm of two nodes on this machine (Slurm and munge)"
	@echo "make test-cuda    only the tests of GPUs' kernels, without a GPU: simulated, and as machine code"
	@echo "make gpu-check    on a machine with a GPU: every operation checked and timed (ARGS='--out FILE')"
	@echo "make long         every test, the long ones too"
	@echo "make lint         ruff and mypy"
	@echo "make format       let ruff rewrite the sources"
	@echo "make docs-check   only the code in README, docs and docstrings"
	@echo "make against-torch  500 configurations of each layer beside PyTorch (installs it)"
	@echo "make soak         trainings of one process and of ranks, killed 200 times each, to end with the same bits (KILLS=200)"
	@echo "make bench        benchmarks of the working tree by asv (ARGS='--quick -b Kernels' goes to asv run)"
	@echo "make bench-check  that benchmarks are well formed, and that some of each file run"
	@echo "make bench-peers  side by side with PyTorch, JAX and ONNX Runtime (installs them into .venv-peers)"
	@echo "make bench-layers a training step of every layer beside PyTorch's (installs it)"
	@echo "make bench-growth time over batch, width, depth, image size, length and threads (installs PyTorch)"
	@echo "make bench-ranks  several ranks: beside threads, a model of many, what hides on a slow cable (root, iproute2)"
	@echo "make fuzz         hostile files, flipped bits, mutations and atheris on all readers (MINUTES=60; FILES=folder: yours)"
	@echo "make security     ruff, bandit, semgrep and zizmor: no finding, and what they let pass with its reason"
	@echo "make audit        known vulnerabilities of every package in the locks (needs the internet)"
	@echo "make sbom         dist/numbaflux.cdx.json: what numbaflux runs with, and what is inside of those wheels"
	@echo "make dist         source archive and wheel, the same bytes from the same commit"
	@echo "make locks        write .ci/locks from setup.cfg (ARGS=--upgrade: the newest of everything)"
	@echo "make clean        remove .venv and its likes, builds and caches"

quickstart: .venv/installed
	$(BIN)/python examples/digits.py

# Kernels first, on all cores: a test that needs one more would compile alone. Then folders and files of tests side by
# side; with ARGS all of it in one process.
test: .venv/installed
	$(BIN)/numbaflux cache warm
ifeq ($(ARGS),)
	$(MAKE) --jobs=2 --output-sync=target test-folders test-files
else
	$(BIN)/python -m pytest $(ARGS)
endif

test-folders:
	$(BIN)/python -m pytest --ignore-glob='tests/test_*.py'
test-files:
	$(BIN)/python -m pytest --ignore-glob='tests/*/*'

# Side by side the simulator, in two processes, and the compilers, which it never meets in one. With ARGS all of it in one
# process; without, at the end whether a kernel was left out.
test-cuda: .venv/installed .venv-cuda/installed
	$(BIN)/numbaflux cache warm
ifeq ($(ARGS),)
	rm -rf build/simulated
	$(MAKE) --jobs=3 --output-sync=target cuda-driven cuda-kernels cuda-operations cuda-compiled
	$(BIN)/python -m tests.cuda.covered build/simulated
else
	$(BIN)/python -m pytest tests/cuda $(ARGS)
endif

COMPILED = tests/cuda/test_cubins.py
OPERATIONS = tests/cuda/test_simulated.py
DRIVEN = $(shell grep -lwE "fake_driver|gpus" tests/cuda/test_*.py)
cuda-compiled:
	$(BIN)/python -m pytest $(COMPILED)
cuda-operations:
	NUMBAFLUX_SIMULATED=build/simulated $(BIN)/python -m pytest $(OPERATIONS)
cuda-kernels:
	NUMBAFLUX_SIMULATED=build/simulated $(BIN)/python -m pytest tests/cuda $(addprefix --ignore=,$(COMPILED) $(OPERATIONS) $(DRIVEN))
cuda-driven:
	NUMBAFLUX_SIMULATED=build/simulated $(BIN)/python -m pytest $(DRIVEN)

gpu-check: .venv-cuda/installed
	.venv-cuda/bin/python benchmarks/gpu/check.py $(ARGS)

test-mpi test-slurm: .venv/installed
	$(BIN)/numbaflux cache warm
	$(BIN)/python -m pytest tests/$(subst test-,,$@) $(ARGS)

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

KILLS = 200
soak: .venv/installed
	$(BIN)/numbaflux cache warm
	$(BIN)/python -m tests.soak $(KILLS)
	$(BIN)/python -m tests.mpi.soak $(KILLS)

# asv asks for this machine's name and CPU unless they are written down.
MACHINE = $(HOME)/.asv-machine.json
$(MACHINE): | .venv/installed
	$(BIN)/asv machine --yes >/dev/null

bench: .venv/installed $(MACHINE)
	$(BIN)/numbaflux cache warm
	$(BIN)/asv run --python=same $(ARGS)

# A benchmark that fails makes asv end with 2, one that cannot be imported with 1.
CHECKED = softmax|mlp_small|mlp_mnist|10 thousand|first step|EmptyCache|peakmem_import|Digits|Ranks.*lenet
bench-check: .venv/installed $(MACHINE)
	$(BIN)/asv check --python=same
	$(BIN)/asv run --python=same --quick --show-stderr --bench '$(CHECKED)'

bench-peers: .venv-peers/installed
	.venv-peers/bin/numbaflux cache warm
	.venv-peers/bin/python -m benchmarks.peers $(ARGS)

bench-layers: .venv/peers
	$(BIN)/python -m benchmarks.layers $(ARGS)

bench-growth: .venv/peers
	$(BIN)/python -m benchmarks.threads --write
	$(BIN)/python -m benchmarks.growth --write --check $(ARGS)

bench-ranks: .venv/installed
	$(BIN)/numbaflux cache warm
	$(BIN)/python -m benchmarks.ranks --write --check $(ARGS)

MINUTES = 60
fuzz: .venv/installed
	$(BIN)/python -m tests.fuzz $(MINUTES) $(FILES)

# Findings are errors. Semgrep first shows that its rules find what they are for.
security: .venv/installed .venv-security/installed
	$(BIN)/ruff check --select S .
	$(TOOLS)/bandit --quiet --configfile pyproject.toml --recursive numbaflux kernels examples .ci
	$(TOOLS)/semgrep --test --metrics=off --quiet .ci/semgrep
	$(TOOLS)/semgrep scan --metrics=off --disable-version-check --quiet --error --config .ci/semgrep/library.yml \
		--project-root . --no-git-ignore numbaflux kernels examples benchmarks
	$(TOOLS)/zizmor --offline --quiet --no-config .github
	$(BIN)/python .ci/suppressions.py

audit: .venv-security/installed
	$(TOOLS)/python .ci/audit.py

sbom: .venv/installed .venv-security/installed
	$(BIN)/python .ci/sbom.py

dist: .venv/installed
	$(BIN)/python .ci/dist.py

locks: | .venv/installed
	$(BIN)/python .ci/lock.py $(ARGS)

clean:
	rm -rf .venv .venv-cuda .venv-peers .venv-security build dist *.egg-info .pytest_cache .hypothesis .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps: an environment is made anew when what it is made from changes. Packages come from the locks, each file
# compared with its hash, and nothing but what a lock names; LOCKED=0 takes what setup.cfg allows instead, for a
# machine that the locks do not suit.
LOCKED ?= 1
PIP = $(@D)/bin/python -m pip install --quiet --disable-pip-version-check
HASHED = --no-deps --require-hashes --only-binary :all: --requirement .ci/locks
TORCH = PyTorch for CPUs lies on an index of its own: name that in PIP_EXTRA_INDEX_URL, or make LOCKED=0 $(MAKECMDGOALS)
.venv/installed: LOCK = dev
.venv/installed: EXTRAS = dev,examples,fuzz
.venv-peers/installed: LOCK = peers
.venv-peers/installed: EXTRAS = peers
.venv-cuda/installed: LOCK = cuda
.venv-cuda/installed: EXTRAS = cuda,disassemblers
.venv-security/installed: LOCK = security
.venv-security/installed: EXTRAS = security
.venv/installed: setup.cfg pyproject.toml .ci/locks/dev.txt
.venv-peers/installed: setup.cfg pyproject.toml .ci/locks/peers.txt
.venv-cuda/installed: setup.cfg pyproject.toml .ci/locks/cuda.txt
.venv-security/installed: .ci/locks/security.txt
.venv/installed .venv-cuda/installed .venv-peers/installed .venv-security/installed:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 16))' || \
		{ echo "numbaflux needs Python 3.11 to 3.15, and $(PYTHON) is not one: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "Making $(@D) (a minute or two) ..."
	@$(PYTHON) -m venv --clear $(@D)
ifeq ($(LOCKED),1)
	@$(PIP) $(HASHED)/$(LOCK).txt || { test $(LOCK) != peers || echo "$(TORCH)"; exit 1; }
	@$(@D)/bin/python -m pip --quiet check
	@test $(LOCK) = security || $(PIP) --no-deps --no-build-isolation --no-index --editable .
else
	@$(PIP) --editable '.[$(EXTRAS)]'
endif
	@touch $@

.venv/peers: .venv/installed .ci/locks/oracle.txt
	@echo "Installing PyTorch into .venv ..."
ifeq ($(LOCKED),1)
	@$(PIP) $(HASHED)/oracle.txt || { echo "$(TORCH)"; exit 1; }
	@$(BIN)/python -m pip --quiet check
else
	@$(PIP) --editable '.[oracle]'
endif
	@touch $@
