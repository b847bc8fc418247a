# Two commands do everything, set-up included: `make demo` and `make test`. The rest is listed in CONTRIBUTING.md.
# What is built outside Cargo's target/ and Node's node_modules/ goes below build/.

PYTHON ?= python3
BENCH_PYTHON ?= $(PYTHON)
CC ?= cc
ROUNDS ?=
FILTER ?=
QUICK ?=

VENV := build/venv
BENCH_VENV := build/bench-venv
# pyo3 configures itself for this interpreter; one setting for every cargo call keeps it from rebuilding.
export PYO3_PYTHON := $(abspath $(VENV)/bin/python)

.DEFAULT_GOAL := test
.DELETE_ON_ERROR:
.PHONY: demo test loom random sanitize lint fmt clean build capi python node benches bench bench-core bench-c bench-python bench-node bench-growth

# ---- one line for what is missing, before anything is built ----

needs := $(if $(filter clean,$(or $(MAKECMDGOALS),test)),,$(shell CC='$(CC)' sh tests/need.sh '$(PYTHON)' rust cc python node))
ifneq ($(needs),)
$(error $(needs))
endif

# ---- building ----

NATIVE_SOURCES := Cargo.lock $(shell find Cargo.toml core capi -name '*.rs' -o -name Cargo.toml)
PYTHON_SOURCES := $(NATIVE_SOURCES) $(shell find bindings/python -name '*.rs' -o -name Cargo.toml -o -name pyproject.toml)
NODE_SOURCES := $(NATIVE_SOURCES) $(shell find bindings/node -name node_modules -prune -o -name '*.rs' -print -o -name Cargo.toml -print)

build: capi python node

LIBRARY := target/release/libruntime.so
EXAMPLES_C := $(patsubst examples/c/%.c,build/c/%,$(wildcard examples/c/*.c))

capi: $(LIBRARY) $(EXAMPLES_C)

$(LIBRARY): $(NATIVE_SOURCES)
	cargo build --release --locked -p libruntime
	@ln -sf $(@F) $@.0
	@touch $@

build/c/%: examples/c/%.c include/libruntime/runtime.h include/runtime.h $(LIBRARY)
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 -g -Wall -Wextra -Werror -Iinclude $< -o $@ -Ltarget/release -lruntime -lpthread \
		-Wl,-rpath,'$$ORIGIN/../../target/release'

$(VENV)/.installed: tests/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@

python: build/.python
build/.python: $(VENV)/.installed $(PYTHON_SOURCES)
	VIRTUAL_ENV=$(abspath $(VENV)) $(VENV)/bin/maturin develop --quiet --release --locked -m bindings/python/Cargo.toml
	@touch $@

node: build/.node
build/.npm: bindings/node/package-lock.json bindings/node/package.json examples/node/package-lock.json
	@mkdir -p $(@D)
	npm ci --prefix bindings/node --no-audit --no-fund --loglevel=error
	npm ci --prefix examples/node --no-audit --no-fund --loglevel=error
	@touch $@
build/.node: build/.npm $(NODE_SOURCES)
	npm run --prefix bindings/node --silent build
	@touch $@

# ---- running ----

demo: build
	$(VENV)/bin/python tests/demo/demo.py

test: build
	$(VENV)/bin/python tests/run.py

lint: build
	$(VENV)/bin/python tests/run.py lint

fmt: $(VENV)/.installed
	cargo fmt --all
	$(VENV)/bin/ruff format --quiet benches tests bindings/python examples/python

# The long form: with three preemptions, each model for MODEL_SECONDS at most; those that would have gone on are named.
# `make test` runs all of them to their ends with two.
MODEL_SECONDS ?= 600
loom:
	LOOM_MAX_PREEMPTIONS=3 LOOM_MAX_DURATION=$(MODEL_SECONDS) RUSTFLAGS="--cfg loom" cargo test --locked -p libruntime-core --lib --release --target-dir target/loom loom_

# Random programs against a shadow model, with seeds that no run has had, for SECONDS.
SECONDS ?= 600
random:
	LIBRUNTIME_SECONDS=$(SECONDS) cargo test --locked --release -p libruntime-core --test random_schedules

# The Rust tests under AddressSanitizer with leak checks, ThreadSanitizer and valgrind; the C programs under the first
# and the last. All of them run, whatever the others say.
sanitize:
	@failed=; \
	for part in 'sanitize/sanitize.py asan' 'sanitize/sanitize.py tsan' 'sanitize/sanitize.py valgrind' \
		'c/run.py --mode asan' 'c/run.py --mode valgrind'; do \
		$(PYTHON) tests/$$part || failed="$$failed $$part;"; \
	done; [ -z "$$failed" ] || { echo "failed: $$failed"; exit 1; }

# ---- measuring; benches/README.md ----

BENCH = cd benches && ../$(VENV)/bin/python -m harness $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(FILTER),--filter '$(FILTER)') $(if $(QUICK),--quick)

bench: bench-programs-core bench-programs-c bench-programs-python bench-programs-node
	$(BENCH) $(if $(FILTER)$(QUICK),,--publish)

bench-core bench-c bench-python bench-node bench-growth: bench-%: bench-programs-%
	$(BENCH) $*

.PHONY: bench-programs-core bench-programs-c bench-programs-python bench-programs-node bench-programs-growth
# Twice: tokio's unstable settings are there in a build of their own.
bench-programs-core: bench-programs-c
	cargo build --release --locked -p bench-core
	RUSTFLAGS="--cfg tokio_unstable" cargo build --release --locked -p bench-core --target-dir target/tokio-unstable
bench-programs-growth: bench-programs-core
bench-programs-c: $(VENV)/.installed capi
	$(MAKE) --no-print-directory -C benches/c
bench-programs-python: bench-programs-c build/.bench-python
bench-programs-node: bench-programs-c node

$(BENCH_VENV)/.installed: benches/requirements.txt
	$(BENCH_PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/pip install --quiet --disable-pip-version-check -r benches/requirements.txt
	@touch $@
build/.bench-python: export PYO3_PYTHON := $(abspath $(BENCH_VENV)/bin/python)
build/.bench-python: $(BENCH_VENV)/.installed $(PYTHON_SOURCES)
	VIRTUAL_ENV=$(abspath $(BENCH_VENV)) $(BENCH_VENV)/bin/maturin develop --quiet --release --locked -m bindings/python/Cargo.toml
	@touch $@

clean:
	rm -rf build target benches/c/libuv/target bindings/node/node_modules examples/node/node_modules
