# Every target sets up what it needs. `make` alone lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long sim sim-soak budget-soak chaos check cluster bench generate format model-eval strategies clean

NOW := $(shell date +%Y%m%d-%H%M%S)
SEED ?= 1
COPPICE := npm run -s coppice --

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: node_modules/.installed ## install what the project needs (the pinned Node, libraries); nothing outside this folder

node_modules/.installed: package.json package-lock.json
	@deploy/setup.sh

demo: setup ## search 48 held-out Game-of-24 puzzles with a small language model in this process
	$(COPPICE) run examples/game24.yaml --set output=runs/demo-$(NOW)

test: setup check ## all checks and tests; installs Redis and bubblewrap from the system's packages where they are missing and it may
	@deploy/ensure-redis.sh
	@deploy/ensure-bubblewrap.sh
	npm run -s test

test-long: setup ## the same with the long checks whole: a few minutes more
	@deploy/ensure-redis.sh
	@deploy/ensure-bubblewrap.sh
	COPPICE_TEST_LONG=1 npm run -s test

sim: setup ## one simulated world: make sim SEED=7; prints what happened in it
	node_modules/.bin/node test/sim/main.ts --seed $(SEED) --trace

sim-soak: setup ## ten thousand simulated worlds, half an hour of one core; says what went wrong in them and how often
	node_modules/.bin/node test/sim/main.ts --from 1 --to 10000

budget-soak: setup ## ten thousand simulated sweeps that a budget ends: never passed, and used up
	node_modules/.bin/node test/sim/budget-main.ts --runs 10000

chaos: setup ## 200 rounds of blows on a real cluster, some hours: kill -9, SIGSTOP, Redis gone or emptied, network cut, disk full
	@deploy/ensure-redis.sh
	node_modules/.bin/node test/chaos/main.ts --rounds 200

check: setup ## types, lint, format, generated code
	npm run -s check:types
	npm run -s check:lint
	npm run -s check:format

cluster: setup ## the demo as separate processes: Redis, a coordinator, two rollout workers, a verification worker
	@deploy/ensure-redis.sh
	npm run -s cluster -- examples/game24.yaml --set output=runs/cluster-$(NOW)

bench: setup ## benchmarks: search core, scheduler and placement, simulated engine, real KV caches on two hosts, lanes, link, journal, memory, embedded host, sandbox
	@deploy/ensure-redis.sh
	@deploy/ensure-bubblewrap.sh
	npm run -s bench

generate: setup ## generate the wire code from proto/
	npm run -s generate

format: setup ## format the code
	npm run -s format

runs/held-out.jsonl: ../shared/data/game24/puzzles.jsonl
	@mkdir -p runs && sed -n '901,1000p' $< > $@

model-eval: setup runs/held-out.jsonl ## the small model on the published test puzzles (needs ../shared/data): pass@k of best-of-64
	$(COPPICE) run models/game24/held-out.yaml --set output=runs/held-out-$(NOW)

strategies: setup runs/held-out.jsonl ## every strategy that the small model can follow, at equal tokens, on the same puzzles
	$(COPPICE) run models/game24/strategies.yaml --set output=runs/strategies-$(NOW)

clean: ## remove what make built (not runs/)
	rm -rf node_modules
