# Two commands matter: `make demo` and `make test`. Both make .venv by themselves and may be repeated.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JOBS ?= 2
# The folder beside the checkout, where there is one; else the verbs look where `lineament data fetch` writes.
PACKS ?= $(if $(LINEAMENT_PACKS),$(LINEAMENT_PACKS),$(wildcard ../shared/realdata))

.PHONY: demo demo-real models gmpi test test-slow coverage lint format install clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[dev,export]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/lineament demo --out runs/demo --overwrite

demo-real: $(STAMP)
	$(BIN)/lineament demo --real $(if $(PACKS),--packs $(PACKS)) --out runs/demo-real --overwrite

# The models that come with the package, trained again; less than three hours on two cores. Repeated, it goes on.
models: $(STAMP)
	$(BIN)/python scripts/make_models.py $(if $(PACKS),--packs $(PACKS)) --out runs/models

# A small GMPI from nothing, on drawn faces; less than an hour and a half on two cores. Repeated, it goes on.
gmpi: $(STAMP)
	$(BIN)/python scripts/make_gmpi.py $(if $(PACKS),--packs $(PACKS)) --out runs/gmpi64

# One thread for each of the test processes: they share the cores among themselves.
test: $(STAMP) lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

test-slow: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow

# Lines and branches of each room, helper processes included. Compiled kernels are counted in a second run, as plain
# Python and on small cases; those of the GPU in the interpreters that tests/ops starts.
KERNELS := tests/ops/test_cases.py tests/ops/test_texture.py tests/ops/test_nearest.py tests/ops/test_mesh_warp.py \
	tests/ops/test_exchange.py tests/heads tests/synthetic/test_plain_kernels.py
coverage: $(STAMP)
	mkdir -p runs && $(BIN)/coverage erase
	OMP_NUM_THREADS=1 $(BIN)/coverage run -m pytest --timeout 3000
	NUMBA_DISABLE_JIT=1 OMP_NUM_THREADS=1 $(BIN)/coverage run -m pytest $(KERNELS) --timeout 3000
	$(BIN)/coverage combine -q
	$(BIN)/coverage json -q -o runs/coverage.json
	$(BIN)/python tests/coverage_by_room.py runs/coverage.json

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
