# The front door. `make demo` and `make test` work from nothing: they create .venv and install first.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO_DIR ?= runs/demo
TEST_WORKERS ?= 2
BENCHMARKS ?= tokenize prep read masking attention rows train_step time_to_loss optimizers less_work checkpoint

.PHONY: help setup demo test test-long check docs bench clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

setup: $(INSTALLED)  ## Create .venv and install Spanwright with the tested versions

$(INSTALLED): setup.cfg constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; \
	  sys.exit(0 if (3, 11) <= v < (3, 14) else f"Spanwright needs Python 3.11 to 3.13, and $(PYTHON) is {v[0]}.{v[1]}: make PYTHON=python3.11 setup")'
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "Python's venv module is missing: install the package python3-venv."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[export,code,s3,gs,dev]'
	$(BIN)/python -m pipeline.kernels.build
	@touch $@

demo: setup  ## Standard library -> shards -> training killed and resumed -> Hugging Face model (under 8 minutes)
	$(BIN)/python -m launch.demo run.dir=$(DEMO_DIR)

test: setup  ## The whole suite (under 20 minutes on 2 cores)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy pipeline data_prep launch benchmarks
	$(BIN)/pytest -m 'not long' -n $(TEST_WORKERS) --dist loadfile

test-long: setup  ## Full-size versions of the long tests
	$(BIN)/pytest -m long

check: setup  ## Formatting, lint and types only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy pipeline data_prep launch benchmarks

docs: setup  ## Draw the pictures of docs/ and write its generated pages again
	$(BIN)/python docs/draw.py patterns
	for page in recipe_table learning claims_table; do $(BIN)/python docs/$$page.py || exit 1; done

bench: setup  ## Every benchmark beside its peers; results go to benchmarks/results (an hour; leave the machine alone)
	for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name --out benchmarks/results || exit 1; done

clean:  ## Remove .venv and caches (never runs or data)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build *.egg-info
