"""Registers kernels with torch under the namespace ``lineament``.

``torch.library.custom_op`` would do the same, but imports torch's compiler on the first call (1 to 2 s in every
process); the lower level used here does not, and calls faster.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable

_library = torch.library.Library("lineament", "FRAGMENT")


def register_op(
    schema: str,
    kernel: Callable[..., Any],
    fake: Callable[..., Any],
    *,
    backward: Callable[..., Any] | None = None,
    save: Callable[..., None] | None = None,
) -> Callable[..., Any]:
    """Define ``torch.ops.lineament.<name>``.

    Args:
        schema: Name, arguments and results, for example ``"double(Tensor x) -> Tensor"``.
        kernel: Computes the results on any device.
        fake: Gives empty results of the right shape and type; lets ``torch.compile`` and ``torch.export`` trace the op.
        backward: ``(ctx, *gradients of the results) -> gradients of the arguments``; None: not differentiable.
            Gradients of gradients raise ``RuntimeError``, where torch by itself would give a part of them.
        save: ``(ctx, arguments, results)`` keeps what ``backward`` needs.

    Returns:
        The op, to be called with positional arguments.
    """
    name = schema.split("(", 1)[0]
    _library.define(schema)
    _library.impl(name, kernel, "CompositeExplicitAutograd")
    torch.library.register_fake(f"lineament::{name}", fake, lib=_library)
    if backward is not None:
        once = once_differentiable(backward)
        torch.library.register_autograd(f"lineament::{name}", once, setup_context=save, lib=_library)
    op: Callable[..., Any] = getattr(torch.ops.lineament, name).default
    return op
