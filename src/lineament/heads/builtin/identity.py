"""The identity modes of the built-in head: what each does to the mean face at one standard deviation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lineament.heads.builtin.regions import Regions
from lineament.heads.builtin.surface import smooth_step

Array = npt.NDArray[np.float64]


def _xyz(r: Regions, x: Array | float = 0.0, y: Array | float = 0.0, z: Array | float = 0.0) -> Array:
    """``[V, 3]`` offsets from components; ``x`` is counted away from the middle plane on both sides."""
    offsets = np.zeros((r.count, 3))
    offsets[:, 0] = x * r.sign
    offsets[:, 1] = y
    offsets[:, 2] = z
    return offsets


def _head_shape(r: Regions) -> dict[str, Array]:
    above = np.maximum(-18.0 - r.y, 0.0)
    head = 1 - smooth_step((r.y - 100.0) / 60.0)
    lower = smooth_step((r.y - 38.0) / 75.0)
    side_jaw = np.exp(-(((r.y - 74.0) / 30.0) ** 2)) * smooth_step((r.x - 25.0) / 30.0)
    side_jaw *= np.exp(-(((r.z - 45.0) / 50.0) ** 2))
    neck = smooth_step((r.y - 92.0) / 40.0) * smooth_step((240.0 - r.y) / 60.0)
    neck *= smooth_step((r.z + 5.0) / 45.0)
    shoulder = smooth_step((r.y - 140.0) / 65.0)
    return {
        "head_width": _xyz(r, x=0.028 * r.x * (0.3 + 0.7 * head)),
        "head_depth": _xyz(r, z=0.035 * (r.z - 10.0) * head * smooth_step((r.z - 10.0) / 40.0)),
        "cranium_height": _xyz(r, y=-0.06 * above),
        "face_length": _xyz(r, y=0.03 * np.clip(r.y, -20.0, 113.0) * r.front),
        "face_width": _xyz(r, x=0.028 * r.x * smooth_step((95.0 - r.z) / 60.0) * head),
        "lower_face_length": _xyz(r, y=2.4 * lower * smooth_step((110.0 - r.z) / 70.0)),
        "jaw_width": _xyz(r, x=2.8 * side_jaw, z=0.8 * side_jaw),
        "jaw_angle": _xyz(r, y=4.0 * side_jaw * smooth_step((r.z - 20.0) / 40.0)),
        "temple_width": _xyz(r, x=2.2 * np.exp(-(((r.y + 22.0) / 24.0) ** 2)) * smooth_step((90.0 - r.z) / 60.0)
                             * smooth_step((r.x - 30.0) / 30.0)),
        "forehead_slope": _xyz(r, z=0.055 * np.clip(-r.y - 22.0, 0.0, 60.0) * smooth_step((60.0 - r.z) / 60.0)),
        "forehead_bulge": _xyz(r, z=-1.7 * r.blob((0.0, -52.0), (34.0, 22.0))),
        "neck_width": _xyz(r, x=3.2 * neck * np.minimum(r.x / 57.0, 1.2), z=-1.8 * neck * (1 - r.z / 90.0)),
        "shoulder_width": _xyz(r, x=0.06 * r.x * shoulder, y=5.0 * shoulder),
    }  # fmt: skip


def _chin_and_cheeks(r: Regions) -> dict[str, Array]:
    chin = r.hill((0.0, 101.0), (24.0, 16.0)) + 0.0
    under = (
        smooth_step((r.y - 95.0) / 20.0)
        * smooth_step((60.0 - r.z) / 60.0)
        * smooth_step((150.0 - r.y) / 30.0)
    )
    cheek = r.hill((45.0, 56.0), (20.0, 24.0))
    bone = r.hill((46.0, 22.0), (18.0, 14.0))
    zygoma = (
        np.exp(-(((r.y - 18.0) / 20.0) ** 2))
        * smooth_step((r.x - 35.0) / 25.0)
        * smooth_step((95.0 - r.z) / 40.0)
    )
    fold = r.hill((27.0, 52.0), (4.5, 16.0))
    jowl = r.hill((38.0, 95.0), (14.0, 13.0))
    brow = r.hill((28.0, -21.0), (25.0, 8.0))
    return {
        "chin_length": _xyz(r, y=2.2 * chin),
        "chin_projection": _xyz(r, z=-2.2 * chin),
        "chin_width": _xyz(r, x=3.0 * r.hill((19.0, 104.0), (14.0, 16.0))),
        "chin_cleft": _xyz(r, z=1.0 * r.hill((0.0, 101.0), (3.0, 7.0)) - 0.5 * r.hill((7.0, 101.0), (5.0, 8.0))),
        "cheekbone_width": _xyz(r, x=2.2 * zygoma * r.skin),
        "cheekbone_projection": _xyz(r, x=0.6 * bone, z=-1.9 * bone),
        "cheek_fullness": _xyz(r, x=2.6 * cheek, z=-1.8 * cheek),
        "fatness": _xyz(r, x=2.6 * cheek + 3.0 * jowl, y=3.0 * under, z=-1.6 * cheek - 1.2 * under),
        "masculinity": _xyz(r, x=1.2 * jowl + 0.8 * r.hill((19.0, 104.0), (16.0, 16.0)), y=0.9 * brow + 0.8 * chin,
                            z=-1.2 * brow - 0.9 * chin - 0.8 * r.hill((0.0, 30.0), (12.0, 18.0))),
        "age": _xyz(r, x=1.6 * jowl, y=1.8 * jowl + 0.8 * r.hill((33.0, -9.0), (14.0, 5.0)),
                    z=1.5 * fold + 0.7 * r.hill((30.0, 15.0), (12.0, 3.5)) - 0.9 * jowl
                    - 0.6 * r.hill((30.0, 9.5), (11.0, 3.0)) + 0.7 * r.hill((0.0, 66.0), (22.0, 10.0))),
    }  # fmt: skip


def _nose(r: Regions) -> dict[str, Array]:
    tip = r.hill((0.0, 36.0), (11.0, 10.0))
    whole = r.hill((0.0, 26.0), (14.0, 24.0))
    lower = r.hill((0.0, 39.0), (20.0, 11.0))
    bridge = r.hill((0.0, -1.0), (9.0, 13.0))
    return {
        "nose_length": _xyz(r, y=2.3 * r.hill((0.0, 40.0), (22.0, 15.0))),
        "nose_width": _xyz(r, x=1.7 * r.hill((14.0, 38.0), (8.0, 10.0))),
        "nose_projection": _xyz(r, z=-1.7 * tip - 0.4 * whole),
        "nose_tip_angle": _xyz(r, y=-2.0 * tip, z=-0.4 * tip),
        "nose_bridge_height": _xyz(r, z=-2.0 * bridge),
        "nose_bridge_width": _xyz(
            r, x=1.1 * r.hill((8.0, 8.0), (5.0, 16.0)), z=-0.5 * r.hill((8.0, 8.0), (5.0, 16.0))
        ),
        "nose_hump": _xyz(r, z=-1.4 * r.hill((0.0, 13.0), (8.0, 8.0))),
        "nose_tip_size": _xyz(
            r, x=1.0 * r.hill((6.0, 35.0), (6.0, 8.0)), z=-0.8 * r.hill((0.0, 36.0), (9.0, 9.0))
        ),
        "alar_height": _xyz(r, x=0.7 * lower * (r.x / 12.0), y=-1.0 * r.hill((13.0, 41.0), (6.0, 6.0))),
    }


def _eyes_and_brows(r: Regions) -> dict[str, Array]:
    orbit = r.blob((31.0, 1.0), (20.0, 17.0))
    relative = r.eye_distance()
    near = np.exp(-((relative[:, 0] / 22.0) ** 4) - (relative[:, 1] / 16.0) ** 4) * r.front
    upper = r.hill((31.0, -4.5), (13.5, 4.0))
    fold = r.hill((33.0, -10.0), (15.0, 4.0))
    ridge = r.hill((28.0, -22.0), (24.0, 8.0)) + r.hill((0.0, -20.0), (12.0, 9.0)) * 0.5
    brow = r.hill((36.0, -23.0), (26.0, 11.0))
    grow = 0.042 * np.where(r.group("eye"), 1.0, near)
    return {
        "eye_spacing": _xyz(r, x=1.25 * orbit * smooth_step(r.x / 16.0)),
        "eye_size": _xyz(r, x=grow * relative[:, 0], y=grow * relative[:, 1], z=grow * relative[:, 2]),
        "eye_slant": _xyz(r, y=-0.075 * relative[:, 0] * near * r.skin),
        "eye_depth": _xyz(r, z=1.2 * orbit),
        "eye_height": _xyz(r, y=1.3 * r.blob((31.0, 1.0), (24.0, 18.0))),
        "eye_openness": _xyz(r, y=-0.75 * upper + 0.3 * r.hill((31.0, 4.8), (13.0, 3.5))),
        "eye_width": _xyz(r, x=0.05 * relative[:, 0] * near * r.skin),
        "eye_hooding": _xyz(r, y=1.3 * fold, z=-1.0 * fold),
        "brow_ridge": _xyz(r, z=-1.7 * ridge),
        "brow_height": _xyz(r, y=-1.9 * brow),
        "brow_slant": _xyz(r, y=-0.07 * (r.x - 34.0) * brow),
    }


def _mouth(r: Regions) -> dict[str, Array]:
    mouth = r.hill((0.0, 67.0), (30.0, 14.0))
    corner = r.hill((25.0, 67.0), (10.0, 9.0))
    upper = r.hill((0.0, 60.0), (19.0, 5.0)) * (1 - r.jaw)
    lower = r.hill((0.0, 75.5), (18.0, 6.0)) * r.jaw
    rolled = 1 - r.group("lip_0", "bag_0", "bag_1", "bag_2", "bag_3", "bag_4").astype(float)
    everything = r.blob((0.0, 67.0), (34.0, 16.0))
    bow = 0.5 * r.hill((0.0, 58.8), (2.5, 4.0)) - 0.8 * r.hill((6.0, 57.5), (3.5, 4.0))
    return {
        "mouth_width": _xyz(r, x=1.5 * corner + 0.025 * r.x * mouth),
        "upper_lip_fullness": _xyz(r, y=-1.0 * upper * rolled, z=-0.8 * upper * rolled),
        "lower_lip_fullness": _xyz(r, y=1.1 * lower * rolled, z=-0.9 * lower * rolled),
        "mouth_height": _xyz(r, y=1.3 * everything),
        "mouth_projection": _xyz(r, z=-1.3 * everything),
        "cupid_bow": _xyz(r, y=bow * (1 - r.jaw)),
        "mouth_corner_height": _xyz(r, y=-1.3 * corner),
    }  # fmt: skip


def _ears(r: Regions) -> dict[str, Array]:
    ear = r.group("ear").astype(float)
    behind = np.clip(r.z - 70.0, 0.0, 40.0)
    return {
        "ear_size": _xyz(r, y=0.07 * (r.y - 10.0) * ear, z=0.06 * behind * ear),
        "ear_flare": _xyz(r, x=0.12 * behind * ear),
        "ear_height": _xyz(r, y=-2.5 * ear),
    }


def _asymmetry(r: Regions) -> dict[str, Array]:
    side = r.mesh.points[:, 0] / 35.0

    def across(x: Array | float = 0.0, y: Array | float = 0.0) -> Array:
        offsets = np.zeros((r.count, 3))
        offsets[:, 0], offsets[:, 1] = x, y
        return offsets

    return {
        "asymmetric_chin": across(x=1.1 * r.blob((0.0, 100.0), (45.0, 28.0))),
        "asymmetric_nose": across(x=0.8 * r.hill((0.0, 34.0), (17.0, 17.0))),
        "asymmetric_mouth": across(y=0.9 * side * r.blob((0.0, 68.0), (32.0, 18.0))),
        "asymmetric_eyes": across(y=0.6 * np.clip(side, -1.5, 1.5) * r.blob((31.0, 0.0), (24.0, 18.0))),
        "asymmetric_brows": across(y=0.9 * np.clip(side, -1.5, 1.5) * r.hill((32.0, -23.0), (25.0, 9.0))),
    }


def _smooth_random(r: Regions, count: int = 8, amplitude: float = 0.75) -> dict[str, Array]:
    """Low-frequency fields drawn once from a fixed seed: what the named modes do not reach."""
    generator = np.random.default_rng(20)
    points = r.mesh.points * [1.0, 1.0, 0.7]
    head = (1 - smooth_step((r.y - 105.0) / 60.0))[:, None]
    modes: dict[str, Array] = {}
    for index in range(count):
        symmetric = index < 5
        field = np.zeros((r.count, 3))
        for _ in range(6):
            wave = generator.normal(size=3) / generator.uniform(22.0, 48.0)
            phase, direction = generator.uniform(0, 2 * np.pi), generator.normal(size=3)
            value = np.sin(points @ wave + phase)
            mirrored = np.sin((points * [-1.0, 1.0, 1.0]) @ wave + phase)
            if symmetric:
                field[:, 0] += direction[0] * (value - mirrored) / 2
                field[:, 1:] += direction[1:] * ((value + mirrored) / 2)[:, None]
            else:
                field += direction * value[:, None]
        field *= head * amplitude / np.sqrt((field[r.face > 0.5] ** 2).sum(axis=1).mean())
        modes[f"smooth_{index}"] = field
    return modes


def identity_modes(r: Regions) -> dict[str, Array]:
    """All identity modes but hair: ``[V, 3]`` millimetres at coefficient 1, by name."""
    modes: dict[str, Array] = {}
    for family in (
        _head_shape,
        _chin_and_cheeks,
        _nose,
        _eyes_and_brows,
        _mouth,
        _ears,
        _asymmetry,
        _smooth_random,
    ):
        modes.update(family(r))
    # Only the size of the eye scales the eyeball; every other mode carries it along unchanged.
    return {name: field if name == "eye_size" else r.attach(field) for name, field in modes.items()}
