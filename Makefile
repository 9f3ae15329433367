# Two commands matter: `make demo` and `make test`. Both make what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test duckdb-newest lint soak check browser bench bench-peers clean

demo: $(VENV)/.demo
	@mkdir -p .wfkernel/demo
	@echo "== running notebooks/flights.ipynb until somebody has to approve its numbers"
	@$(BIN)/wf run notebooks/flights.ipynb -p 'report_dir=.wfkernel/demo/reports' -o .wfkernel/demo/flights.ipynb; \
	  status=$$?; [ $$status -eq 75 ] || { echo "expected the run to suspend (75), it ended with $$status"; exit 1; }
	@echo "== approving them, in a fresh process"
	@$(BIN)/wf resume latest --data '{"approve": true}'
	@echo "finished notebook: $(CURDIR)/.wfkernel/demo/flights.ipynb"
	@echo "the run:           $(BIN)/wf show latest     (store: $$($(BIN)/wf db path))"

# Compiled beforehand: where imports may not write bytecode (CI), each of hundreds of processes would compile wfkernel anew.
test: lint $(VENV)/.test browser
	$(BIN)/python -m compileall -q wfkernel tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check wfkernel tests
	$(BIN)/mypy

# The store on the newest DuckDB there is, which lies in a folder of its own in front of the environment's;
# `make duckdb-newest STORE_TESTS=tests/store` for all of its tests.
STORE_TESTS ?= $(addprefix tests/store/test_,$(addsuffix .py,store durability fsck salvage migrations checkpoints claims context second_look sql views undo))
duckdb-newest: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --upgrade --no-deps --target .duckdb-newest duckdb
	PYTHONPATH=$(CURDIR)/.duckdb-newest:$(CURDIR) $(BIN)/python -m pytest -n 2 --dist loadfile $(STORE_TESTS)

# Timings, printed; no test asserts a time.
bench: $(VENV)/.test
	for name in import_time step_overhead stop_latency frame_checkpoint engine workers store_steps load_yaml context_recall context_search run_view latencies commands many_processes; do \
	  echo "== $$name"; $(BIN)/python -m tests.benchmarks.$$name || exit 1; done

# The same work in other engines, each installed in a folder of its own (~/.cache/wfkernel-peers).
bench-peers: $(VENV)/.test
	$(BIN)/python -m tests.benchmarks.peers --install

# The features with each ipykernel and front end they are promised for; brings the table in the README up to date.
test-kernels: $(VENV)/.test browser
	$(BIN)/python -m tests.front_ends --write

# Only for who changes the JupyterLab extension: what is built is committed, installing it needs no node.
labextension: $(VENV)/.test
	$(BIN)/python -m pip install --quiet 'jupyter-builder>=1.2,<2'
	$(BIN)/python labextension/build.py
	$(BIN)/python -m pip install --quiet --no-deps --editable .

# Processes killed, frozen and starved of disk, bytes flipped; `make soak SECONDS=3600` for longer.
SECONDS ?= 300
soak: $(VENV)/.test
	$(BIN)/python -m tests.soak --seconds $(SECONDS)

# The browser tests drive the Chromium of the distribution.
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || { \
	  if [ "$$(id -u)" = 0 ]; then sudo=; else sudo=sudo; fi; \
	  $$sudo apt-get update -qq && $$sudo apt-get install -y -qq chromium; }

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[demo]'
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[demo,test]'
	@touch $@

clean:
	rm -rf $(VENV) .duckdb-newest .wfkernel .pytest_cache .mypy_cache .ruff_cache .hypothesis
