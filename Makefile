# `make smoke` and `make test` need nothing but Python >= 3.11 and a network for the first installation.

PYTHON  ?= python3
DATA    ?= data
RESULTS ?= results
REPORTS ?= reports
SEEDS   ?= 1
DEVICE  ?= auto
TABLE   ?= smoke

PY      := .venv/bin/python
TABLES  := table1 table2 table3
CHOICE   = --seeds $(SEEDS) $(if $(ITERATIONS),--iterations $(ITERATIONS))

# Variables that are options of the sweep; their defaults are there, and its --help says what they mean
OPTIONS := SEEDS ITERATIONS DATA RESULTS DEVICE EXTRACTOR SAMPLES EVAL_SEEDS EVAL_EVERY ORDER METHOD \
           ENGINE JOBS GPUS RUNS_PER_GPU GPUS_PER_RUN SBATCH MICRO_BATCH GRAPHS TIMEOUT RETRIES
GIVEN    = $(foreach name,$(OPTIONS),$(if $($(name)),--$(shell echo $(name) | tr A-Z_ a-z-) "$($(name))"))

# Bring the runs $1 to their end. A failed cell (status 1) stops neither the others nor the report.
SWEEP    = { $(PY) -m reproduce.sweep $1 $(GIVEN) || test $$? -eq 1; }
RENDER   = $(PY) -m reports.tables $1 --results $(RESULTS) --out $(REPORTS) && $(PY) -m reports.figures $1 --results $(RESULTS) --out $(REPORTS)

# Small cells: a core each, and the stand-in extractor
SMALL   := smoke twins $(if $(filter smoke twins,$(TABLE)),compare lambda)
$(SMALL): EXTRACTOR = effnet
$(SMALL): SAMPLES = 300
$(SMALL): DEVICE = cpu
$(SMALL): JOBS = $(shell getconf _NPROCESSORS_ONLN)
$(SMALL): export OMP_NUM_THREADS = 1
$(SMALL): export TQDM_DISABLE = 1

# The open benchmark needs no download; generators kept on the way show whether training had converged
OPEN    := open $(if $(filter open,$(TABLE)),compare lambda plan)
$(OPEN): EXTRACTOR = effnet
$(OPEN): EVAL_EVERY = 5000
$(OPEN) twins $(if $(filter twins,$(TABLE)),compare lambda plan): SEEDS = 3

.DEFAULT_GOAL := help
.PHONY: help env smoke open twins $(TABLES) compare lambda plan figure1 data data-status report status bench-data bench-eval bench-models bench-regularizers bench-lazy bench-bf16 bench-train drills test lint clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-zA-Z0-9$$() -]+:.*## / {sub(/[$$].TABLES./, "$(TABLES)", $$1); sub(/: bench-%/, "", $$1); printf "%-34s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "Variables, as in \`make table3 SEEDS=3 ENGINE=ray\`: PYTHON REPORTS TABLE $(OPTIONS)"

env: .venv/installed  ## install what is needed into .venv; done by the others when missing

.venv/installed: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed: make PYTHON=...")'
	$(PYTHON) -m venv --clear .venv
	$(PY) -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	@touch $@

$(TABLES) open twins smoke: env  ## train, evaluate and render a table: the paper's; open: on open data; for a CPU: twins, smoke
	@$(call SWEEP,$@)
	@$(call RENDER,$@)
	@$(PY) -m reports.status $@ --results $(RESULTS) --require-all

compare: env  ## a method on a table: METHOD=path/to/mine.py or METHOD=diffaugment+lecam0.3 [TABLE=smoke]
	@name=$$($(PY) -m reproduce.compare "$(METHOD)") && \
	ids=$$($(PY) -m reproduce.compare "$(METHOD)" --table $(TABLE) $(CHOICE) --results $(RESULTS)) && \
	$(call SWEEP,$$ids) && \
	$(PY) -m reports.compare --method "$$name" --table $(TABLE) --results $(RESULTS) --out $(REPORTS)

lambda: env  ## the weight of gradgap from 0 to 10,000 on the baselines of a table [TABLE=smoke]
	@ids=$$($(PY) -m benchmarks.tables $(TABLE) $(CHOICE) --sweep) && $(call SWEEP,$$ids)
	@$(call RENDER,$(TABLE))

plan: env  ## what a table will cost on this device: runs, seconds per iteration, hours, disk [TABLE=smoke]
	@$(PY) -m reproduce.plan $(TABLE) $(CHOICE) --device $(DEVICE)

figure1: env  ## the figures, gradient norms first, from the runs there are
	@for table in $(TABLES) open twins; do $(PY) -m reports.figures $$table --results $(RESULTS) --out $(REPORTS) || exit; done

report: env  ## every table, figure and claim from the results there are, and reports/index.html
	@$(PY) -m reports.page --results $(RESULTS) --out $(REPORTS)

data: env  ## prepare a data set: DATASET=name [SOURCE=folder|zip|parquet|url] [RESOLUTION=px] [ALLOW_COUNT=1]
	@$(PY) -m benchmarks.datasets prepare "$(DATASET)" --root $(DATA) $(if $(SOURCE),--source "$(SOURCE)") $(if $(RESOLUTION),--resolution $(RESOLUTION)) $(if $(ALLOW_COUNT),--allow-count)

data-status: env  ## every data set: there or how to get it, how many images, licence
	@$(PY) -m benchmarks.datasets status --root $(DATA)

status:  ## done, running, failed and missing cells of each table
	@$(PYTHON) -m reports.status --results $(RESULTS)

bench-lazy bench-bf16: SEEDS = 4
bench-lazy bench-bf16: BENCH = --data $(DATA) --seeds $(SEEDS)
bench-data bench-train: BENCH = --device $(DEVICE)
bench-data bench-eval bench-models bench-regularizers bench-lazy bench-bf16 bench-train: bench-%: env  ## measure feeding, evaluation, model cost, regularizer cost, lazy against exact gradgap, bf16 against float32, training
	@$(PY) -W ignore -m reproduce.bench_$* --results $(RESULTS) $(BENCH)
	@$(PY) -m reports.bench --results $(RESULTS) --out $(REPORTS)

drills: env  ## kill, starve and damage a tiny sweep on purpose; minutes, and some drills need root or Ray
	@$(PY) -m reproduce.drills --results $(RESULTS); status=$$?; \
	$(PY) -m reports.bench --results $(RESULTS) --out $(REPORTS) && exit $$status

# One thread: two that wait for each other crawl where the cores are shared
test: export OMP_NUM_THREADS ?= 1
test: env  ## all tests
	$(PY) -m pytest

lint: env  ## ruff
	$(PY) -m ruff check .

clean:  ## remove what smoke made and caches; records of real runs stay
	rm -rf $(addprefix $(RESULTS)/,$(shell $(PYTHON) -m benchmarks.tables smoke $(CHOICE))) $(REPORTS)/smoke .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv/*' -exec rm -rf {} +
