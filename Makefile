# assent: the commands a person types.  `make help` lists them; CMake presets do the building.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup build up demo down test test-thread bench break jepsen soak museum sim sim-shrink sim-marks sim-asserts lint coverage fuzz format-check format install clean

JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= 60
JEPSEN_SECONDS ?= 60
JEPSEN_JOBS ?= 5
JEPSEN_FAULTS ?= kill,stop,pause partition,packet,clock power,full,eio,slow flip,member,install
JEPSEN_OUT ?= jepsen-runs
WORKLOAD ?= bank
FAULTS ?= kill
BREAK_SECONDS ?= 30
SOAK_SECONDS ?= 600
SIM_SEEDS ?= 20000
SHRINK_SECONDS ?= 60
ASSERT_SEEDS ?= 1000
LOCAL ?= .local
NAME ?= order
KILL ?= yes
OPTIONS ?=
RELEASE := build/release
CTL := $(RELEASE)/client/ctl/assentctl
export ASSENTD := $(abspath $(RELEASE)/node/assentd)

say = @printf '\n== %s\n' $(1)
preset = cmake --preset $(1) -DCMAKE_MESSAGE_LOG_LEVEL=NOTICE >/dev/null
progress = NINJA_STATUS='[%f/%t %es] ' ninja -C build/$(1) -j $(JOBS)

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

setup: ## install the packages of deploy/packages.txt (as root; nothing when they are there)
	@deploy/setup.sh

build: setup ## build everything, optimised, into build/release
	$(call say,"building build/release")
	@$(call preset,release)
	@$(call progress,release)

up: build ## build, start three nodes, show a transfer that survives the death of the leader
	$(call say,"starting three nodes on 127.0.0.1 (HTTP 8080 8081 8082; state in $(LOCAL)/)")
	@$(CTL) local up --dir $(LOCAL)
	$(call say,"a transfer between two banks; the leader is killed in the middle")
	@$(RELEASE)/client/demo/assent-demo transfer --kill-leader --state $(LOCAL)/nodes.json --ctl $(CTL)
	$(call say,"what runs now")
	@$(CTL) local up --dir $(LOCAL)
	@printf '%s\n' '' 'Look around:' \
	  '  curl -s http://127.0.0.1:8080/api/v1/cluster' \
	  '  curl -s -X POST http://127.0.0.1:8081/api/v1/lamport/tick' \
	  '  $(CTL) status' \
	  '  $(CTL) txn list' \
	  '  tail $(LOCAL)/node-1.log' \
	  'Stop it: make down'

demo: build ## NAME=order: a demonstration on the cluster of `make up`, the leader is killed (KILL= : it is not)
	@$(CTL) local up --dir $(LOCAL) >/dev/null
	@$(RELEASE)/client/demo/assent-demo run $(NAME) $(if $(KILL),--kill-leader) $(OPTIONS) --state $(LOCAL)/nodes.json --ctl $(CTL)

down: ## stop the nodes of `make up`; their data stays
	@if [ -x $(CTL) ]; then $(CTL) local down --dir $(LOCAL); else echo "nothing was built, so nothing runs"; fi

# The closing lines of ctest are the summary; a failure shows its whole output before them.
test: setup ## all tests, with address and undefined behaviour sanitizers; then the threaded ones with the thread sanitizer
	$(call say,"building build/dev (address and undefined behaviour sanitizers)")
	@$(call preset,dev)
	@$(call progress,dev)
	$(call say,"running the tests")
	@ctest --test-dir build/dev --output-on-failure --progress -j $(JOBS)
	@$(MAKE) --no-print-directory test-thread

test-thread: ## the tests labelled `threads`, with the thread sanitizer
	$(call say,"building build/thread (thread sanitizer)")
	@$(call preset,thread)
	@targets=$$(ctest --test-dir build/thread -N -L threads | sed -n 's/.*Test *#[0-9]*: //p'); \
	  NINJA_STATUS='[%f/%t %es] ' ninja -C build/thread -j $(JOBS) $$targets; \
	  ctest --test-dir build/thread -L threads --output-on-failure -j $(JOBS)

bench: build ## the figures of README.md (takes minutes; leave the machine alone)
	@$(RELEASE)/tests/bench/assent-bench all

break: setup ## WORKLOAD=bank FAULTS=kill: break three nodes for half a minute; a verdict, and where to see the picture
	@$(call preset,release)
	@$(call progress,release) assentd assent-jepsen
	@$(RELEASE)/jepsen/harness/assent-jepsen --workload $(WORKLOAD) --faults $(FAULTS) --seconds $(BREAK_SECONDS) \
	  --fault-ms 2000 --assentd $(ASSENTD) --out $(JEPSEN_OUT) $(if $(filter 0,$(shell id -u)),,--loopback)

jepsen: build ## the outside judge: every workload under every class of faults, about half an hour (as root; verdicts in jepsen-runs/)
	@JOBS=$(JEPSEN_JOBS) jepsen/matrix.sh $(RELEASE) $(JEPSEN_OUT) $(JEPSEN_SECONDS) $(JEPSEN_FAULTS)

soak: build ## the same for SOAK_SECONDS (600) a run, with all faults by turns (hours)
	@JOBS=$(JEPSEN_JOBS) jepsen/matrix.sh $(RELEASE) $(JEPSEN_OUT) $(SOAK_SECONDS) \
	  all

museum: build ## nodes with one bug planted: the outside judge must find each of them (minutes, as root)
	@JOBS=$(JEPSEN_JOBS) jepsen/museum.sh $(RELEASE) $(JEPSEN_OUT)

sim: build ## the simulator with SIM_SEEDS (20000) seeds
	@$(RELEASE)/tests/sim/assent-sim --seeds $(SIM_SEEDS)

sim-shrink: build ## a smaller run than seed SEED with the same kind of finding (SEED=7; within SHRINK_SECONDS, 60)
	@$(RELEASE)/tests/sim/assent-sim --shrink $(SEED) --within $(SHRINK_SECONDS)

sim-marks: build ## which marked branches of the product SIM_SEEDS seeds take; each must be taken
	@$(RELEASE)/tests/sim/assent-sim --seeds $(SIM_SEEDS) --marks

sim-asserts: setup ## simulator, chaos, museum and guards with a libraft built with assertions and sanitizers, ASSERT_SEEDS (1000)
	@JOBS=$(JOBS) tests/sim/asserts.sh build/asserts $(ASSERT_SEEDS)

lint: setup ## clang-tidy and cppcheck with the checked-in configuration
	@tests/lint/run.sh build/lint $(JOBS)

# Real processes count too: assentd ends by SIGTERM in most tests, and writes its counts then; one that is killed does
# not.  A line with an assertion is not counted: its other branch is what must never be taken.  The judge's figure stands
# apart from the product's: what reads, checks and draws histories.  What asks and breaks runs for minutes: make jepsen.
GCOVR := gcovr --root . --exclude '.*/example/.*' \
  --exclude-lines-by-pattern '.*\bassert\(.*' --exclude-unreachable-branches --gcov-ignore-parse-errors \
  -j $(JOBS) --object-directory build/coverage
COVERED_PRODUCT := (include|raftlog|statemachine|node|client)/
COVERED_JUDGE := jepsen/(history|checkers|tools|harness/(judge|report))

coverage: setup ## lines and branches that the tests execute: of the product, and of the judge's checkers
	$(call say,"building build/coverage")
	@$(call preset,coverage)
	@$(call progress,coverage)
	@find build/coverage -name '*.gcda' -delete
	@ctest --test-dir build/coverage -j $(JOBS) --output-on-failure --progress
	@$(GCOVR) --filter '$(COVERED_PRODUCT)' --filter '$(COVERED_JUDGE)' --json build/coverage/all.json build/coverage
	$(call say,"the product")
	@gcovr --root . -a build/coverage/all.json --filter '$(COVERED_PRODUCT)' --txt build/coverage/lines.txt --print-summary
	$(call say,"the judge")
	@gcovr --root . -a build/coverage/all.json --filter '$(COVERED_JUDGE)' --txt build/coverage/judge.txt --print-summary
	@echo "file by file: build/coverage/lines.txt, build/coverage/judge.txt"

fuzz: setup ## every fuzzer with libFuzzer for FUZZ_SECONDS (60) each
	@$(call preset,fuzz)
	@$(call progress,fuzz)
	@failed=; for fuzzer in $$(find build/fuzz/tests/fuzz -maxdepth 1 -type f -executable -name 'fuzz_*' | sort); do \
	  name=$${fuzzer##*/}; \
	  printf '\n== %s, %s s\n' $$name $(FUZZ_SECONDS); \
	  mkdir -p build/fuzz/found/$$name; \
	  seeds=$$(ls -d tests/fuzz/corpus/$$name 2>/dev/null || true); \
	  $$fuzzer -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 -rss_limit_mb=2048 -timeout=10 \
	    -artifact_prefix=build/fuzz/found/$$name- build/fuzz/found/$$name $$seeds \
	    >build/fuzz/found/$$name.log 2>&1 && tail -n 6 build/fuzz/found/$$name.log || \
	    { tail -n 60 build/fuzz/found/$$name.log; failed="$$failed $$name"; }; \
	done; [ -z "$$failed" ] || { echo "found something:$$failed (inputs and logs in build/fuzz/found)"; exit 1; }

format-check: ## refuse what clang-format would change
	@find include raftlog statemachine node client jepsen tests -name '*.[ch]' | xargs -r clang-format --dry-run -Werror
	@echo "every file is formatted"

format: ## let clang-format change it
	@find include raftlog statemachine node client jepsen tests -name '*.[ch]' | xargs -r clang-format -i

install: build ## programs, library, header, manuals (DESTDIR, and PREFIX of the build)
	@cmake --install $(RELEASE)

clean: down ## remove what was built, and the local cluster's data
	@rm -rf build $(LOCAL)
