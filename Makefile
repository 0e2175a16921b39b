# `make demo` and `make test` need nothing but a Rust toolchain, make and a C compiler; the web UI needs Node.js.
.PHONY: demo test ui build bench bench-peers plots scaling dist clean

# One set of features for everything, so that dependencies are built once.
CARGO_FLAGS := --release --workspace --all-targets
TARGET := $(or $(CARGO_TARGET_DIR),target)
COHORT := $(TARGET)/release/cohort

build: ui
	cargo build --locked $(CARGO_FLAGS)

ui: ## the web UI, which the binary takes in
	scripts/ui.sh build

demo: build ## the service with sample segments and live events
	COHORT=$(COHORT) scripts/demo.sh

test:
	scripts/test.sh

bench: build
	$(COHORT) bench --scenario classic-rules --rules 10 100 1000 10000 --workers 1 2 --yardsticks --json bench-report.json

bench-peers: build ## Cohort beside other systems: see benches/peers/README.md
	COHORT=$(COHORT) benches/peers/run.py --events $(or $(EVENTS),200000) --rules $(or $(RULES),10 100 1000 10000) \
		--runs $(or $(RUNS),3) $(if $(PEERS),--peers $(PEERS)) --json benches/peers/report.json

plots: build ## how the cost of an event grows: measures, and draws docs/images/cost.svg
	COHORT=$(COHORT) benches/plots/run.py --runs $(or $(RUNS),5)

scaling: build ## what a fleet takes: measures, and writes the tables of docs/scaling.md
	COHORT=$(COHORT) benches/scaling/run.py

dist: ## a package for machines like this one
	scripts/dist.sh

clean:
	rm -rf demo-data bench-report.json benches/peers/report.json
