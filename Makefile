# make test     everything that says whether the program works; CI runs it too
# make bench    speed, size and memory, printed and never judged
# make demo     the main job, played on loopback stand-ins of AWS and Kubernetes
# make dist     the release's files for this platform, into target/dist
# make release-rehearsal  all of a release but publishing it, into target/rehearsal; takes a release build (docs/releasing.md)
# make testbed  only the real programs that the end-to-end tests run against, into target/testbed
# make deny     licences, advisories, sources and bans of the dependencies (cargo install cargo-deny --locked)
# make record-karpenter  what Karpenter's controller leaves behind in a cluster, into tests/fixtures; takes 35 minutes
# make fault-matrix  every call of a run meets every fault, in every authentication mode
# make fuzz-authenticator [DOCUMENTS=N]  our aws-auth rules against the authenticator's own code, for long
# make fuzz-nodepools [POOLS=N]  what we make of NodePools against Karpenter's own code, for long

.PHONY: help fault-matrix deny test testbed build lint lint-workflows run-tests bench demo dist release-rehearsal fuzz-authenticator fuzz-nodepools record-karpenter

CARGO ?= cargo
PYTHON ?= python3
DOCUMENTS ?= 1000000
POOLS ?= 1000000

# What could not be run and why, one line each; the tests add theirs.
NOT_RUN := target/testbed/not-run.txt

# The linters of workflows, from the test bed.
ZIZMOR := target/testbed/venv/bin/zizmor
ACTIONLINT := target/testbed/bin/actionlint
WORKFLOWS := $(wildcard .github/workflows/*.yml examples/*.workflow.yml)

# The API server's Go build takes longest, so it starts first, and the Rust build runs beside it.
test:
	@mkdir -p $(dir $(NOT_RUN)) && rm -f $(NOT_RUN)
	@$(MAKE) --no-print-directory -j2 testbed build
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory run-tests
	@if [ -s $(NOT_RUN) ]; then \
	    sed 's/^/make test: /' $(NOT_RUN); echo "make test: passed, but for what the lines above name"; \
	else \
	    echo "make test: passed, everything was run"; \
	fi

testbed:
	@$(PYTHON) tests/testbed/provision.py

build:
	@$(CARGO) test --workspace --locked --no-run

# $(1): cargo's subcommand, $(2): its arguments, $(3): the rustup component that brings it
define lint-by
	@if $(CARGO) $(1) --version >/dev/null 2>&1; then \
	    $(CARGO) $(1) $(2); \
	elif [ "$$CI" = true ]; then \
	    echo "cargo $(1) is not installed (rustup component add $(3))" >&2; exit 1; \
	else \
	    echo "cargo $(1): not run: not installed (rustup component add $(3))" >> $(NOT_RUN); \
	fi
endef

lint:
	@mkdir -p $(dir $(NOT_RUN))
	$(call lint-by,fmt,--all --check,rustfmt)
	@$(MAKE) --no-print-directory lint-workflows
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny check bans licenses sources; fi
	$(call lint-by,clippy,--workspace --all-targets --locked --quiet -- -D warnings,clippy)

# Workflows, the Action and shell scripts.
lint-workflows:
	@if [ -x $(ZIZMOR) ]; then $(ZIZMOR) --offline --quiet .github action.yml examples/*.workflow.yml; fi
	@if [ -x $(ACTIONLINT) ]; then $(ACTIONLINT) $(WORKFLOWS); fi
	@if command -v shellcheck >/dev/null; then shellcheck packaging/install/*.sh plugin.complete kubectl_complete-capt_spot .ci/run; fi

run-tests:
	@$(CARGO) test --workspace --locked

# The shell pipeline that the benchmark compares with is made of the test bed's kubectl and AWS CLI.
bench: testbed
	@$(CARGO) bench --locked --bench preflight

demo:
	@$(CARGO) run --locked --quiet --example demo

dist:
	@$(PYTHON) packaging/dist.py

release-rehearsal: testbed
	@$(PYTHON) packaging/rehearse.py

fuzz-authenticator: testbed
	@CAPT_SPOT_FUZZ_DOCUMENTS=$(DOCUMENTS) $(CARGO) test --locked -p eks-aws-auth --test oracle -- --nocapture

fuzz-nodepools: testbed
	@CAPT_SPOT_FUZZ_POOLS=$(POOLS) $(CARGO) test --locked --test it nodepool_oracle -- --nocapture

# Every world at once. Reports are not judged for the records' sake: a wrong verdict fails here, and the record is written.
record-karpenter: testbed
	@CAPT_SPOT_RECORD_KARPENTER=1 $(CARGO) test --locked --test it e2e_karpenter -- --include-ignored

fault-matrix:
	@CAPT_SPOT_FAULT_MATRIX=1 $(CARGO) test --locked --test it fault_matrix -- --nocapture

# By deny.toml.
deny:
	@$(CARGO) deny check

help:
	@sed -n 's/^# //p; /^$$/q' $(firstword $(MAKEFILE_LIST))
