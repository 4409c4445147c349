# Everything a person needs from a fresh clone. Wants Python 3.11+ and make, nothing else.
#
#   make demo                      six prompts, six pictures, one contact sheet (PROMPT="a green star on a white background" for that one)
#   make test                      the whole test suite (PYTEST="tests/client -k upload" for a part of it)
#   make check                     formatting, lint, types
#   make bench                     all benchmarks, JSON and a report into benchmarks/results/ (BENCH="--quick", BENCH="--only transport peers", BENCH=--list)
#   make report                    the report again, from what is recorded
#   make guard                     deterministic counts of the hot paths against the committed ones
#   make schemathesis              the HTTP door against its OpenAPI document, for minutes
#   make crash                     SIGKILL by the hundred, random and at every stage (KILLS=200)
#   make soak                      a long run under everything, then what was lost or leaked (MINUTES=20, ENGINE=fast or real)
#   make fuzz                      a minute of fuzzing of the protocol code (FUZZ_SECONDS=600 for longer)
#   make docs                      the documentation site, into build/site
#   make spec                      write the generated parts: registry module, SPEC.md tables, names in the dissector
#   make clean                     remove .venv and caches

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PROMPT ?=
export PROMPT
# The suite and the benchmarks start hundreds of Python processes: they share their bytecode, whatever the shell says.
unexport PYTHONDONTWRITEBYTECODE
BENCH ?=
PYTEST ?= --numprocesses 3 --dist loadfile --no-loadscope-reorder
FUZZ_SECONDS ?= 60
KILLS ?= 200
MINUTES ?= 20
ENGINE ?= fast

.DEFAULT_GOAL := help
.PHONY: help demo test check bench report guard schemathesis crash soak fuzz docs spec dist clean

help:
	@sed -n 's/^#   //p' Makefile

# One stamp for running, one for developing: the demo does not wait for test tools.
$(VENV)/.run: pyproject.toml server/pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "pixwire needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Setting up $(VENV) (the first time this takes some minutes: torch is large) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[cli]' --editable ./server
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@echo "Adding the test tools ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[cli,otel,dev,bench,docs]' --editable './server[lora,kolors,otel]'
	@touch $@

demo: $(VENV)/.run
	@$(BIN)/pixwire demo $(if $(PROMPT),--prompt "$$PROMPT")

test: $(VENV)/.dev
	@$(BIN)/python -m pytest $(PYTEST)

check: $(VENV)/.dev
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy

bench: $(VENV)/.dev
	@$(BIN)/python -m benchmarks $(BENCH)

report: $(VENV)/.dev
	@$(BIN)/python -m benchmarks.report

guard: $(VENV)/.dev
	@$(BIN)/python -m benchmarks.guard

schemathesis: $(VENV)/.dev
	@PIXWIRE_SCHEMATHESIS_EXAMPLES=200 $(BIN)/python -m pytest -q tests/server/http/test_schemathesis.py

crash: $(VENV)/.dev
	@$(BIN)/python tests/faults/storm.py --kills $(KILLS)
	@PIXWIRE_CRASH_REAL=1 $(BIN)/python -m pytest tests/faults/test_real_model.py tests/faults/test_crash.py

soak: $(VENV)/.dev
	@$(BIN)/python tests/soak/soak.py --minutes $(MINUTES) --engine $(ENGINE) --json benchmarks/results/soak.json

fuzz: $(VENV)/.dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[fuzz]'
	@$(BIN)/python tests/fuzz/fuzz.py --seconds $(FUZZ_SECONDS)

docs: $(VENV)/.dev
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet --config-file docs/site/mkdocs.yml && echo "build/site/index.html"

spec: $(VENV)/.run
	@$(BIN)/python protocol/generate.py --write && $(BIN)/python protocol/spec_tables.py --write && $(BIN)/python protocol/dissector_tables.py --write

dist: $(VENV)/.dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt build
	@$(BIN)/python -m build --outdir dist . && $(BIN)/python -m build --outdir dist server

clean:
	rm -rf $(VENV) dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache demo-output
