# Two commands: `make up` starts everything on this machine, `make test` checks everything.
# In a hurry: `make test-fast`. For a night: `make storm SEEDS=20000` and `make mutation`.
# `make up ARGS='--state DIR'` passes arguments on; PYTHON chooses the Python of .venv.

BIN := .venv/bin
SEEDS ?= 2000
# More than two cores have: many a test waits for processes, not for the CPU.
WORKERS ?= 4
.PHONY: up up-kubernetes down test test-fast storm mutation bench lint format count lock clean runtime tools

up: runtime
	@exec $(BIN)/agent-pool up $(ARGS)

# The same on a Kubernetes API server of our own, which is built first where the machine has none.
up-kubernetes: runtime
	@exec $(BIN)/agent-pool up --records kubernetes $(ARGS)

down: runtime
	@exec $(BIN)/agent-pool down $(ARGS)

test: lint storm
	$(BIN)/pytest -n $(WORKERS) --dist worksteal $(ARGS)

# Without real processes and without a Kubernetes API server, which take the minutes.
test-fast: lint
	$(BIN)/python -m tests.storm --count 300
	$(BIN)/pytest -n $(WORKERS) --dist worksteal --ignore tests/end_to_end --ignore tests/local --ignore tests/bench --without-api-server $(ARGS)
	@echo "left out: tests/end_to_end, tests/local, tests/bench, whatever needs a Kubernetes API server (the skipped above);"
	@echo "storm of 300 seeds instead of 2,000. make test runs all."

# So many seeds of storm, then calm, on every core; the laws hold, or a story says how they broke.
storm: tools
	$(BIN)/python -m tests.storm --count $(SEEDS)

# Faults planted into a copy of the code, one at a time: the storm must notice each.
mutation: tools
	$(BIN)/python -m tests.mutants $(ARGS)

# What it costs and how fast it is here, beside floors of the same run; `ARGS='--only qr writes'` for some.
bench: tools
	$(BIN)/python -m tests.bench $(ARGS)

lint: tools
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: tools
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# How many tests there are: what CI holds a full run to.
count: tools
	$(BIN)/pytest --collect-only | sed -n 's/^\([0-9]*\) tests collected.*/\1/p' >tests/COUNT
	@cat tests/COUNT

# The locks name no index and no host; versions already locked stay unless they no longer fit.
LOCK := build/lock/bin/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header
lock: tools
	$(BIN)/python -m venv build/lock && build/lock/bin/pip install --quiet uv
	$(LOCK) --extra build pyproject.toml -o requirements.lock
	$(LOCK) --extra build --extra test -c requirements.lock pyproject.toml -o requirements-test.lock

runtime:
	@scripts/bootstrap runtime

tools:
	@scripts/bootstrap test

# What can be made again. The state folder stays: it holds pools and claims.
clean:
	rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis *.egg-info
