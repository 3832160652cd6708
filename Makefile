# drctl. `make help` lists the targets.
SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
LDFLAGS := -X main.version=$(VERSION) -X main.commit=$(COMMIT)
# Tests start real servers: few packages at a time.
PARALLEL ?= 3
TIMEOUT  ?= 45m
FUZZTIME ?= 10s
BENCH    ?= .

export PATH := $(CURDIR)/bin:$(PATH)

.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## install the Debian packages that are missing (PostgreSQL, Redis, HAProxy, PgBouncer, libfaketime, age, zstd ...)
	@tools/setup.sh

.PHONY: tools
tools: ## build restic, versitygw, drctl-engine and the linters into bin/, once
	@GO="$(GO)" tools/build.sh

.PHONY: majors
majors: setup ## fetch servers of PostgreSQL 13 to 18 into bin/, once (135 MB; for tests only)
	@tools/postgres.sh

.PHONY: build
build: ## build bin/drctl and bin/drlab
	@mkdir -p bin
	$(GO) build -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/ ./cmd/drctl ./cmd/drlab

.PHONY: test
test: setup majors tools build lint ## everything that must pass: set-up, build, lint, all tests on real servers
	@# -trimpath shares the cache with tools/build.sh; vet would read 1,500 packages for facts
	cd tools/engine && $(GO) test -vet=off -trimpath -buildvcs=false -timeout 10m ./...
	$(GO) test -vet=off -p $(PARALLEL) ./... -timeout $(TIMEOUT) # lint has vetted

.PHONY: nightly
nightly: export DRCTL_TEST_SIZE = nightly
nightly: TIMEOUT = 300m
nightly: test ## make test with the long, seeded tests at full length: 60 switchovers, 55 failovers and 54 split brains among them

.PHONY: race
race: setup majors tools build ## all tests with the race detector (needs gcc)
	$(GO) test -race -p $(PARALLEL) ./... -timeout 60m

.PHONY: bench
bench: setup majors tools ## benchmarks; BENCH=regexp chooses
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -p 1 -timeout 60m ./...

.PHONY: lint
lint: tools ## gofmt, go vet, staticcheck, dropped errors, import rules, list of packages, paragraphs, sizes, determinism of workflows
	@bad=$$(gofmt -l $$($(GO) list -f '{{.Dir}}' ./...) tools/engine tools/lint-sizes); \
	if [ -n "$$bad" ]; then echo "not formatted (run gofmt -w on them):"; echo "$$bad"; exit 1; fi
	$(GO) vet ./...
	bin/staticcheck ./...
	tools/lint-imports.sh .
	tools/lint-imports-selftest.sh
	tools/lint-errors.sh
	tools/lint-docs.sh
	tools/lint-air.sh
	tools/lint-sizes.sh
	tools/lint-sizes-selftest.sh
	bin/workflowcheck ./workflows/...

.PHONY: demo
demo: setup tools build ## the whole story on one machine: two regions, disaster, recovery, proof
	./tools/demo.sh

.PHONY: gameday
gameday: setup tools build ## a shop moves to its other region and home again under customers, loses a region, and goes home
	./tools/gameday.sh

.PHONY: fuzz-smoke
fuzz-smoke: ## run every fuzz test for FUZZTIME (10s)
	@GO="$(GO)" FUZZTIME="$(FUZZTIME)" tools/fuzz-smoke.sh

.PHONY: clean
clean: ## remove what was built (bin/)
	rm -rf bin
