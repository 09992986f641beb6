# Everything starts here; CI calls these targets and nothing else.
# PYTHON: any CPython of at least 3.11 with venv. All else is fetched.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3.14 python3,$(shell command -v $(p) 2>/dev/null)))
BIN := .venv/bin
SETUP = $(or $(PYTHON),$(error no python3 on PATH: install Python 3.11 or newer)) tools/setup.py

.PHONY: setup dev demo test test-families check dist bench conformance matrix fuzz soak gen lock clean

setup: ## the commands edgectl and edgectl-agent in .venv/bin
	@$(SETUP) run

dev: ## the same, with everything that tests and checks need
	@$(SETUP) dev

demo: setup ## from the example policy to verdicts, on this machine
	@$(BIN)/edgectl demo

test: dev ## every test, the slow ones too
	$(BIN)/python -m pytest

test-families: dev ## the tests of runtimes whose toolchains take minutes and gigabytes
	EDGECTL_TEST_FAMILIES=1 $(BIN)/python -m pytest tests/unit/converters/targets tests/unit/agent/worker/runtimes tests/unit/converters/sources

check: dev ## what must be green at every commit besides the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy protos/edgectl_protos device_profiles converters agent host tests/support
	$(BIN)/lint-imports
	cd protos && ../$(BIN)/buf lint && ../$(BIN)/buf breaking --against baseline/v1.binpb

dist: dev ## wheels, offline wheelhouses and Debian packages, in dist/
	$(BIN)/python tools/dist.py

bench: dev ## figures that the README quotes, measured side by side on this machine
	$(BIN)/python tools/bench/run.py

conformance: dev ## the onnx package's node tests and small torch modules through edgectl, beside the bare runtimes
	$(BIN)/python tools/conformance/run.py --record

matrix: dev ## every runtime, scheme and board with every kind of policy; writes docs/matrix.json and the README's tables
	$(BIN)/python tools/matrix/run.py

fuzz: dev ## every parser that faces the network or the disk, ten minutes each, led by coverage
	$(BIN)/python tools/fuzz/run.py --keep

soak: dev ## an hour of deploys, profiles, rollbacks and kills; writes docs/soak.json and its plot
	$(BIN)/python tools/soak/run.py

gen: dev ## code generated from the .proto files
	cd protos && ../$(BIN)/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. --grpc_python_out=. \
	  $$(find edgectl_protos -name '*.proto' | sort)

lock: dev ## pins in requirements/, without index addresses
	$(BIN)/python tools/lock.py

clean: ## remove the environment and what tools remember of this checkout; .cache, with its toolchains, stays
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
