# The two commands of the README are `make run` and `make test`. Both work on a fresh machine with Rust, Node and
# Python; what else they need, `tests/prepare` installs (as root) or names.

CARGO ?= cargo

.PHONY: run test test-long conformance bench lint deny fuzz clean

run:
	$(CARGO) run --quiet -p denrei-server -- serve

# Everything that must hold for a change to land. `cargo test` builds the binary and the examples too, with the features
# that the tests need: another `cargo build` would build half of the tree again with others.
test:
	tests/prepare
	$(CARGO) fmt --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) test --workspace
	cd fuzz && $(CARGO) fmt --check && $(CARGO) clippy --all-targets -- -D warnings && $(CARGO) test
	tests/run
	conformance/autobahn --quick

# Longer loops: more seeds, more rounds, every case.
test-long: test deny
	fuzz/run all 20
	DENREI_SEEDS=2000 $(CARGO) test -p denrei-hub --test it simulation
	DENREI_ROUNDS=20 tests/run checker
	conformance/autobahn

# Other people's suites, all cases; the report is kept in conformance/reports.
conformance:
	conformance/autobahn

# Beside the peers, server on one core, generator on the other; results go to docs/benchmarks.md.
bench:
	$(CARGO) build --release -p denrei-server
	$(CARGO) build --release -p denrei --example handlers
	bench/run

# Inputs that nobody thought of, a minute for each target.
fuzz:
	fuzz/run

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	cd fuzz && $(CARGO) fmt --check && $(CARGO) clippy --all-targets -- -D warnings

# Licences and advisories of dependencies.
deny:
	command -v cargo-deny >/dev/null || $(CARGO) install --locked cargo-deny
	$(CARGO) deny check

clean:
	$(CARGO) clean
	rm -rf .cache tests/node_modules
