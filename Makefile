# make help lists the targets. What runs here needs Go and the Go module proxy; -race needs a C compiler as well.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO ?= go
LINT := $(GO) tool -modfile=tools/go.mod golangci-lint
VULN := $(GO) tool -modfile=tools/vuln/go.mod govulncheck
ACTIONLINT := $(GO) tool -modfile=tools/actionlint/go.mod actionlint
# Run in proto/.
BUF := $(GO) tool -modfile=../tools/proto/go.mod buf

# Modules of their own, so that what they need is not the product's.
OTHERS := tools/image manifests/tests e2e e2e/alerts

# The cluster tests of e2e/ have a target of their own.
UNIT = $$($(GO) list ./... | grep -v '^github.com/quaygen/quaygen/e2e\b')

# A count, not a time: the same work on every machine.
FUZZ_RUNS ?= 10000x

# How much more than its own bounds each scenario of the model tries; 0 takes minutes, 1 hours.
MODEL_DEPTH ?= 0

.PHONY: help build generate generate-check vet lint vuln alerts-test alerts-provoke alerts-update manifests-test manifests-update unit race race-if-possible fuzz test model bench demo chaos flood e2e e2e-parts image image-push image-test tidy-check clean

help: ## list the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 20

build: ## every package, and the programs into bin/
	$(GO) build ./...
	$(if $(wildcard cmd/*/main.go),CGO_ENABLED=0 $(GO) build -trimpath -o bin/ ./cmd/...)

generate: ## the Go code beside each .proto file
	cd proto && $(BUF) generate

# What published.binpb holds of our own API may not change its meaning. At a release it is written anew, in proto/:
# buf build --path quaygen --exclude-source-info -o published.binpb. ESO's protocol has a table and a test instead.
generate-check: ## .proto files are in form and break nobody, and the code beside them is theirs
	cd proto && $(BUF) lint && $(BUF) format --diff --exit-code && $(BUF) breaking --against published.binpb
	@fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; \
	  cd proto && $(BUF) generate --output "$$fresh"; \
	  for f in $$(cd "$$fresh" && find . -name '*.go') $$(find . -name '*.pb.go'); do \
	    cmp "$$fresh/$$f" "$$f" || { echo "proto/$$f is not what the .proto file says: run make generate" >&2; exit 1; }; \
	  done

vet: ## go vet
	$(GO) vet ./...
	cd tools/image && $(GO) vet ./...

lint: ## golangci-lint, at the version of tools/go.mod, and actionlint for .github/workflows
	$(LINT) run ./...
	for module in $(OTHERS); do (cd $$module && $(GO) tool -modfile='$(CURDIR)/tools/go.mod' golangci-lint run ./...) || exit 1; done
	$(ACTIONLINT) -shellcheck= -pyflakes=

# It needs the vulnerability database, so it is no part of `make test`. VULN_DB may be a mirror, also file:///path.
VULN_DB ?= https://vuln.go.dev

vuln: ## govulncheck on all that is built; fails also where its database cannot be reached
	@$(VULN) -db '$(VULN_DB)' ./... || { code=$$?; \
	  case $$code in \
	  3) echo "vulnerabilities were found: see above" >&2 ;; \
	  *) echo "NOT CHECKED: govulncheck failed, for want of its database $(VULN_DB) if it says so above; set VULN_DB to a mirror" >&2 ;; \
	  esac; exit $$code; }

# A module of its own: it needs Prometheus' parser, engine and templates.
alerts-test: ## alerts and dashboard: each alert fires when it must and is silent when it must, and what is asked for is shown
	cd e2e/alerts && $(GO) vet ./... && $(GO) test -count=1 -skip '^TestEveryAlertFiresOnTheRunningServiceAndOnlyThen$$' ./...

alerts-provoke: ## every alert on the running service, by faults of the Quay in memory: five minutes
	cd e2e/alerts && $(GO) test -count=1 -timeout 30m -parallel 7 -run '^TestEveryAlertFiresOnTheRunningServiceAndOnlyThen$$' -v ./...

alerts-update: ## the copies of alerts and dashboard in manifests/components/monitoring
	cd e2e/alerts && $(GO) test -count=1 -run '^TestTheComponentHasTheRulesAndTheDashboardOfTheChart$$' . -update

unit: ## unit tests, in random order, never from the cache
	$(GO) test -count=1 -shuffle=on -timeout 20m $(UNIT)
	cd tools/image && $(GO) test -count=1 -shuffle=on .

# Where the race detector finds nothing and takes minutes: searches that share nothing, the same again for each write or clock, and
# programs that a test builds by itself.
NO_RACE := ^(TestTheModel|TestNoInterleaving|TestNoHistory|TestWhateverPassesTheCheck|TestACrashAtAnyWrite|TestALocalClock|TestNoPullFails|TestNoValidCallFails)

race: ## unit tests under the race detector, where it pays
	CGO_ENABLED=1 $(GO) test -race -count=1 -shuffle=on -timeout 40m -skip '$(NO_RACE)' $(UNIT)

# Without a C compiler the rest of the tests still says something; this says that it was left out.
race-if-possible:
	@if command -v "$$($(GO) env CC)" >/dev/null; then $(MAKE) --no-print-directory race; \
	else echo "NOT RUN: tests under the race detector, for want of a C compiler ($$($(GO) env CC))" >&2; fi

fuzz: ## each fuzz target for FUZZ_RUNS inputs
	@for package in $(UNIT); do \
	  for target in $$($(GO) test -list '^Fuzz' "$$package" | grep '^Fuzz' || true); do \
	    echo "fuzz $$package $$target"; \
	    out=$$($(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZ_RUNS) -fuzzminimizetime 20x "$$package" 2>&1) || { echo "$$out"; exit 1; }; \
	    tail -n 1 <<<"$$out"; \
	  done; \
	done

# A module of its own below manifests/: Helm and kustomize are large, and nothing of them is linked into the product.
manifests-test: ## the Helm chart and kustomize's base: schema, every two settings, golden files, no drift between them
	cd manifests/tests && $(GO) vet ./... && $(GO) test -count=1 -shuffle=on -timeout 20m ./...

manifests-update: ## write anew what manifests-test compares with; look at the difference before you commit it
	cd manifests/tests && $(GO) test -count=1 . -update

test: lint generate-check vet manifests-test alerts-test unit race-if-possible fuzz ## all of the above: what has to pass before a commit is shared

model: ## every interleaving of two replicas within the scenarios' bounds, without the bound on states that `make unit` has
	$(GO) test -count=1 -timeout 3h -run '^TestNoInterleavingBreaksAnInvariant$$' -v ./pkg/quaygen/rotation -model.states 0 -model.depth $(MODEL_DEPTH)

bench: ## benchmarks with allocations
	$(GO) test -run '^$$' -bench . -benchmem -count 5 $(UNIT)

demo: ## the main job on embedded parts, on loopback: under a minute once built
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/ ./cmd/...
	bin/quaydemo --bin bin

# The same seed draws the same faults and kills. When they happen depends on the machine as well.
CHAOS_SEED ?= 1

chaos: ## a thousand rotations under faults and kills, beside what others do; writes its table into docs/rotation.md: half an hour
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/ ./cmd/...
	bin/quaychaos --bin bin --seed $(CHAOS_SEED) --update docs/rotation.md

flood: ## slow, idle, oversized, malformed and guessing callers, and what valid ones get meanwhile; writes its table into docs/security.md: half an hour
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/ ./cmd/...
	bin/quayflood --bin bin --update docs/security.md

e2e: ## real kube-apiserver, etcd and ESO as processes; builds them first
	cd e2e && $(GO) test -count=1 -timeout 55m -v ./...

e2e-parts: ## what e2e builds, without running it: a quarter of an hour of two processors
	cd e2e && $(GO) run ./build

# The commit says what is in the image: tags are versions. IMAGE_OUT/image is an OCI layout, IMAGE_OUT/release what a release has beside it.
IMAGE_OUT ?= bin

image: ## the container image for amd64 and arm64, reproducibly and without a container engine, with bills of materials
	cd tools/image && $(GO) run . build -source ../.. -out '$(abspath $(IMAGE_OUT))'

image-push: ## what make image wrote, into the repository IMAGE, as docker is logged in there
	cd tools/image && $(GO) run . push -from '$(abspath $(IMAGE_OUT))/image' -to '$(IMAGE)'

image-test: ## the last commit's image: built twice and compared, then run as a container runs it
	cd tools/image && $(GO) test -count=1 -timeout 45m -v ./imagetest

tidy-check: ## go.mod and go.sum say what the code needs, no more and no less
	$(GO) mod verify
	$(GO) mod tidy -diff
	for module in tools tools/actionlint tools/proto tools/vuln $(OTHERS); do (cd $$module && $(GO) mod tidy -diff) || exit 1; done

clean: ## remove what was built
	rm -rf bin .cache
