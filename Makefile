# Two commands: `make up` starts everything on this machine, `make test` checks everything.
# `make up ARGS='--state DIR'` passes arguments on; PYTHON chooses the Python of .venv.

BIN := .venv/bin
.PHONY: up down test lint format count lock clean runtime tools

up: runtime
	@exec $(BIN)/agent-pool up $(ARGS)

down: runtime
	@exec $(BIN)/agent-pool down $(ARGS)

test: lint
	$(BIN)/pytest -n 2 $(ARGS)

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
