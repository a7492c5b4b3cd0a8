# `make` lists the targets. Settings are make variables or environment variables, for example
# `make up HTTP_PORT=9000 MAX_WORKERS=4`; `make help` lists them all.
# They reach the scripts by the environment, where make puts what is given on its command line.

.DEFAULT_GOAL := help
# Tests wait for services most of the time: three at once on each core.
export RUST_TEST_THREADS ?= $(shell expr 3 '*' $$(nproc))
.PHONY: help setup demo demo-video up doctor package check test chaos soak screenshots docker-test fuzz bench clean

help: ## Show this list
	@echo "Muster, elastic face recognition"
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20
	@echo
	@scripts/stack settings

setup: ## Fetch the weights, the sample photos and what only the tests need, and make the model
	@scripts/setup
	@cargo build --release --quiet --package worker
	@scripts/model --engine native --for-other-machines

demo: ## Set up, build, recognize 100 photos on workers that start and stop, and judge the run
	@scripts/stack demo

demo-video: ## Set up, build, name the people in 100 clips by functions of a local Lambda, and judge the run (CLIPS=100)
	@scripts/demo-video

up: ## Set up, build and run the whole stack until Ctrl-C
	@scripts/stack up

doctor: ## Look at the stack of make up, and say what is wrong and what to do
	@scripts/stack doctor

package: ## Make the release archive: programs, model, systemd units, install (ENGINE=torch, GALLERY=people.safetensors)
	@scripts/package --engine $${ENGINE:-native}

check: ## Check format, lints and unit tests of the crates that you changed (since BASE=COMMIT, or the last one)
	@scripts/check

test: ## Set up, check formatting, lints and doc comments, run all tests
	@scripts/setup
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	scripts/deny
	cargo clippy --release --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps --quiet
	# Builds the programs, too. `worker` makes the model that the tests read.
	cargo test --release --workspace --no-run
	@scripts/model --engine native --for-other-machines
	cargo test --release --workspace
	# 20,000 random histories of the simulated cloud; another seed makes others.
	PROPTEST_CASES=10000 PROPTEST_RNG_SEED=$${PROPTEST_RNG_SEED:-4} \
		cargo test --release --quiet --package scaler --lib meets_demand_and_returns_to_the_minimum
	scripts/fidelity
	scripts/package-test
	scripts/deploy-test
	scripts/page-test
	ENGINE=native KEYS=1 TLS=1 scripts/stack check
	ENGINE=torch scripts/stack check
	MUSTER_BIN=$${CARGO_TARGET_DIR:-target}/release scripts/demo-video --clips 12 --warm 2 --least-concurrency 2
	MUSTER_BIN=$${CARGO_TARGET_DIR:-target}/release scripts/chaos --requests 9000 --rate 90 --seed $${SEED:-3}

chaos: ## Account for 100,000 requests while services are killed, stopped and cut off (ENGINE=native REQUESTS=2000 RATE=8 SEED=1)
	@scripts/chaos --requests $${REQUESTS:-100000} --rate $${RATE:-150} --seed $${SEED:-1}

soak: ## Run the stack for half an hour under mixed load, and chart memory, descriptors, queues and disk (MINUTES=30 RATE=4)
	@ENGINE=$${ENGINE:-native} scripts/chaos --soak $${MINUTES:-30}m --rate $${RATE:-4}

screenshots: setup ## Take the pictures of the page and of a graded run in docs/img, with Chromium on a stack under load
	@cargo build --release
	@scripts/page-test screenshots

docker-test: setup ## Build the containers' images, and try them with 100 photos and a killed worker (ENGINE=torch)
	@cargo build --release
	@[ "$(ENGINE)" != torch ] || cargo build --release --package worker-torch
	@scripts/docker-test

fuzz: ## Fuzz all parsers of foreign bytes, a minute each (SECONDS_EACH=60, TARGETS="photo s3")
	@scripts/fuzz $(TARGETS)

bench: setup ## Measure localcloud, the stack under load and the recognizer, simulate the scaler (BENCH_REFERENCE=1: see docs/development.md)
	@scripts/bench

clean: ## Remove what was built and what demo and up wrote (not the cache of downloads)
	cargo clean
	rm -rf target/demo target/check target/up
