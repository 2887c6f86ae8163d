# Thin: what a target does is in .ci/ and in tests/lab.
target := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help demo test soak check simulate bench

help:
	@echo "make demo    the tour: from policy files to keys that applications use, on this machine alone"
	@echo "make test    everything: lints, tests, the clouds' own clients against the emulators"
	@echo "make soak    what takes too long for every change: the rest of the matrices, a hundred thousand schedules"
	@echo "make check   formatting, lints and documentation"
	@echo "make simulate   the engine under virtual time: SCHEDULES=100000 of them, or one to be read: SEED=…"
	@echo "make bench   ratios of times, each with a bound; DEMO=1 and LOOP=1 add demo and test from nothing, against an earlier revision"

# CONFIG: more arguments for cargo.
demo:
	@.ci/prerequisites
	cargo build $(CONFIG)
	@$(target)/debug/keyplane-lab demo

test:
	@.ci/prerequisites test
	@.ci/test

soak:
	@.ci/prerequisites test
	@.ci/soak

check:
	@.ci/prerequisites test
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items

# A schedule is run from its seed; PLANT=all looks whether each planted bug is found.
SCHEDULES ?= $(if $(SEED),1,100000)
simulate:
	@.ci/prerequisites
	cargo build --release -p keyplane-simulation
	@$(target)/release/keyplane-simulate --seed $(or $(SEED),1) --schedules $(SCHEDULES) $(if $(PLANT),--plant $(PLANT))

# Speed is judged here and nowhere else. What is added takes long: DEMO=1 two clean builds a turn, LOOP=1 two whole test runs a turn.
TURNS ?= 1
bench:
	@.ci/prerequisites
	cargo build --workspace --config .ci/optimised.toml
	@$(target)/debug/keyplane-bench keys $(if $(DEMO),demo) $(if $(LOOP),loop) --turns $(TURNS)
