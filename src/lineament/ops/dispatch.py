"""Chooses who computes: the reference twin, the numba CPU kernel, or the numba CUDA kernel."""

from __future__ import annotations

import os

from torch import Tensor

from lineament.errors import DataError, UsageError, unknown_name

IMPLEMENTATIONS = ("auto", "reference", "numba", "cuda")


def simulated_cuda() -> bool:
    """Whether numba's CUDA simulator is on, in which case the CUDA kernels run on CPU tensors (slowly; for tests)."""
    return os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")


def choose_implementation(impl: str, *tensors: Tensor) -> str:
    """Resolve ``impl`` for the device of the tensors.

    Args:
        impl: ``"auto"`` (numba on the CPU, cuda on a GPU), ``"reference"``, ``"numba"`` or ``"cuda"``.
        tensors: The arguments of the op.

    Returns:
        ``"reference"``, ``"numba"`` or ``"cuda"``.

    Raises:
        UsageError: If the word is unknown, the tensors are on different devices, or the kernel cannot run there.
    """
    if impl not in IMPLEMENTATIONS:
        raise unknown_name("impl", impl, IMPLEMENTATIONS)
    devices = {tensor.device for tensor in tensors}
    if len(devices) > 1:
        names = ", ".join(sorted(map(str, devices)))
        raise UsageError(f"the arguments are on different devices ({names}): move them to one.")
    kind = devices.pop().type
    if impl == "auto":
        return {"cpu": "numba", "cuda": "cuda"}.get(kind, "reference")
    if impl == "numba" and kind != "cpu":
        raise UsageError(f"impl='numba' runs on the CPU but the tensors are on {kind!r}: use impl='auto'.")
    if impl == "cuda" and kind != "cuda" and not simulated_cuda():
        raise UsageError(
            f"impl='cuda' needs CUDA tensors but these are on {kind!r}: "
            "use impl='auto', or set NUMBA_ENABLE_CUDASIM=1 to simulate the GPU."
        )
    return impl


def refuse_bad_ids(count: int, what: str) -> None:
    """Raise when a CPU kernel met ids that point outside their table.

    Raises:
        DataError: If ``count`` is not zero.
    """
    if count:
        raise DataError(f"{count} entries of {what}: check that mesh and index image belong together.")
