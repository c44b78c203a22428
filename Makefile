# Everything runs in a virtual environment inside the checkout that git ignores; nothing else has to be installed first.
MAKEFLAGS += --no-print-directory
VENV := .venv
# Two processes at least, also on one core: the kernel's tests mostly wait.
PROCESSES := -n $(shell n=$$(nproc); [ $$n -gt 1 ] || n=2; [ $$n -lt 4 ] || n=4; echo $$n) --dist loadscope --no-loadscope-reorder
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INSTALLED := $(VENV)/installed
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --custom-compile-command "make lock" $(LOCK_OPTIONS)

.PHONY: help demo test check lint format types layers docs engines prerequisites fresh kernels lock clean

help: ## list what can be made
	@sed -n 's/^\([a-z]*\):.*## /\1: /p' $(MAKEFILE_LIST)

demo: $(INSTALLED) ## scan, translate, verify, plan and report the sample cluster; the last line is the report's path
	@$(BIN)/migrate demo

test: check prerequisites engines ## everything that has to pass: check, then all tests
	@echo "== tests"
	@$(BIN)/python -m pytest $(PROCESSES) $(PYTEST_OPTIONS)

check: lint types layers ## lint, types and layers

lint: $(INSTALLED) ## style and formatting
	@echo "== lint"
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .

format: $(INSTALLED) ## format the code and repair what can be repaired
	@$(BIN)/python -m ruff check --fix .
	@$(BIN)/python -m ruff format .

types: $(INSTALLED) ## mypy, strict
	@echo "== types"
	@$(BIN)/python -m mypy

layers: $(INSTALLED) ## no module imports a higher layer
	@echo "== layers"
	@$(BIN)/lint-imports

prerequisites: $(INSTALLED)
	@.ci/install-browser
	@.ci/install-axe
	@.ci/install-network-tools
	@.ci/install-emulator
	@.ci/install-kubectl
	@$(BIN)/python -m tests.engine_binaries --has-go || $(PIP) install --require-hashes -r requirements-go.txt

engines: prerequisites ## build the real engines that tests ask; minutes at the first time
	@echo "== engines"
	@$(BIN)/python -m tests.engine_binaries

docs: $(INSTALLED) ## the documentation as a site in build/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo build/site/index.html

fresh: prerequisites engines ## the tests that draw their cases, with a seed that nobody saw; MIGRATE_TEST_SEED repeats one
	@env -u CI $(BIN)/python -m pytest $(PROCESSES) tests/differential tests/simulate tests/kernel/test_netfilter_truth.py

kernels: prerequisites ## the probe in guests with Debian's kernels, which is a part of test; four minutes
	@$(BIN)/python -m pytest -rA -m vm tests/kernel_matrix

lock: $(INSTALLED) ## lock the dependencies again; LOCK_OPTIONS=--upgrade takes the newest
	@command -v uv >/dev/null || { echo "make lock needs uv (see docs/development.md)" >&2; exit 1; }
	@$(LOCK) pyproject.toml --group dev -o requirements-dev.txt
	@$(LOCK) --group go -o requirements-go.txt
	@$(LOCK) --group agent -c requirements-dev.txt -o requirements-agent.txt

clean: ## remove everything that was made in the checkout
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@rm -f bpf/*.bpf.o
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/made: .ci/make-venv
	@echo "== virtual environment in $(VENV)"
	@.ci/make-venv $(VENV)
	@touch $@

$(INSTALLED): $(VENV)/made requirements-dev.txt pyproject.toml
	@echo "== locked dependencies"
	@$(PIP) install --require-hashes -r requirements-dev.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
