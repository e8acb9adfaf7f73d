# `make demo` shows the system at work; `make test` proves it. Both make .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SOURCES := setup.py pyproject.toml

# PanDA's own programs, which the tests run against the server: each in a folder of its own under $(VENV).
PANDA_CLIENTS := 2.2.0 2.0.1 1.7.6 1.6.18
PANDA_PILOT := 3.7.0.36
PANDA_PROGRAMS := $(PANDA_CLIENTS:%=$(VENV)/panda-client-%/.installed) $(VENV)/panda-pilot-$(PANDA_PILOT)/.installed

.PHONY: help demo test fuzz chaos panda pictures lint bench bench-quick clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

demo: $(VENV)/.installed  ## start everything, run a task over real files (IN=<folder>), show its outputs
	@$(BIN)/bamboo demo $(if $(IN),--in "$(IN)") $(if $(STATE),--state "$(STATE)")

test: $(VENV)/.test-installed $(PANDA_PROGRAMS)  ## run the whole suite, on SQLite and a real PostgreSQL, pages in Chromium
	@command -v chromium chromium-browser google-chrome > /dev/null || echo "no Chromium: pages will not be looked at (apt-get install chromium)"
	$(BIN)/pytest -n 2 --dist worksteal

fuzz: $(VENV)/.test-installed  ## make up TIMES=<n> (5) times as many inputs as the suite, and always other ones
	BAMBOO_FUZZ=$(or $(TIMES),5) $(BIN)/pytest -n 2 --dist worksteal $(wildcard tests/*/test_*_fuzz.py) tests/server/test_faults.py

chaos: $(VENV)/.test-installed  ## kill a private system 1000 times (KILLS=<n>) on SQLite and PostgreSQL, and at each crash point; write docs/trust_campaign.md
	$(BIN)/bamboo doctor chaos --kills $(or $(KILLS),1000) --report docs/trust_campaign.md
	$(BIN)/bamboo doctor chaos --kills $(or $(KILLS),1000) --report docs/trust_campaign.md --postgres
	CRASH_POINTS_REPORT=$(CURDIR)/docs/trust_campaign.md $(BIN)/pytest -k test_the_whole_matrix tests/flows/test_crash_points.py

panda: $(PANDA_PROGRAMS)  ## install PanDA's own client and pilot for the tests, beside ours

pictures: $(VENV)/.test-installed  ## take the pictures of docs/pictures anew, of a system that is at work (needs Chromium)
	PYTHONPATH=tests/helpers $(BIN)/python docs/pictures.py

lint: $(VENV)/.test-installed  ## check style, types and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p $(VENV)/lint && ln -sfn "$(CURDIR)" $(VENV)/lint/bamboo
	MYPYPATH=$(VENV)/lint:tests/helpers $(BIN)/mypy --config-file pyproject.toml --cache-dir $(VENV)/mypy -p bamboo
	$(BIN)/lint-imports --no-cache

bench: $(VENV)/.test-installed  ## measure (ONLY=<name> for one; docs/performance.md), keep the figures in benchmarks/history.jsonl
	$(BIN)/python -m bamboo.benchmarks $(or $(ONLY),all)

bench-quick: $(VENV)/.test-installed  ## the same in seconds each: whether it works, not how fast
	$(BIN)/python -m bamboo.benchmarks $(or $(ONLY),all) --quick

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Bamboo needs Python 3.11 or later: make PYTHON=python3.11 ..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.test-installed: $(VENV)/bin/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@ $(VENV)/.installed

$(VENV)/panda-client-%/.installed: | $(VENV)/bin/python
	$(PYTHON) -m venv --clear --without-pip $(@D)
	$(BIN)/python -m pip --python $(@D)/bin/python install --quiet --disable-pip-version-check panda-client==$*
	@touch $@

# The wheel lacks pilot.py: it takes the source distribution (which pip asks for its name and version).
$(VENV)/panda-pilot-%/.installed: | $(VENV)/bin/python
	rm -rf $(@D) && mkdir -p $(@D)
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --no-binary panda-pilot --dest $(@D) panda-pilot==$*
	tar xzf $(@D)/*.tar.gz -C $(@D) --strip-components 1
	@touch $@

clean:  ## remove .venv and what demo and tests made
	rm -rf $(VENV) bamboo-demo build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
