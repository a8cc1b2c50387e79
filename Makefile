# Two commands for a fresh machine: `make race` and `make test`. Each makes its own environment in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := pip --quiet --disable-pip-version-check
EXTRAS := $(shell sed -n '/optional-dependencies/,/^\[project.scripts/s/^\([a-z]*\) = \[.*/\1/p' pyproject.toml)

.PHONY: race test test-quick lint site serve examples resolve test-lowest fuzz faults release clean

race: $(VENV)/installed-race
	$(BIN)/adana race $(ARGS)

# The tests run what users install: the built wheel, which stands before the sources on Python's path.
WHEEL := build/installed
TESTS ?= tests --pyargs adana
test: $(VENV)/installed-dev lint
	rm -rf build
	$(BIN)/$(PIP) wheel --no-deps --wheel-dir build .
	$(BIN)/$(PIP) install --no-deps --target $(WHEEL) build/adana-*.whl
	PYTHONPATH=$(CURDIR)/$(WHEEL) OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadgroup $(TESTS) $(ARGS)

# While you work: the sources as they are, one case of every test that takes no more than a second.
test-quick: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadgroup -m "not slow" $(TESTS) $(ARGS)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Installed anew when what is to be installed changed. The constraints choose torch's CPU build where the
# package index offers it; users of the library are free within the ranges of pyproject.toml.
$(VENV)/installed-race: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/$(PIP) install -c constraints.txt -e '.[report]'
	touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/$(PIP) install -c constraints.txt -e '.[dev]'
	touch $@ $(VENV)/installed-race

# The site, with warnings as errors, into site/.
site: $(VENV)/installed-dev
	$(BIN)/mkdocs build --strict

serve: $(VENV)/installed-dev
	$(BIN)/mkdocs serve

# The examples of other frameworks, with those frameworks, in an environment of their own.
EXAMPLES := .venv-examples
examples: $(EXAMPLES)/installed
	OMP_NUM_THREADS=1 $(EXAMPLES)/bin/pytest tests/examples/test_frameworks.py tests/frameworks tests/models/test_exports.py \
	  tests/cli/test_export.py $(ARGS)

$(EXAMPLES)/installed: pyproject.toml constraints-examples.txt
	$(PYTHON) -m venv $(EXAMPLES)
	$(EXAMPLES)/bin/$(PIP) install -c constraints-examples.txt -e '.[examples]' hypothesis pytest
	# A torchvision for CUDA beside torch's CPU build cannot be imported, and makes every import of transformers fail.
	$(EXAMPLES)/bin/python -c 'import torchvision' 2>/dev/null || $(EXAMPLES)/bin/$(PIP) uninstall --yes torchvision
	touch $@

# Whether the constraints fit every extra; installs nothing.
resolve:
	$(PYTHON) -m venv $(VENV)
	set -e; for extra in $(filter-out examples,$(EXTRAS)); do echo "resolving $$extra"; \
	  $(BIN)/$(PIP) install --dry-run --ignore-installed -c constraints.txt ".[$$extra]"; done

# What the ranges of pyproject.toml promise: everything at its least version. Past a checkpoint and on from it, a short
# race, and tests of what depends on the packages; PYTHON=python3.10 takes the least Python.
LOWEST := .venv-lowest
SMALL := --heads 1 --layers 1 --seq-len 32 --batch-size 2 --text README.md
test-lowest: $(LOWEST)/installed
	rm -rf $(LOWEST)/runs
	for steps in 16 32; do OMP_NUM_THREADS=1 $(LOWEST)/bin/adana train small --lr 1e-3 $(SMALL) --anytime \
	  --warmup-steps 2 --validation-tokens 512 --save-every 8 --steps $$steps --out $(LOWEST)/runs/train || exit 1; done
	OMP_NUM_THREADS=1 $(LOWEST)/bin/adana race $(SMALL) --steps 8 --workers 1 --out $(LOWEST)/runs/race
	OMP_NUM_THREADS=1 $(LOWEST)/bin/pytest -q -p no:cacheprovider -m "not slow" $(or $(ARGS), \
	  tests/cli/test_main.py tests/cli/test_streams.py tests/cli/test_plan.py tests/cli/test_report.py \
	  tests/train/test_checkpoint.py tests/models/test_sizes.py tests/scaling/test_loss.py tests/data)

$(LOWEST)/installed: pyproject.toml
	$(PYTHON) -m venv $(LOWEST)
	grep -oE '"[a-z-]+>=[0-9.]+' pyproject.toml | grep -v triton | tr -d '"' | sed 's/>=/==/' | sort -u \
	  > $(LOWEST)/constraints.txt  # triton is torch's to choose
	$(LOWEST)/bin/$(PIP) install -c $(LOWEST)/constraints.txt -e '.[all]' pytest hypothesis
	touch $@

# Every option of every command at values at the edge; the tests hold a sample of it.
fuzz: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.cli.fuzz $(ARGS)

# Builds what is released, checks it, and tries it where nothing else is installed: a short race and the quick tests
# (`make test` runs all of them on the wheel). Publishes nothing.
RELEASE := .venv-release
release:
	rm -rf dist $(RELEASE)
	$(PYTHON) -m venv $(RELEASE)
	$(RELEASE)/bin/$(PIP) install build twine
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(RELEASE)/bin/python -m build --outdir dist
	$(RELEASE)/bin/twine check --strict dist/*
	$(RELEASE)/bin/$(PIP) install -c constraints.txt "$$(ls $(CURDIR)/dist/*.whl)[dev]"
	cd $$(mktemp -d) && OMP_NUM_THREADS=1 $(CURDIR)/$(RELEASE)/bin/adana race --steps 50
	OMP_NUM_THREADS=1 $(RELEASE)/bin/pytest -n auto --dist loadgroup -m "not slow" tests --pyargs adana $(ARGS)

# Files of runs, data and laws altered byte by byte; runs killed at random moments and resumed. The tests hold a sample.
faults: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.train.damage --out results/damage.json
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.train.kills --out results/kills.json

clean:
	rm -rf $(VENV) $(LOWEST) $(EXAMPLES) .venv-release build dist runs site .pytest_cache .mypy_cache .ruff_cache
