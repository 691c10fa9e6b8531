# Every target does its own set-up. `make` without a target lists them.
SHELL := /bin/bash
unexport PYTHONDONTWRITEBYTECODE # where an image sets it, every process would compile all that it imports
.DEFAULT_GOAL := help
.PHONY: help demo test test-all chaos chaos-controls chaos-senders chaos-senders-controls bench-streams bench-engine bench-senders bench-ingest bench-analytics lint fmt docs up down status logs psql clean setup setup-lint

# ENGINE=compose takes the servers from a container engine instead of native processes.
ENGINE ?= native
# All but the last have servers of their own, at most 4, and mostly wait; the last computes (tests/drivers/shared_files.py).
TEST_PROCESSES ?= 4
# `make test` makes the same random choices each time, so that it fails only by what was changed; SEED= makes new ones.
SEED ?= 1
ebbtide := .venv/bin/ebbtide
with_engine := --engine $(ENGINE)

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 24

demo: setup ## Run the whole pipeline on a real purchase log, on real servers, and check its books
	@$(ebbtide) demo $(ARGS)

test: setup ## Run the tests on real servers (ARGS='-k name' goes to pytest; TEST_PROCESSES=1)
	@.venv/bin/pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder --durations 15 \
	  $(if $(SEED),--hypothesis-seed $(SEED)) $(ARGS)

test-all: setup ## Run those tests, the long kills and outages of the stream runtime, and properties on many more examples
	@.venv/bin/pytest -m "slow or not slow" --hypothesis-profile=thorough $(ARGS)

bench-streams: setup ## Measure the stream layer on a broker of its own (ARGS='--quick', ARGS=--help)
	@.venv/bin/python -m perf.bench_streams $(ARGS)

bench-engine: setup-lint ## Measure only the trigger engine, on one core (ARGS='--rules 20 --profile')
	@.venv/bin/python -m perf.bench_engine $(ARGS)

bench-senders: setup ## Measure delivery from Kafka to the receiver beside an old revision and others (ARGS='--quick')
	@.venv/bin/python -m perf.bench_senders $(ARGS)

bench-ingest: setup ## Measure HTTP ingest on real servers beside a plain handler and the ceiling (ARGS='--quick')
	@.venv/bin/python -m perf.bench_ingest $(ARGS)

bench-analytics: setup ## Measure each question of analysts on 10 million rows, from rollups and from rows (ARGS='--quick')
	@.venv/bin/python -m perf.bench_analytics $(ARGS)

chaos: setup ## Decide a million events under random trouble, and prove it exact (ARGS='--seed 7'; ARGS=--help)
	@PYTHONPATH=tests .venv/bin/python -m chaos $(ARGS)

chaos-controls: setup ## Show that chaos reports two deliberate mistakes in exactly-once
	@for control in split awaiting; do \
	  PYTHONPATH=tests .venv/bin/python -m chaos --control $$control --events 10000 --drain 1 $(ARGS); \
	  test $$? -eq 1 || { echo "chaos did not report: $$control"; exit 1; }; \
	done; echo "both mistakes were reported"

chaos-senders: setup ## Deliver 200,000 commands under kills, freezes and rebalances, and prove each (ARGS='--seed 7'; ARGS=--help)
	@PYTHONPATH=tests .venv/bin/python -m chaos_senders $(ARGS)

chaos-senders-controls: setup ## Show that chaos-senders reports five faults of delivery
	@for control in unsent untold unfenced stuck unpublished; do \
	  PYTHONPATH=tests .venv/bin/python -m chaos_senders --control $$control --commands 6000 --minutes 0.5 --troubles 4 \
	    --session 2 --lease 2 $(ARGS); \
	  test $$? -eq 1 || { echo "chaos-senders did not report: $$control"; exit 1; }; \
	done; echo "all faults were reported"

lint: setup-lint ## Check style, types and import rules; needs no server and no Java
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

fmt: setup-lint ## Format the code
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

docs: setup ## Check what `ebbtide docs` writes, and docs/analytics.md (`python -m perf.analytics_page` writes it)
	@$(ebbtide) docs --check
	@.venv/bin/python -m perf.analytics_page --check

up: setup ## Start Kafka and TimescaleDB (ENGINE=compose: as containers)
	@$(ebbtide) up $(with_engine)

down: setup-lint ## Stop the servers; their data stays in .local
	@$(ebbtide) down $(with_engine)

status: setup-lint ## Show the servers and their addresses
	@$(ebbtide) status $(with_engine)

logs: setup-lint ## Show the servers' logs (ARGS=-f follows them)
	@$(ebbtide) logs $(with_engine) $(ARGS)

psql: setup-lint ## Open psql on the local instance as ebbtide_analyst, which reads and cannot write (ARGS="-c 'TABLE sends'")
	@$(ebbtide) psql --analyst -- $(ARGS)

clean: ## Stop the servers; remove .venv, the caches, and .local with all data
	@if [ -x .venv/bin/python ]; then .venv/bin/python -m infra.local.stop; fi
	rm -rf $$(readlink .local/test/*/data)
	rm -rf .venv .local .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

setup:
	@infra/bootstrap.sh

setup-lint:
	@infra/bootstrap.sh venv
