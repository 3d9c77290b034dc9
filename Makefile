# The developer's habits. Nothing here is needed to build or to run: that is `go run ./cmd/conclave up`.

# Tools are taken from PATH when their version is the one named here, and installed into ./bin
# otherwise. They are not in go.mod: buf alone would pull the runtime's protobuf to an untagged commit.
BUF_VERSION           := 1.75.0
PROTOC_GEN_GO         := 1.36.12
PROTOC_GEN_GO_GRPC    := 1.6.2
GOLANGCI_LINT_VERSION := 2.15.0

BIN := $(CURDIR)/bin
export PATH := $(BIN):$(PATH)
PYTHON ?= python3
FUZZTIME ?= 30s

# Packages whose goroutines meet: these run under the race detector.
CONCURRENT := ./coordinator/... ./internal/bench ./internal/border ./internal/faultnet ./internal/hub \
              ./internal/loadgen ./internal/membership ./internal/wire/... ./internal/host \
              ./internal/local ./kernels ./router ./shard ./worker ./tests

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build ./bin/conclave, static
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o $(BIN)/conclave ./cmd/conclave

.PHONY: test
test: ## Run all tests
	go test ./...

.PHONY: race
race: ## Run the concurrent packages under the race detector
	go test -race -timeout 20m $(CONCURRENT)

# SEED=N repeats a run that failed; FAULTS=N does more or fewer.
SEED   ?= 0
FAULTS ?= 200

.PHONY: chaos
chaos: ## Let a cluster fail FAULTS times (default 200) under load; SEED repeats a run
	go test -count=1 -v -timeout 90m -run 'TestChaos$$' ./tests/chaos -args \
		-chaos.seed=$(SEED) -chaos.faults=$(FAULTS)

.PHONY: bench
bench: ## Run all benchmarks
	go test -run '^$$' -bench . -benchmem ./...

.PHONY: fuzz
fuzz: ## Fuzz every target for FUZZTIME (default 30s) each
	@set -e; grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r dir; do \
		grep -ho '^func Fuzz[A-Za-z0-9]*' $$dir/*_test.go | cut -c6- | while read -r target; do \
			echo "== $$dir $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$dir; \
		done; \
	done

.PHONY: lint
lint: tools ## Run vet, golangci-lint and buf lint
	go vet ./...
	golangci-lint run ./...
	buf lint

.PHONY: check
check: lint test race ## Everything that should pass before a commit
	@test -z "$$(gofmt -l .)" || { gofmt -l .; exit 1; }

.PHONY: proto
proto: tools ## Regenerate proto/ from the .proto files
	buf format -w
	buf lint
	buf generate

.PHONY: kernels
kernels: ## Regenerate the assembly of package kernels
	go generate ./kernels

# Python is needed for these two alone; what they write is committed.
GOLDEN_VENV := .cache/golden-venv

.PHONY: golden
golden: $(GOLDEN_VENV)/done ## Rewrite testdata/golden from transformers, tokenizers and Jinja2
	$(GOLDEN_VENV)/bin/python tools/golden/make.py
	$(GOLDEN_VENV)/bin/python tools/golden/make.py --demo

$(GOLDEN_VENV)/done: tools/golden/requirements.txt
	$(PYTHON) -m venv $(GOLDEN_VENV)
	$(GOLDEN_VENV)/bin/pip install --quiet --requirement $<
	touch $@

.PHONY: demo-model
demo-model: ## Train the demo model anew (under an hour on two cores)
	sh tools/demo-model/build.sh

# tool NAME, "how to ask its version", VERSION, MODULE@VERSION: install into ./bin what PATH lacks.
define tool
	@$(2) 2>/dev/null | grep -qF '$(3)' || { \
		echo "installing $(1) $(3) into ./bin"; \
		GOBIN=$(BIN) GOFLAGS= go install $(4)@v$(3); }
endef

.PHONY: tools
tools: ## Install the pinned tools that PATH lacks into ./bin
	$(call tool,buf,buf --version,$(BUF_VERSION),github.com/bufbuild/buf/cmd/buf)
	$(call tool,protoc-gen-go,protoc-gen-go --version,$(PROTOC_GEN_GO),google.golang.org/protobuf/cmd/protoc-gen-go)
	$(call tool,protoc-gen-go-grpc,protoc-gen-go-grpc --version,$(PROTOC_GEN_GO_GRPC),google.golang.org/grpc/cmd/protoc-gen-go-grpc)
	$(call tool,golangci-lint,golangci-lint version,$(GOLANGCI_LINT_VERSION),github.com/golangci/golangci-lint/v2/cmd/golangci-lint)

.PHONY: clean
clean: ## Remove what make built
	rm -rf $(BIN) .cache
