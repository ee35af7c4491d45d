"""What the device can do at best: matrix products and copies, which the shares of other benches are taken of."""

from __future__ import annotations

from typing import Any

import torch

from lineament.pipeline.bench.timing import measure, report

# Sides of the square products, and bytes copied: large enough that starting a kernel does not count.
PRODUCT_SIDE = {"cpu": 1024, "cuda": 8192}
COPIED_BYTES = {"cpu": 2**28, "cuda": 2**31}


def run(*, device: str = "cpu", repeats: int = 20) -> dict[str, Any]:
    """Measure the ceilings.

    Args:
        device: Where.
        repeats: Timed calls of each.

    Returns:
        Headline: the single-precision product (TF32 off). ``product_gflops`` and ``product_bf16_gflops``: billions of
        operations a second, a multiplication and an addition counted as two; ``copy_gb_s``: billions of bytes a second,
        read and written ones both counted.
    """
    kind = "cuda" if device.startswith("cuda") else "cpu"
    side, size = PRODUCT_SIDE[kind], COPIED_BYTES[kind]
    # Full products of single precision are what our kernels and networks ask for.
    allowed = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        single = torch.randn(side, side, device=device)
        half = single.bfloat16()
        out, half_out = torch.empty_like(single), torch.empty_like(half)
        product = measure(lambda: torch.mm(single, single, out=out), repeats=repeats, device=device)
        half_product = measure(lambda: torch.mm(half, half, out=half_out), repeats=repeats, device=device)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = allowed
    source = torch.zeros(size // 4, device=device)
    goal = torch.empty_like(source)
    copy = measure(lambda: goal.copy_(source), repeats=repeats, device=device)
    operations = 2 * side**3 / 1e6
    return report(
        f"float32 matrix product of {side} x {side}; the same in bfloat16; a copy of {size / 1e6:.0f} MB",
        product,
        product_gflops=operations / product.min_ms,
        product_bf16_gflops=operations / half_product.min_ms,
        copy_gb_s=2 * size / 1e6 / copy.min_ms,
    )
