# One command each. The environment is made when pyproject.toml is newer than its stamp.
PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/.ganserve-run
DEV := $(BIN)/.ganserve-dev
PROCESSES ?= 2

.PHONY: demo serve test lint fix triton chaos soak bench clean
.DELETE_ON_ERROR:

demo: $(RUN)  ## start the service, make, invert and edit portraits, write demo/*.png, stop
	$(BIN)/ganserve demo

serve: $(RUN)  ## run the service until Ctrl-C
	$(BIN)/ganserve up

test: lint  ## everything that must hold before a change goes in; the real stack has the machine alone
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile -m 'not e2e'
	$(BIN)/python -m pytest -m e2e

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

triton: $(BIN)/python  ## a Triton server for the tests of that backend: 450 MB in .triton
	$(PYTHON) -m venv .triton
	.triton/bin/python -m pip install --quiet 'nvidia-pytriton>=0.7,<0.8' onnxruntime

chaos: $(DEV)  ## five storms of 60 jobs on the real stack: about ten minutes
	$(BIN)/python -m tests.chaos

soak: $(DEV)  ## 10,000 tiny jobs, 10,000 pictures on each backend, and whether memory stays flat: about ten minutes
	$(BIN)/python -m tests.chaos.soak
	$(BIN)/python -m tests.chaos.soak --backends prepared prepared-bf16 onnx

bench: $(DEV)
	$(BIN)/python -m bench

clean:
	rm -rf demo var dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv .venv

$(RUN): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[api,worker,up]'
	touch $@

$(DEV): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[api,worker,postgres,otel,up,dev]'
	touch $@ $(RUN)
