# Two commands matter: `make demo` and `make test`. Both make .venv by themselves and may be repeated.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JOBS ?= 2
PACKS ?= $(if $(LINEAMENT_PACKS),$(LINEAMENT_PACKS),../shared/realdata)

.PHONY: demo demo-real test test-slow lint format install clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[dev]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/lineament demo --out runs/demo --overwrite

demo-real: $(STAMP)
	$(BIN)/lineament demo --real --packs $(PACKS) --out runs/demo-real --overwrite

# One thread for each of the test processes: they share the cores among themselves.
test: $(STAMP) lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

test-slow: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow

lint: $(STAMP)
	$(BIN)/ruff format --check src tests scripts
	$(BIN)/ruff check src tests scripts
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format src tests scripts
	$(BIN)/ruff check --fix src tests scripts

clean:
	rm -rf $(VENV) build src/*.egg-info
