"""Hair: modes that change its volume and hairline, and the styles that fix some of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lineament.heads.builtin.hair import FRINGE_REST_DEPTH, FRINGE_THETA, SKULL_CENTRE
from lineament.heads.builtin.regions import Regions
from lineament.heads.builtin.surface import smooth_step

Array = npt.NDArray[np.float64]

_CUT = {"hair_bald": 0.0, "hair_bob": 0.0, "hair_length": 0.0, "hair_fringe": 0.0}
_STRAIGHT = {"hairline_height": 0.0, "hairline_temples": 0.0}

STYLES: dict[str, dict[str, float]] = {
    "short": _CUT,
    "bald": {**_CUT, "hair_bald": 1.0, "hair_volume": 0.0, "hair_top": 0.0},
    "fringe": {**_CUT, **_STRAIGHT, "hair_fringe": 1.0},
    "bob": {**_CUT, "hair_bob": 1.0, "hair_volume": 0.7},
    "bob_fringe": {**_CUT, **_STRAIGHT, "hair_bob": 1.0, "hair_fringe": 1.0, "hair_volume": 0.5},
    "long": {**_CUT, "hair_length": 1.0, "hair_volume": 0.4},
    "afro": {**_CUT, "hair_volume": 6.5, "hair_top": 0.5},
    "crop": {**_CUT, "hair_volume": -1.6, "hair_top": 0.0, "hair_sides": 0.0, "hair_parting": 0.0},
    "receding": {**_CUT, "hairline_height": 2.2, "hairline_temples": 2.0},
}
"""Hair styles: the coefficients each one fixes; the modes it leaves out are drawn from N(0, 1)."""

STYLE_ONLY = tuple(_CUT)
"""Modes that only a style sets: they run from 0 to 1 and must not be drawn from a Gaussian."""


def hair_modes(r: Regions) -> dict[str, Array]:
    """All hair modes: ``[V, 3]`` millimetres at coefficient 1, by name."""
    grid, mesh = r.hair, r.mesh
    theta, down = grid.theta[None, :], grid.down[:, None]
    cap_fade = (1 - down**4) ** 0.7
    front = np.exp(-((theta / 0.75) ** 2))
    side = np.exp(-(((theta - 1.5) / 0.6) ** 2)) * smooth_step((down - 0.3) / 0.3)

    def on_cap(amount: Array, direction: Array | None = None, crown: Array | None = None) -> Array:
        half = np.zeros((mesh.half_count, 3))
        half[grid.cap] = amount[..., None] * (grid.outward if direction is None else direction)
        if crown is not None:
            half[grid.crown] = crown
        return _both_sides(r, half)

    towards_crown = np.zeros((*grid.cap.shape, 3))
    points = mesh.points
    towards_crown[1:] = points[grid.cap[:-1]] - points[grid.cap[1:]]
    towards_crown /= np.maximum(np.linalg.norm(towards_crown, axis=-1, keepdims=True), 1e-6)
    edge = smooth_step((down - 0.45) / 0.55)
    lift = 6.0 * smooth_step((down - 0.6) / 0.4)
    around = on_cap(lift * smooth_step((theta - 0.9) / 0.12))
    return {
        "hair_volume": on_cap(2.2 * cap_fade * np.ones_like(theta), crown=np.array([0.0, -2.2, 0.0])),
        "hair_top": on_cap(2.2 * cap_fade * front, crown=np.array([0.0, -1.5, 0.0])),
        "hair_sides": on_cap(2.0 * side * cap_fade),
        "hair_parting": _parting(r, 1.3 * cap_fade * np.exp(-(((theta - 0.6) / 0.7) ** 2))),
        "hairline_height": on_cap(4.5 * edge * np.exp(-((theta / 0.9) ** 4)), towards_crown),
        "hairline_temples": on_cap(5.0 * edge * np.exp(-(((theta - 0.55) / 0.22) ** 2)), towards_crown),
        "hair_bald": 0.3 * (SKULL_CENTRE - mesh.points) * r.group("hair")[:, None],
        "hair_bob": _hanging(r, 100.0, 88.0, 18.0) + around,
        "hair_length": _hanging(r, 178.0, 90.0, 6.0) + around,
        "hair_fringe": _skirt(r, *_fringe(r)) + on_cap(lift * (1 - smooth_step((theta - 0.8) / 0.2))),
    }


def _both_sides(r: Regions, half: Array) -> Array:
    full = np.zeros((r.count, 3))
    full[: r.mesh.half_count] = half
    middle = r.mesh.points[: r.mesh.half_count, 0] == 0
    full[: r.mesh.half_count][middle, 0] = 0.0
    full[r.mesh.mirror[: r.mesh.half_count][~middle]] = half[~middle] * [-1.0, 1.0, 1.0]
    return full


def _parting(r: Regions, amount: Array) -> Array:
    """More hair on the person's left of the crown and less on the right."""
    half = np.zeros((r.mesh.half_count, 3))
    half[r.hair.cap] = amount[..., None] * r.hair.outward
    half[r.mesh.points[: r.mesh.half_count, 0] == 0] = 0.0
    full = _both_sides(r, half)
    full[r.mesh.points[:, 0] < 0] *= -1.0
    return full


def _hanging(r: Regions, bottom: float, half_width: float, curl: float) -> Array:
    """``[V, 3]`` offsets that let the skirt hang down around the back and the sides, over flattened ears.

    Args:
        r: The regions of the head.
        bottom: Height y of the tips at the back, millimetres.
        half_width: Half width of the hair beside the ears, millimetres.
        curl: How far the tips turn in, millimetres.
    """
    grid, points = r.hair, r.mesh.points
    rows = grid.skirt.shape[0]
    edge = points[grid.cap[-1]]
    fall = np.linspace(1.0 / rows, 1.0, rows)[:, None]
    angle = np.clip(grid.theta, 1.0, np.pi)[None, :]
    tips = bottom - 6.0 + 6.0 * np.cos(2 * (angle - 1.0))
    swing = smooth_step(fall / 0.34)
    out = half_width - curl * fall**3
    x = out * np.sin(angle) ** 0.7
    reach = np.where(np.cos(angle) > 0, 62.0 - 6.0 * fall, 84.0 - 24.0 * fall - 0.6 * curl * fall**3)
    target = np.stack(
        np.broadcast_arrays(x, edge[:, 1] + (tips - edge[:, 1]) * fall, 84.0 - reach * np.cos(angle)), axis=-1
    )
    for axis in (0, 2):
        target[..., axis] = edge[:, axis] + (target[..., axis] - edge[:, axis]) * swing
    offsets = _skirt(r, target, smooth_step((grid.theta - 0.9) / 0.12))
    # Ears would stand out through the hair that covers them.
    offsets[:, 0] -= r.sign * 0.7 * np.maximum(r.x - 68.0, 0.0) * r.group("ear")
    return offsets


def _fringe(r: Regions) -> tuple[Array, Array]:
    """Targets of the skirt as a fringe over the forehead, and which columns take part."""
    rest = r.mesh.points[r.hair.skirt]
    fall = np.linspace(0.0, 1.0, len(rest))[:, None]
    out = np.zeros_like(rest)
    out[..., 2] = -FRINGE_REST_DEPTH - 6.0 + 1.5 * fall
    return rest + out, (r.hair.theta < FRINGE_THETA).astype(float)


def _skirt(r: Regions, target: Array, columns: Array) -> Array:
    half = np.zeros((r.mesh.half_count, 3))
    rest = r.mesh.points[r.hair.skirt]
    half[r.hair.skirt] = (target - rest) * columns[None, :, None]
    return _both_sides(r, half)
