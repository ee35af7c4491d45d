"""The expressions of the built-in head: what each moves at full activation, and which pairs need a correction."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lineament.heads.builtin.lids import close_lids, slide_lids
from lineament.heads.builtin.regions import JAW_HINGE, Regions
from lineament.heads.builtin.surface import smooth_step

Array = npt.NDArray[np.float64]

GAZE_LIMITS = {
    "gaze_left": (np.radians(28.0), 0.0),
    "gaze_right": (-np.radians(28.0), 0.0),
    "gaze_up": (0.0, -np.radians(20.0)),
    "gaze_down": (0.0, np.radians(24.0)),
}
"""Yaw and pitch in radians of each gaze expression; left is the person's own, the image right."""

JAW_OPEN_ANGLE = np.radians(17.0)


def _xyz(r: Regions, x: Array | float = 0.0, y: Array | float = 0.0, z: Array | float = 0.0) -> Array:
    offsets = np.zeros((r.count, 3))
    offsets[:, 0] = x * r.sign
    offsets[:, 1] = y
    offsets[:, 2] = z
    return offsets


def _jaw_turn(r: Regions, angle: float) -> Array:
    """Offsets of the lower jaw turned open about its hinge by an angle in radians."""
    relative = r.mesh.points - JAW_HINGE
    cosine, sine = np.cos(angle), np.sin(angle)
    turned = np.stack(
        [
            relative[:, 0],
            cosine * relative[:, 1] - sine * relative[:, 2],
            sine * relative[:, 1] + cosine * relative[:, 2],
        ],
        axis=1,
    )
    return (turned - relative) * r.jaw[:, None]


def _jaw(r: Regions) -> dict[str, Array]:
    opened = _jaw_turn(r, JAW_OPEN_ANGLE)
    stretched = np.exp(-(((r.x - 27.0) / 16.0) ** 2) - ((r.y - 72.0) / 22.0) ** 2) * r.face
    opened += _xyz(r, x=-2.6 * stretched, z=1.5 * stretched)
    sideways = np.zeros((r.count, 3))
    sideways[:, 0] = 7.0 * r.jaw
    return {
        "jaw_open": opened,
        "jaw_left": sideways,
        "jaw_right": -sideways,
        "jaw_forward": _xyz(r, z=-4.5 * r.jaw, y=0.8 * r.jaw),
    }


def _lips(r: Regions) -> dict[str, Array]:
    x, y = r.x, r.y
    upper_side, lower_side = 1 - r.jaw, r.jaw
    ring = np.exp(-((x / 27.0) ** 4) - ((y - 67.0) / 15.0) ** 4) * r.face
    near = np.exp(-((x / 31.0) ** 4) - ((y - 67.0) / 21.0) ** 4) * r.face
    upper = r.hill((0.0, 61.0), (18.0, 9.0)) * upper_side
    lower = r.hill((0.0, 75.0), (18.0, 9.0)) * lower_side
    red = r.group(*(f"lip_{k}" for k in range(7)), "bag_0").astype(float)
    inward = smooth_step((red * 10.0 - np.abs(y - 67.0)) / 10.0)
    cheeks = r.hill((46.0, 64.0), (19.0, 19.0))
    return {
        "pucker": _xyz(
            r, x=-0.40 * x * ring, y=-0.10 * (y - 67.0) * ring, z=-6.5 * near * (1 - 0.35 * (x / 30.0))
        ),
        "funnel": _xyz(
            r,
            x=-0.30 * x * ring,
            y=5.5 * lower - 4.5 * upper,
            z=-5.5 * near * (1 - 0.3 * (x / 30.0)) - 1.0 * (upper + lower),
        ),
        "lip_press": _xyz(
            r,
            x=0.03 * x * ring,
            y=(67.0 - y) * 0.35 * red * smooth_step((26.0 - x) / 10.0),
            z=2.4 * inward * smooth_step((26.0 - x) / 10.0),
        ),
        "upper_lip_raise": _xyz(r, y=-6.5 * upper - 1.2 * r.hill((17.0, 44.0), (9.0, 12.0)), z=-0.8 * upper),
        "lower_lip_down": _xyz(r, y=6.5 * lower + 1.0 * r.hill((0.0, 88.0), (18.0, 9.0)), z=0.6 * lower),
        "chin_raise": _xyz(
            r, y=-3.2 * r.hill((0.0, 86.0), (20.0, 15.0)) * lower_side - 1.6 * upper, z=-2.2 * lower
        ),
        "cheek_puff": _xyz(r, x=6.0 * cheeks, z=-5.0 * cheeks - 1.2 * ring),
    }


def _smile_and_frown(r: Regions) -> dict[str, Array]:
    corner = r.hill((26.0, 67.0), (15.0, 13.0))
    cheek = r.hill((41.0, 36.0), (17.0, 17.0))
    fold = r.hill((33.0, 53.0), (6.0, 14.0))
    chin = r.hill((24.0, 84.0), (13.0, 10.0))
    under_eye = r.hill((34.0, 11.0), (14.0, 6.0))
    smile = _xyz(
        r,
        x=8.0 * corner + 2.0 * cheek,
        y=-6.5 * corner - 4.0 * cheek - 1.2 * under_eye,
        z=5.5 * corner - 3.2 * cheek + 1.2 * fold,
    )
    stretch = _xyz(r, x=9.0 * corner, y=1.2 * corner, z=6.0 * corner + 0.8 * fold)
    frown = _xyz(r, x=1.0 * corner, y=6.0 * corner + 1.5 * chin, z=1.0 * corner - 0.8 * chin)
    dimple = _xyz(r, x=3.5 * corner, z=3.5 * corner)
    return _halves(r, {"smile": smile, "frown": frown, "mouth_stretch": stretch, "dimple": dimple})


def _halves(r: Regions, fields: dict[str, Array], width: float = 14.0) -> dict[str, Array]:
    """Each field cut into the person's left and right half, which add up to the whole."""
    left = r.left(width)[:, None]
    halves: dict[str, Array] = {}
    for name, field in fields.items():
        halves[f"{name}_left"] = field * left
        halves[f"{name}_right"] = field * (1 - left)
    return halves


def _brows(r: Regions) -> dict[str, Array]:
    brow = r.hill((36.0, -24.0), (26.0, 13.0))
    inner = r.hill((14.0, -22.0), (15.0, 14.0))
    lid = r.hill((33.0, -10.5), (17.0, 5.0))
    forehead = r.hill((28.0, -48.0), (30.0, 15.0))
    fields = {
        "brow_up": _xyz(r, y=-6.5 * brow - 2.0 * forehead - 1.2 * lid, z=0.5 * brow),
        "brow_down": _xyz(
            r, x=-2.6 * inner, y=5.0 * r.hill((24.0, -23.0), (22.0, 11.0)) + 1.2 * lid, z=-1.8 * inner
        ),
    }
    modes = _halves(r, fields)
    modes["brow_inner_up"] = _xyz(
        r, x=-1.0 * inner, y=-6.5 * inner - 1.5 * r.hill((12.0, -44.0), (20.0, 15.0))
    )
    return modes


def _nose_and_squint(r: Regions) -> dict[str, Array]:
    wings = r.hill((14.0, 38.0), (8.0, 11.0))
    flank = r.hill((11.0, 12.0), (8.0, 14.0))
    cheek = r.hill((38.0, 24.0), (18.0, 12.0))
    upper_lip = r.hill((16.0, 52.0), (10.0, 8.0)) * (1 - r.jaw)
    frown = r.hill((12.0, -18.0), (12.0, 8.0))
    wrinkle = _xyz(
        r,
        x=0.8 * wings,
        y=-3.2 * wings - 1.6 * flank - 1.6 * upper_lip + 1.5 * frown,
        z=-0.9 * flank,
    )
    squint = slide_lids(r, 0.8, -2.6)
    squint = squint + squint[r.mesh.mirror] * [-1.0, 1.0, 1.0]
    squint += _xyz(r, y=-2.6 * cheek, z=-1.5 * cheek) * (1 - _lid_zone(r))[:, None]
    flare = _xyz(r, x=1.7 * wings, z=0.3 * wings)
    modes = _halves(r, {"squint": squint})
    modes["nose_wrinkle"] = wrinkle
    modes["nostril_flare"] = flare
    return modes


def _lid_zone(r: Regions) -> Array:
    zone = np.zeros(r.count)
    for ring in range(6):
        ids = r.mesh.groups[f"lid_ring_{ring}"]
        zone[ids] = zone[r.mesh.mirror[ids]] = 1.0 - ring / 6.0
    return zone


def _lids(r: Regions) -> dict[str, Array]:
    def mirrored(left: Array) -> Array:
        return left[r.mesh.mirror] * [-1.0, 1.0, 1.0]

    close, wide = close_lids(r), slide_lids(r, -2.2, 0.7)
    down, up = slide_lids(r, 3.6, 1.6), slide_lids(r, -2.0, -0.6)
    still = np.zeros((r.count, 3))
    return {
        "lid_close_left": close,
        "lid_close_right": mirrored(close),
        "lid_wide_left": wide,
        "lid_wide_right": mirrored(wide),
        "gaze_left": still,
        "gaze_right": still.copy(),
        "gaze_up": up + mirrored(up),
        "gaze_down": down + mirrored(down),
    }


def expression_modes(r: Regions) -> dict[str, Array]:
    """All expressions: ``[V, 3]`` millimetres at activation 1, by name."""
    modes: dict[str, Array] = {}
    for family in (_jaw, _lips, _smile_and_frown, _brows, _nose_and_squint, _lids):
        modes.update(family(r))
    attached = {name: r.attach(field) for name, field in modes.items()}
    for field in attached.values():
        field[r.group("eye")] = 0.0
    return attached


def corrective_modes(r: Regions, modes: dict[str, Array]) -> dict[tuple[str, str], Array]:
    """``[V, 3]`` offsets for products of two activations, by the names of the two.

    Two expressions that move the same skin the same way add up to too much; the product takes the surplus back.
    """
    corrections: dict[tuple[str, str], Array] = {}
    for side in ("left", "right"):
        corrections[(f"lid_close_{side}", f"squint_{side}")] = -_on_lids(r, modes[f"squint_{side}"])
        corrections[(f"lid_close_{side}", f"lid_wide_{side}")] = -modes[f"lid_wide_{side}"]
        corrections[(f"lid_close_{side}", "gaze_down")] = -_on_lids(r, modes["gaze_down"]) * _side(r, side)
        corrections[(f"lid_close_{side}", "gaze_up")] = -_on_lids(r, modes["gaze_up"]) * _side(r, side)
        corrections[(f"brow_up_{side}", f"brow_down_{side}")] = -0.5 * modes[f"brow_up_{side}"]
        corrections[(f"smile_{side}", f"mouth_stretch_{side}")] = -0.8 * modes[f"mouth_stretch_{side}"]
        corrections[(f"smile_{side}", "pucker")] = -0.7 * modes[f"smile_{side}"]
    corrections[("pucker", "funnel")] = -0.7 * modes["pucker"]
    corrections[("jaw_open", "lip_press")] = -modes["lip_press"]
    corrections[("jaw_open", "pucker")] = -0.25 * modes["pucker"]
    corrections[("gaze_up", "gaze_down")] = -modes["gaze_up"] - modes["gaze_down"]
    return {pair: field for pair, field in corrections.items() if np.any(field)}


def _on_lids(r: Regions, field: Array) -> Array:
    chosen = r.group("lid_fold", "lashes", *(f"lid_ring_{ring}" for ring in range(6)))
    return field * chosen[:, None]


def _side(r: Regions, side: str) -> Array:
    on_left = r.mesh.points[:, 0] > 0
    return (on_left if side == "left" else ~on_left)[:, None].astype(float)
