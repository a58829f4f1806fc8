# `make smoke` and `make test` need nothing but Python >= 3.11 and a network for the first installation.

PYTHON     ?= python3
SEEDS      ?= 1
DEVICE     ?= auto
DATA       ?= data
RESULTS    ?= results
REPORTS    ?= reports
EXTRACTOR  ?= inception
SAMPLES    ?= 5000
JOBS       ?= 1
ITERATIONS ?=

PY      := .venv/bin/python
TABLES  := table1 table2 table3
OPTIONS  = --data $(DATA) --results $(RESULTS) --device $(DEVICE)
LIST     = $(PYTHON) -m benchmarks.tables $(TABLE) --seeds $(SEEDS) $(if $(ITERATIONS),--iterations $(ITERATIONS))
CORES   := $(shell getconf _NPROCESSORS_ONLN)

.DEFAULT_GOAL := help
.PHONY: help env smoke $(TABLES) figure1 cells data data-status report status bench-data bench-eval bench-models test lint clean FORCE

help:  ## this list
	@awk -F ':.*## ' '/^[a-zA-Z0-9$$() -]+:.*## / {sub(/[$$].TABLES./, "$(TABLES)", $$1); sub(/: bench-%/, "", $$1); printf "%-34s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "Variables: SEEDS=$(SEEDS) DEVICE=$(DEVICE) DATA=$(DATA) ITERATIONS=$(ITERATIONS) EXTRACTOR=$(EXTRACTOR) SAMPLES=$(SAMPLES) JOBS=$(JOBS) PYTHON=$(PYTHON)"

env: .venv/installed  ## install what is needed into .venv; done by the others when missing

.venv/installed: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed: make PYTHON=...")'
	$(PYTHON) -m venv --clear .venv
	$(PY) -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	@touch $@

# A failed cell stops neither the others nor the report; the status at the end says what is missing.
$(TABLES): env  ## train, evaluate and render that table of the paper
	-@$(MAKE) --no-print-directory --keep-going --jobs=$(JOBS) cells TABLE=$@
	@$(PY) -m reports.tables $@ --results $(RESULTS) --out $(REPORTS)
	@$(PY) -m reports.figures $@ --results $(RESULTS) --out $(REPORTS)
	@$(PY) -m reports.status $@ --results $(RESULTS) --require-all

smoke: env  ## the same on small twins and embedded data: minutes on a laptop CPU
	-@OMP_NUM_THREADS=1 TQDM_DISABLE=1 $(MAKE) --no-print-directory --keep-going --jobs=$(CORES) cells TABLE=$@ SEEDS=1 ITERATIONS= EXTRACTOR=effnet SAMPLES=300 DEVICE=cpu
	@$(PY) -m reports.tables $@ --results $(RESULTS) --out $(REPORTS)
	@$(PY) -m reports.figures $@ --results $(RESULTS) --out $(REPORTS)
	@$(PY) -m reports.status $@ --results $(RESULTS) --require-all

ifdef TABLE
CELLS := $(shell $(LIST))
$(if $(CELLS),,$(error no cells to run: is TABLE=$(TABLE) a table, SEEDS=$(SEEDS) and ITERATIONS=$(ITERATIONS) numbers?))
cells: $(CELLS:%=$(RESULTS)/%/metrics.json)
endif

# Done means evaluated with this extractor, or diverged. Both commands do nothing where they have nothing to do.
$(RESULTS)/%/metrics.json: FORCE
	@grep -qsE '"extractor": "$(EXTRACTOR)"|"status": "diverged"' $@ || { $(PY) -m reproduce.train $* $(OPTIONS) && $(PY) -m reproduce.evaluate $* $(OPTIONS) --extractor $(EXTRACTOR) --samples $(SAMPLES); }

figure1: env  ## the gradient-norm plots from the runs there are
	@for table in $(TABLES); do $(PY) -m reports.figures $$table --results $(RESULTS) --out $(REPORTS); done

report: env  ## every table, figure and claim from the results there are, and reports/index.html
	@$(PY) -m reports.page --results $(RESULTS) --out $(REPORTS)

data: env  ## prepare a data set: DATASET=name [SOURCE=folder|zip|parquet|url] [RESOLUTION=px] [ALLOW_COUNT=1]
	@$(PY) -m benchmarks.datasets prepare "$(DATASET)" --root $(DATA) $(if $(SOURCE),--source "$(SOURCE)") $(if $(RESOLUTION),--resolution $(RESOLUTION)) $(if $(ALLOW_COUNT),--allow-count)

data-status: env  ## every data set: there or how to get it, how many images, licence
	@$(PY) -m benchmarks.datasets status --root $(DATA)

status:  ## done, running, failed and missing cells of each table
	@$(PYTHON) -m reports.status $(TABLES) smoke --results $(RESULTS)

bench-data bench-eval bench-models: bench-%: env  ## measure feeding, evaluation, model cost: results/bench/
	@$(PY) -W ignore -m reproduce.bench_$* --results $(RESULTS)

test: env  ## all tests
	$(PY) -m pytest

lint: env  ## ruff
	$(PY) -m ruff check .

clean:  ## remove what smoke made and caches; records of real runs stay
	rm -rf $(RESULTS)/*-digits-32-*-i*-s0 $(REPORTS)/smoke .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv/*' -exec rm -rf {} +
