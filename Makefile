# demo    the whole job on this machine, nothing to set up          test    everything, as CI runs it
# check   format, lints, documentation                             schema  schemas/stoker.schema.json, written again
# bench   how fast it is beside redis-benchmark and two peers: 30 to 45 minutes on a machine that does nothing else
.PHONY: help demo test check schema bench
.DEFAULT_GOAL := help

help:
	@sed -n '1,3s/^# //p' Makefile

# The ordinary development build: half the wait of an optimised one, and the demo's records need no more. What cargo
# compiles is shown, for it takes a minute or two the first time. ARGS=--keep leaves it running.
demo:
	@tests/rig/setup demo
	@cargo run --locked -- demo $(ARGS)

test:
	@echo "== setup: what the tests need (nothing where it is there)"
	@tests/rig/setup avro
	@$(MAKE) --no-print-directory check
	@echo "== tests: units, properties, simulation, and the real parts"
	@cargo test --locked

check:
	@echo "== check: format"
	@cargo fmt --check
	@echo "== check: lints"
	@cargo clippy --locked --quiet --all-targets -- -D warnings
	@echo "== check: documentation"
	@RUSTDOCFLAGS="-D warnings" cargo doc --locked --quiet --no-deps --document-private-items

schema:
	@STOKER_BLESS=1 cargo test --locked --quiet schema

# Real parts, the release build, and what a team would write instead; writes docs/bench/. ARGS=--quick shows that it
# works and measures nothing, ARGS="--only base,go" measures a part, ARGS=--full takes three times the records.
bench:
	@echo "== setup: the broker, redis-server, and the peers (nothing where it is there)"
	@tests/rig/setup
	@benches/peers/setup
	@echo "== build: release"
	@cargo bench --locked --bench ratio -- $(ARGS)
