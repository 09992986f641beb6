# Everything starts here; CI calls these targets and nothing else.
# PYTHON: any CPython of at least 3.11 with venv. All else is fetched.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3.14 python3,$(shell command -v $(p) 2>/dev/null)))
BIN := .venv/bin

.PHONY: setup demo test test-families check dist bench conformance matrix fuzz soak gen lock clean

setup: ## the commands edgectl and edgectl-agent in .venv/bin
	@$(or $(PYTHON),$(error no python3 on PATH: install Python 3.11 or newer)) tools/setup.py run

demo: setup ## from the example policy to verdicts, on this machine
	@$(BIN)/edgectl demo

test: ## every test, the slow ones too
	@$(or $(PYTHON),$(error no python3 on PATH: install Python 3.11 or newer)) tools/setup.py dev
	$(BIN)/python -m pytest

test-families: ## the tests of runtimes whose toolchains take minutes and gigabytes
	@$(or $(PYTHON),$(error no python3 on PATH: install Python 3.11 or newer)) tools/setup.py dev
	EDGECTL_TEST_FAMILIES=1 $(BIN)/python -m pytest tests/unit/converters/targets tests/unit/agent/worker/runtimes tests/unit/converters/sources

check: ## what must be green at every commit besides the tests
	@$(or $(PYTHON),$(error no python3 on PATH: install Python 3.11 or newer)) tools/setup.py dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy protos/edgectl_protos device_profiles converters agent host tests/support
	$(BIN)/lint-imports
	cd protos && ../$(BIN)/buf lint && ../$(BIN)/buf breaking --against baseline/v1.binpb

dist: ## wheels, offline wheelhouses and Debian packages, in dist/
	@$(or $(PYTHON),$(error no python3 on PATH: install Python 3.11 or newer)) tools/setup.py dev
	$(BIN)/python tools/dist.py

bench: ## figures that the README quotes, measured side by side on this machine
	@$(PYTHON) tools/setup.py dev
	$(BIN)/python tools/bench/run.py

conformance: ## the onnx package's 1,884 backend node tests through edgectl, beside the bare runtimes
	@$(or $(PYTHON),$(error no python3 on PATH: install Python 3.11 or newer)) tools/setup.py dev
	$(BIN)/python tools/conformance/run.py --record

matrix: ## every runtime, scheme and board with every kind of policy; writes docs/matrix.json and the README's tables
	@$(or $(PYTHON),$(error no python3 on PATH: install Python 3.11 or newer)) tools/setup.py dev
	$(BIN)/python tools/matrix/run.py

fuzz: ## every parser that faces the network or the disk, ten minutes each, led by coverage
	@$(or $(PYTHON),$(error no python3 on PATH: install Python 3.11 or newer)) tools/setup.py dev
	$(BIN)/python tools/fuzz/run.py --keep

soak: ## an hour of deploys, profiles, rollbacks and kills; writes docs/soak.json and its plot
	@$(or $(PYTHON),$(error no python3 on PATH: install Python 3.11 or newer)) tools/setup.py dev
	$(BIN)/python tools/soak/run.py

gen: ## code generated from the .proto files
	cd protos && ../$(BIN)/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. --grpc_python_out=. \
	  $$(find edgectl_protos -name '*.proto' | sort)

lock: ## pins in requirements/, without index addresses
	$(BIN)/python tools/lock.py

clean: ## remove the environment and caches of this checkout
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
