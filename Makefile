# Everything a fresh machine needs is installed or built by these targets; `make help` lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

CLUSTER ?= tenter
IMAGE ?= registry.example/tenter/tenter:0.1.0
DEV_CLUSTER := deploy/dev-cluster/cluster

# The container runtime's socket and the demo's git server are on this machine alone; a proxy must not be asked for them.
comma := ,
export NO_PROXY := $(if $(NO_PROXY),$(NO_PROXY)$(comma))127.0.0.1,localhost,10.250.0.0/16

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

.PHONY: setup
setup: ## Install the Debian packages that the build and the dev cluster need, where they are missing
	@deploy/setup

.PHONY: build
build: setup ## Build tenter and the simulator
	cargo build --locked --release --bin tenter --bin fabric-sim --bin assets-contract

.PHONY: image
image: build ## Write Tenter's image (IMAGE names it) to target/tenter-image.tar, without Docker
	deploy/dev-cluster/image build --name $(IMAGE) --output target/tenter-image.tar \
		--entrypoint /usr/local/bin/tenter $${CARGO_TARGET_DIR:-target}/release/tenter:/usr/local/bin/tenter

.PHONY: demo
demo: setup ## Watch a commit become a running consortium
	@deploy/demo/demo

.PHONY: test
test: lint test-unit test-e2e test-demo ## Everything that CI runs

.PHONY: lint
lint: setup ## Formatting, clippy, rustdoc, shellcheck
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets --all-features -- -D warnings
	cargo clippy --locked --workspace --all-features --test e2e --bench converge --bench objects -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps --all-features
	deploy/lint-scripts

.PHONY: deny
deny: setup ## Licences and sources of the dependencies (deny.toml); builds cargo-deny once, so it is not part of make test
	deploy/lint-dependencies

.PHONY: test-unit
test-unit: setup ## Tests that need no cluster; Fabric's programs are used when FABRIC_BIN_DIR or PATH has them
	deploy/test-unit

.PHONY: test-e2e
test-e2e: setup ## Scenarios on the dev cluster (or the one in KUBECONFIG)
	deploy/e2e

.PHONY: test-demo
test-demo: setup ## The demo from its beginning to its end, with the programs that the tests use
	TENTER_PROFILE=debug deploy/demo/demo && code=0 || code=$$?; deploy/demo/demo down; exit $$code

.PHONY: bench
bench: build ## Times and memory, as ratios within one run
	deploy/bench

.PHONY: cluster-up
cluster-up: setup ## Start the dev cluster (CLUSTER names it), or use the one in KUBECONFIG
	@$(DEV_CLUSTER) up $(CLUSTER)

.PHONY: cluster-down
cluster-down: ## Stop the dev cluster and remove what it left
	@$(DEV_CLUSTER) down $(CLUSTER)

.PHONY: generate
generate: ## Write the generated files again: schemas, CRDs, rule pages, command line reference and goldens
	UPDATE_SCHEMAS=1 UPDATE_RULES=1 UPDATE_REFERENCE=1 UPDATE_CRDS=1 UPDATE_GOLDENS=1 INSTA_UPDATE=always cargo test --locked --workspace --all-features

.PHONY: clean
clean: ## Remove what was built in this checkout (the cache of the dev cluster's programs stays)
	cargo clean
