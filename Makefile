# `make smoke` and `make test` need nothing but Python >= 3.11 and a network for the first installation.

PYTHON     ?= python3
SEEDS      ?= 1
DEVICE     ?= auto
DATA       ?= data
RESULTS    ?= results
REPORTS    ?= reports
EXTRACTOR  ?= inception
SAMPLES    ?= 5000
EVAL_SEEDS ?= 1
EVAL_EVERY ?=
JOBS       ?= 1
ITERATIONS ?=
METHOD     ?=

PY      := .venv/bin/python
TABLES  := table1 table2 table3
OPTIONS  = --data $(DATA) --results $(RESULTS) --device $(DEVICE)
LIST     = $(PYTHON) -m benchmarks.tables $(TABLE) --seeds $(SEEDS) $(if $(ITERATIONS),--iterations $(ITERATIONS))
CORES   := $(shell getconf _NPROCESSORS_ONLN)

# Train and evaluate the cells of table $1; those of smoke are small: a core each, and the stand-in extractor
SMALL    = $(filter smoke,$1)
RUN      = $(if $(SMALL),OMP_NUM_THREADS=1 TQDM_DISABLE=1) $(MAKE) --no-print-directory --keep-going --jobs=$(if $(SMALL),$(CORES),$(JOBS)) \
           cells TABLE=$1 $(if $(SMALL),EXTRACTOR=effnet SAMPLES=300 DEVICE=cpu)
CHOSEN   = $(or $(TABLE),smoke)

.DEFAULT_GOAL := help
.PHONY: help env smoke $(TABLES) compare lambda figure1 cells data data-status report status bench-data bench-eval bench-models bench-regularizers test lint clean FORCE

help:  ## this list
	@awk -F ':.*## ' '/^[a-zA-Z0-9$$() -]+:.*## / {sub(/[$$].TABLES./, "$(TABLES)", $$1); sub(/: bench-%/, "", $$1); printf "%-34s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "Variables: SEEDS=$(SEEDS) DEVICE=$(DEVICE) DATA=$(DATA) ITERATIONS=$(ITERATIONS) EXTRACTOR=$(EXTRACTOR) SAMPLES=$(SAMPLES) EVAL_SEEDS=$(EVAL_SEEDS) EVAL_EVERY=$(EVAL_EVERY) JOBS=$(JOBS) PYTHON=$(PYTHON)"

env: .venv/installed  ## install what is needed into .venv; done by the others when missing

.venv/installed: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed: make PYTHON=...")'
	$(PYTHON) -m venv --clear .venv
	$(PY) -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	@touch $@

# A failed cell stops neither the others nor the report; the status at the end says what is missing.
$(TABLES): env  ## train, evaluate and render that table of the paper
	-@+$(call RUN,$@)
	@$(PY) -m reports.tables $@ --results $(RESULTS) --out $(REPORTS)
	@$(PY) -m reports.figures $@ --results $(RESULTS) --out $(REPORTS)
	@$(PY) -m reports.status $@ --results $(RESULTS) --require-all

smoke: env  ## the same on small twins and embedded data: minutes on a laptop CPU
	-@+$(call RUN,$@) SEEDS=1 ITERATIONS=
	@$(PY) -m reports.tables $@ --results $(RESULTS) --out $(REPORTS)
	@$(PY) -m reports.figures $@ --results $(RESULTS) --out $(REPORTS)
	@$(PY) -m reports.status $@ --results $(RESULTS) --require-all

compare: env  ## a method on a table: METHOD=path/to/mine.py or METHOD=diffaugment+lecam0.3 [TABLE=smoke]
	@$(PY) -m reproduce.compare "$(METHOD)"
	-@+$(call RUN,$(CHOSEN)) LIST='$(PY) -m reproduce.compare "$(METHOD)" --table $(CHOSEN) --seeds $(SEEDS) $(if $(ITERATIONS),--iterations $(ITERATIONS)) --results $(RESULTS)'
	@$(PY) -m reports.compare --method "$$($(PY) -m reproduce.compare "$(METHOD)")" --table $(CHOSEN) --results $(RESULTS) --out $(REPORTS)

lambda: env  ## the weight of gradgap from 0 to 10,000 on the baselines of a table [TABLE=smoke]
	-@+$(call RUN,$(CHOSEN)) LIST='$(PYTHON) -m benchmarks.tables $(CHOSEN) --seeds $(SEEDS) $(if $(ITERATIONS),--iterations $(ITERATIONS)) --sweep'
	@$(PY) -m reports.figures $(CHOSEN) --results $(RESULTS) --out $(REPORTS)

ifdef TABLE
CELLS := $(shell $(LIST))
$(if $(CELLS),,$(error no cells to run: is TABLE=$(TABLE) a table, SEEDS=$(SEEDS) and ITERATIONS=$(ITERATIONS) numbers?))
cells: $(CELLS:%=$(RESULTS)/%/metrics.json)
endif

# Done means evaluated just so (a line of the list "evaluated"), or diverged. Both commands do nothing where they have
# nothing to do. EVAL_SEEDS: draws of the samples; EVAL_EVERY: iterations between generators kept for a learning curve.
EVALUATED = $(EXTRACTOR) $(SAMPLES) x$(EVAL_SEEDS)$(if $(EVAL_EVERY), every $(EVAL_EVERY))
$(RESULTS)/%/metrics.json: FORCE
	@grep -qsF -e '"$(EVALUATED)"' -e '"status": "diverged"' $@ || { $(PY) -m reproduce.train $* $(OPTIONS) $(if $(METHOD),--method "$(METHOD)") $(if $(EVAL_EVERY),--keep-every $(EVAL_EVERY)) && $(PY) -m reproduce.evaluate $* $(OPTIONS) --extractor $(EXTRACTOR) --samples $(SAMPLES) --seeds $(EVAL_SEEDS) $(if $(EVAL_EVERY),--every $(EVAL_EVERY)); }

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

bench-data bench-eval bench-models bench-regularizers: bench-%: env  ## measure feeding, evaluation, model cost, regularizer cost
	@$(PY) -W ignore -m reproduce.bench_$* --results $(RESULTS)
	@$(PY) -m reports.bench --results $(RESULTS) --out $(REPORTS)

test: env  ## all tests
	$(PY) -m pytest

lint: env  ## ruff
	$(PY) -m ruff check .

clean:  ## remove what smoke made and caches; records of real runs stay
	rm -rf $(RESULTS)/*-digits-32-*-i*-s0 $(REPORTS)/smoke .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv/*' -exec rm -rf {} +
