"""Bias, leaky rectifier, gain and clamp in one pass over the maps, and its derivative, on the CPU."""

from __future__ import annotations

import numpy as np

from lineament.ops.numba_cpu.compile import kernel, kernel_with


@kernel_with("contract")
def bias_act_rows(
    x: np.ndarray,  # [rows, columns]
    bias: np.ndarray,  # [C]
    out: np.ndarray,  # [rows, columns], written
    channel_of_row: bool,  # whether row r is a map of channel r % C, or column c is channel c
    slope: np.float32,  # below zero; times the gain
    gain: np.float32,  # above zero
    limit: np.float32,
    first: int,
    end: int,
) -> int:
    """Compute rows ``first .. end - 1``."""
    columns = x.shape[1]
    for row in range(first, end):
        if channel_of_row:
            added = bias[row % bias.shape[0]]
            for i in range(columns):
                value = x[row, i] + added
                value *= gain if value > np.float32(0) else slope
                value = limit if value > limit else value
                out[row, i] = -limit if value < -limit else value
        else:
            for i in range(columns):
                value = x[row, i] + bias[i]
                value *= gain if value > np.float32(0) else slope
                value = limit if value > limit else value
                out[row, i] = -limit if value < -limit else value
    return 0


@kernel
def act_slope_rows(
    gradient: np.ndarray,  # [rows, columns]
    out: np.ndarray,  # [rows, columns] what bias_act_rows wrote
    of_x: np.ndarray,  # [rows, columns], written
    slope: np.float32,
    gain: np.float32,
    limit: np.float32,
    first: int,
    end: int,
) -> int:
    """Times the derivative, which the signs and magnitudes of the results tell: rows ``first .. end - 1``."""
    for row in range(first, end):
        for i in range(gradient.shape[1]):
            y = out[row, i]
            factor = gain if y > np.float32(0) else slope
            of_x[row, i] = gradient[row, i] * (factor if abs(y) < limit else np.float32(0))
    return 0
