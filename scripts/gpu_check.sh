#!/usr/bin/env bash
# Checks the GPU kernels on a machine with one: parity and gradients, benches with their ceilings, tiny trainings, and
# the landmark model that comes with the package, from drawing its faces to packing it, with few steps.
# Ends within nine minutes with one line of JSON; exit code 0 when everything agreed. See docs/benchmarks.md.
#
#   scripts/gpu_check.sh --fetch     where there is a network: puts the wheels that the machine may lack into .gpu/
#   scripts/gpu_check.sh             on the machine: uses its python3 with torch, and .gpu/ for what it lacks
#   scripts/gpu_check.sh --only face-68   trains that model whole, with the data packs that lie in .gpu/packs
#   scripts/gpu_check.sh --dry-run   prints what would run; --device cpu --only NAME ... runs parts without a GPU
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

WHEELS=${GPU_CHECK_WHEELS:-.gpu}
PYTHON=${PYTHON:-python3}
# Versions are those of constraints.txt; all else (torch, triton, numba, scipy, pytest ...) is there with torch.
PACKAGES=(tyro docstring_parser typeguard lightning-fabric lightning-utilities trimesh mtcnn lz4 joblib pyarrow
    safetensors)

if [[ "${1:-}" == --fetch ]]; then
    mkdir -p "$WHEELS"
    for name in "${PACKAGES[@]}"; do
        pin=$(grep -i "^${name}==" constraints.txt || echo "$name")
        "$PYTHON" -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
            --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
            -d "$WHEELS" "$pin"
    done
    du -sh "$WHEELS"
    exit
fi

export PYTHONPATH="$PWD/src:$PWD"
if compgen -G "$WHEELS/*.whl" >/dev/null; then
    SITE=$(mktemp -d)
    trap 'rm -rf "$SITE"' EXIT
    "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$SITE" "$WHEELS"/*.whl
    # Behind what the machine has of its own.
    export GPU_CHECK_SITE=$SITE
fi
"$PYTHON" scripts/gpu_check.py "$@"
