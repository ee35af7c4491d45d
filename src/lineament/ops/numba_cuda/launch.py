"""Runs numba.cuda kernels on torch tensors, on torch's current device and stream.

With NUMBA_ENABLE_CUDASIM=1 (and NUMBA_DISABLE_JIT=1, so that the shared formulas stay plain Python) numba simulates the
GPU and the tensors lie on the CPU.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

from lineament.ops.dispatch import simulated_cuda

# Any: the annotations that numba.cuda carries do not describe what kernels may call.
cuda: Any = importlib.import_module("numba.cuda")

# The simulator starts one Python thread per simulated one.
BLOCK = 16 if simulated_cuda() else 128


def launch(kernel: Any, count: int, tensors: tuple[Tensor, ...], *scalars: Any) -> None:
    """Start ``kernel(*arrays, *scalars)`` with at least ``count`` threads; does nothing for 0.

    Args:
        kernel: A ``cuda.jit`` function.
        count: Number of threads wanted; the kernel must guard against more.
        tensors: Contiguous tensors, all on one device.
        *scalars: Numbers and booleans passed on.
    """
    if count == 0:
        return
    blocks = -(-count // BLOCK)
    if simulated_cuda():
        kernel[blocks, BLOCK](*(tensor.detach().numpy() for tensor in tensors), *scalars)
        return
    device = tensors[0].device
    with torch.cuda.device(device), cuda.gpus[device.index]:
        stream = cuda.external_stream(torch.cuda.current_stream(device).cuda_stream)
        arrays = [_device_array(tensor) for tensor in tensors]
        kernel[blocks, BLOCK, stream](*arrays, *scalars)


def _device_array(tensor: Tensor) -> Any:
    # numba refuses the null pointer of a tensor without elements.
    if tensor.numel() == 0:
        return cuda.device_array(tuple(tensor.shape), dtype=str(tensor.dtype).removeprefix("torch."))
    return cuda.as_cuda_array(tensor.detach(), sync=False)
