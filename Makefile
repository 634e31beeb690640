# Tributary's few commands. `make help` lists them.
#
# Everything is built in release with one set of flags, because a second profile would compile RocksDB's C++ a second
# time; and outside the checkout, so that two clones share one build.
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tributary/target

# Extra words for the command: make demo ARGS="--once --report out.json", make test ARGS=settlement
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test sim bench bench-spans bench-influence chaos fuzz lint check fmt

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## install what a build needs and this machine lacks
	@scripts/setup

demo: setup ## four validators on real data, to the first payouts; ARGS=--once ends by itself
	cargo build --release --locked --bin tributary
	@exec "$(CARGO_TARGET_DIR)/release/tributary" demo $(ARGS)

test: setup ## the tests that CI runs; ARGS=NAME runs those whose name contains NAME
	scripts/test $(ARGS)

sim: setup ## the simulator, for as long as you like; ARGS="--seeds 0..1000 --scenario all", ARGS=latency, ARGS=list
	cargo run --release --locked --package tributary-protocol --features sim --bin sim -- \
		$(or $(ARGS),--seeds 0..100 --scenario all)

bench: setup ## measure the figures of docs/benchmarks.md on this machine
	scripts/bench $(ARGS)

bench-spans: setup ## the span index beside infini-gram and tokengrams; ARGS=--quick for minutes instead of an hour
	cargo build --release --locked --bin tributary
	scripts/bench-spans $(ARGS)

bench-influence: setup ## influence against retraining, beside dattri; ARGS=digits-lr for the quick half
	cargo build --release --locked --bin tributary
	scripts/bench-influence $(ARGS)

chaos: setup ## real processes under load, killed, frozen, wiped, cut off; ARGS="--kills 100 --json FILE"
	scripts/chaos $(ARGS)

fuzz: ## hunt for crashes, guided by coverage; ARGS="TARGET SECONDS", all for a minute each without
	scripts/fuzz $(ARGS)

lint: setup ## formatting, clippy, documentation, licences, hygiene: whatever CI refuses
	cargo fmt --all --check
	scripts/hygiene
	scripts/licences
	cargo clippy --release --locked --workspace --all-targets -- -D warnings
	cargo clippy --release --locked --package tributary-protocol --features sim --bin sim -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --release --locked --no-deps --workspace

check: setup ## fast: does it compile, without building it
	cargo fmt --all --check
	cargo check --release --locked --workspace --all-targets

fmt: ## format the code
	cargo fmt --all
