# demo    the whole job on this machine, nothing to set up          test    everything, as CI runs it
# check   format, lints, documentation                             schema  schemas/stoker.schema.json, written again
.PHONY: help demo test check schema
.DEFAULT_GOAL := help

help:
	@sed -n '1,2s/^# //p' Makefile

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
	@cargo clippy --locked --quiet --lib --features object-store -- -D warnings
	@echo "== check: documentation"
	@RUSTDOCFLAGS="-D warnings" cargo doc --locked --quiet --no-deps --document-private-items

schema:
	@STOKER_BLESS=1 cargo test --locked --quiet schema
