"""Backend dispatch: the reference twin, the numba CPU kernel, or the numba CUDA kernel."""

from __future__ import annotations

import os
from collections.abc import Sequence

from torch import Tensor

from lineament.errors import DataError, UsageError, unknown_name

IMPLEMENTATIONS = ("auto", "reference", "numba", "cuda")


def simulated_cuda() -> bool:
    """Whether numba's CUDA simulator is on, in which case the CUDA kernels run on CPU tensors (slowly; for tests)."""
    return os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")


def device_of(impl: str, implementations: Sequence[str], *tensors: Tensor) -> str:
    """Check the word for who computes, and that the arguments are in one place.

    Args:
        impl: What the caller asks for.
        implementations: What the op has.
        tensors: The arguments of the op.

    Returns:
        Kind of the device of all tensors, ``"cpu"``, ``"cuda"`` ...

    Raises:
        UsageError: If the word is unknown or the tensors are on different devices.
    """
    if impl not in implementations:
        raise unknown_name("impl", impl, implementations)
    devices = {tensor.device for tensor in tensors}
    if len(devices) > 1:
        names = ", ".join(sorted(map(str, devices)))
        raise UsageError(f"the arguments are on different devices ({names}): move them to one.")
    return devices.pop().type


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
    kind = device_of(impl, IMPLEMENTATIONS, *tensors)
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


def refuse_bad_tables(faces: Tensor, vertices: int, index: Tensor | None = None) -> None:
    """The same check for the reference twins, which would otherwise fail with an indexing error.

    Args:
        faces: ``[1 or N, F, 3]``.
        vertices: Number of vertices.
        index: ``[N, H, W]`` or None.

    Raises:
        DataError: If a face names a missing vertex, or the index image a missing face.
    """
    if index is not None:
        refuse_bad_ids(
            int((index >= faces.shape[1]).sum()), f"index name faces outside 0..{faces.shape[1] - 1}"
        )
    what = (
        f"faces name vertices outside 0..{vertices - 1}"
        if index is None
        else "index name vertices that do not exist"
    )
    refuse_bad_ids(int(((faces < 0) | (faces >= vertices)).any(-1).sum()), what)
