# Two commands for a fresh machine: `make race` and `make test`. Each makes its own environment in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: race test lint clean

race: $(VENV)/installed-race
	$(BIN)/adana race $(ARGS)

test: $(VENV)/installed-dev lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadgroup $(ARGS)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Installed anew when what is to be installed changed. The constraints choose torch's CPU build where the
# package index offers it; users of the library are free within the ranges of pyproject.toml.
$(VENV)/installed-race: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[report]'
	touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@ $(VENV)/installed-race

clean:
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache
