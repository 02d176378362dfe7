# demo    the whole job on this machine, nothing to set up          test    everything, as CI runs it
# check   format, lints, documentation                             schema  schemas/stoker.schema.json, written again
# bench   how fast it is beside redis-benchmark and two peers: 30 to 45 minutes on a machine that does nothing else
# fuzz    every fuzz target for FUZZ_SECONDS (30)                  FUZZ_TARGETS="json protobuf" runs these alone
.PHONY: help demo test check schema bench fuzz
.DEFAULT_GOAL := help

help:
	@sed -n '1,4s/^# //p' Makefile

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

# Real parts, the release build, and what a team would write instead; writes docs/bench/. ARGS=--quick shows that it
# works and measures nothing, ARGS="--only base,go" measures a part, ARGS=--full takes three times the records.
bench:
	@echo "== setup: the broker, redis-server, and the peers (nothing where it is there)"
	@tests/rig/setup
	@benches/peers/setup
	@echo "== build: release"
	@cargo bench --locked --bench ratio -- $(ARGS)

# On a nightly toolchain, which rustup fetches where it is not there. Without a sanitizer: the code is safe Rust. What
# breaks a target is left in fuzz/artifacts, with what libFuzzer said.
FUZZ_SECONDS ?= 30
FUZZ_TARGETS ?= json avro json_schema protobuf framing template condition settings
FUZZ_TOOLCHAIN ?= nightly
FUZZ_LIMITS = -max_len=8192 -timeout=10 -rss_limit_mb=1024
fuzz:
	@rustup toolchain list | grep -q "^$(FUZZ_TOOLCHAIN)" || rustup toolchain install $(FUZZ_TOOLCHAIN) --profile minimal
	@command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz@0.13.2
	@cargo +$(FUZZ_TOOLCHAIN) fuzz build --sanitizer none
	@fuzz/target/$$(rustc -vV | sed -n 's/^host: //p')/release/seeds
	@mkdir -p fuzz/artifacts
	@for target in $(FUZZ_TARGETS); do \
	  log=fuzz/artifacts/$$target.log; \
	  echo "== fuzz: $$target for $(FUZZ_SECONDS) s"; \
	  cargo +$(FUZZ_TOOLCHAIN) fuzz run --sanitizer none $$target -- $(FUZZ_LIMITS) \
	    -max_total_time=$(FUZZ_SECONDS) >$$log 2>&1 || { tail -n 40 $$log; exit 1; }; \
	  grep '^Done' $$log; \
	done
