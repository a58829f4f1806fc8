# `make smoke` and `make test` need nothing but Python >= 3.11 and a network for the first installation.
# Every NAME=value given to make reaches the programs as it stands; reproduce/settings.py declares the names.

PYTHON  ?= python3
RESULTS := results
TABLES  := $(shell $(PYTHON) -m reproduce.settings tables)
BENCHES := bench-data bench-eval bench-models bench-regularizers bench-train

# $(call given,A B) is what was given on make's command line for A and B, quoted for the shell; % stands for all names.
GIVEN := $(foreach name,$(filter-out PYTHON,$(.VARIABLES)),$(if $(filter command,$(origin $(name))),$(name)))
quote  = '$(subst ','\'',$(value $1))'
given  = $(foreach name,$(filter $1,$(GIVEN)),$(name)=$(call quote,$(name)))
SHOWN  = RESULTS REPORTS ITERATIONS EXTRACTOR SAMPLES

ifeq ($(CONDA_DEFAULT_ENV),gradient-norm-gap)  # that of environment.yml, when it is active
PY  := python
ENV := options
else
PY  := .venv/bin/python
ENV := options .venv/installed
endif

MAKEFLAGS += --keep-going  # a table with an unfinished run does not keep the next one from its turn
.DEFAULT_GOAL := help
.PHONY: help options env $(TABLES) compare lambda tune score field check-results plan figure1 report status data data-status $(BENCHES) drills test lint clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z0-9$$() A-Z-]+:.*## / {sub(/[$$].TABLES./, "$(TABLES)", $$1); sub(/[$$].BENCHES./, "$(BENCHES)", $$1); printf "%s\n    %s\n", $$1, $$2}' Makefile
	@echo 'Variables, as in `make table3 SEEDS=3 ENGINE=ray`; PYTHON is the one that .venv is made with:'
	@$(PYTHON) -m reproduce.settings help

options:  # refuse a misspelt name before anything else is done
	@$(PYTHON) -m reproduce.settings $(call given,%)

env: $(ENV)  ## install what is needed into .venv; done by the others when missing

.venv/installed: requirements.txt | options
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	@touch $@

$(TABLES): env  ## train, evaluate and render a table: the paper's; on open data: open; for a CPU: the others
	@$(PY) -m reproduce.sweep $@ $(call given,%) || test $$? -eq 1
	@$(PY) -m reports render $@ $(call given,$(SHOWN))
	@$(PY) -m reports status $@ REQUIRE=all $(call given,$(SHOWN) SEEDS)

compare: env  ## a method on a table: METHOD=path/to/mine.py or METHOD=diffaugment+lecam0.3 [TABLE=small]
	@$(PY) -m reproduce.sweep compare $(call given,%) || test $$? -eq 1
	@name="$$($(PY) -m reproduce.methods name $(call given,METHOD RESULTS))" && \
	$(PY) -m reports compare METHOD="$$name" $(call given,$(SHOWN) TABLE)

lambda: env  ## the weight of gradgap from 0 to 10,000 on the baselines of a table [TABLE=smoke]
	@$(PY) -m reproduce.sweep lambda $(call given,%) || test $$? -eq 1
	@$(PY) -m reports render $(or $(TABLE),smoke) $(call given,$(SHOWN))

tune: env  ## find the weights with which the small table's regularizers compete, on seeds of their own
	@$(PY) -m reproduce.tune $(call given,DATA RESULTS JOBS)

score: env  ## judge images of other code: IMAGES=folder|zip|npz|npy|safetensors DATASET=name [FRACTION SEED RESOLUTION METHOD TRAIN PROTOCOL RESIZE]
	@$(PY) -m reproduce.score $(call given,%)

field: env  ## the published numbers of a data set, ranked within one protocol: DATASET=100-shot-obama
	@$(PY) -m reports field $(call given,DATASET RESULTS)

check-results: options  ## check an addition to the published numbers or to the scores of other code
	@$(PYTHON) -m benchmarks.field $(call given,RESULTS)

plan: env  ## what a table will cost on this device: runs, seconds per iteration, hours, disk [TABLE=smoke]
	@$(PY) -m reproduce.plan $(call given,%)

figure1: env  ## the tables and their figures, the gradient norms among them, from the runs there are
	@$(PY) -m reports render $(filter-out smoke,$(TABLES)) $(call given,$(SHOWN))

report: env  ## every table, figure and claim from the results there are, and reports/index.html
	@$(PY) -m reports all $(call given,$(filter-out ITERATIONS,$(SHOWN)))

status: options  ## done, running, failed and missing cells of each table
	@$(PYTHON) -m reports status $(call given,$(SHOWN) SEEDS)

data: env  ## prepare a data set: DATASET=name [SOURCE=folder|zip|parquet|url] [RESOLUTION=px] [ALLOW_COUNT=1]
	@$(PY) -m benchmarks.datasets prepare $(call given,DATA DATASET SOURCE RESOLUTION ALLOW_COUNT)

data-status: env  ## every data set: there or how to get it, how many images, licence
	@$(PY) -m benchmarks.datasets status $(call given,DATA)

$(BENCHES): bench-%: env  ## measure the suite itself: how fast it feeds, evaluates and trains, and what gradgap costs
	@$(PY) -W ignore -m reproduce.bench.$* $(call given,RESULTS DEVICE)
	@$(PY) -m reports render bench $(call given,$(SHOWN))

drills: env  ## kill, starve and damage a tiny sweep on purpose; minutes, and some drills need root or Ray
	@RESULTS=$(call quote,RESULTS) $(PY) -m pytest -m drill reproduce/test_drills.py; status=$$?; \
	$(PY) -m reports render bench $(call given,$(SHOWN)) && exit $$status

# A process for each core, up to 8, of one thread each: threads that wait for each other crawl where cores are shared
test: export OMP_NUM_THREADS ?= 1
test: env  ## all tests
	$(PY) -m pytest -n auto --maxprocesses 8 --dist worksteal

lint: env  ## ruff
	$(PY) -m ruff check .

clean: options  ## remove what smoke made; records of other runs stay
	@$(PYTHON) -m reproduce.clean $(call given,SEEDS ITERATIONS RESULTS REPORTS)
