"""Writes the scheme file of points spread over the skin of the ICT head: what dense correspondence is learnt from.

`python scripts/dense_scheme.py PACKS OUT.yaml` made faces/schemes_data/400-dense.yaml, and with `--points 30 --new` the
scheme of 30 points away from all of scheme 68 that few-label tests learn. The files are JSON, which YAML readers read
too and Python reads a hundred times faster.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from lineament.faces.schemes import scheme, scheme_content
from lineament.geometry.rotation import matrix_from_pose
from lineament.heads.jaw import mirror_vertices
from lineament.heads.load import load_head
from lineament.heads.model import HeadModel, Part
from lineament.synthetic.mesh import depth_buffer

# Skin that counts lies before the ears, above the neck and below where hair usually begins, millimetres in the head
# frame.
BEHIND, BELOW, ABOVE = 58.0, 121.0, -94.0
# Around eyes, nose and mouth distances count so much more than elsewhere: nearer to the front than this, and lower than
# the middle of the forehead, millimetres.
FINER, FRONT, FOREHEAD = 1.4, 0.0, -45.0
# Directions, degrees, from which it is looked for: what none of them sees is inside of nose, lids or mouth.
YAWS, PITCHES = (-65, -35, 0, 35, 65), (-25, 0, 25)
# Vertices nearer to the plane between left and right than the first are their own mirror images, millimetres; none is
# taken so near to it as the second without lying on it.
MIDDLE, BESIDE = 0.5, 4.0


def seen_from_outside(head: HeadModel) -> np.ndarray:
    """``[V]`` bool: vertices that some direction sees."""
    import torch

    seen = np.zeros(len(head.neutral), bool)
    side = 400
    for yaw in YAWS:
        for pitch in PITCHES:
            pose = torch.tensor([np.radians(yaw), np.radians(pitch), 0.0], dtype=torch.float64)
            points = head.neutral @ matrix_from_pose(pose).numpy().T.astype(np.float32)
            points = points * np.array([1.2, 1.2, 1.0], np.float32) + np.array([199, 199, 1000], np.float32)
            _, depth = depth_buffer(np.ascontiguousarray(points, np.float32), head.faces, side, side)
            x, y = (np.clip(np.rint(points[:, axis]).astype(int), 0, side - 1) for axis in (0, 1))
            seen |= points[:, 2] < depth[y, x] + 1.5
    return seen


def spread(candidates: np.ndarray, start: np.ndarray, count: int) -> list[int]:
    """Farthest-point sampling with mirror images: rows of ``candidates`` ``[N, 3]``, ``count`` points with images."""
    flip = np.array([-1.0, 1.0, 1.0])
    weight = np.where((candidates[:, 2] < FRONT) & (candidates[:, 1] > FOREHEAD), FINER, 1.0)
    nearest = weight * np.min(np.linalg.norm(candidates[:, None] - start[None], axis=2), axis=1)
    chosen: list[int] = []
    while count > 0:
        # With one left only a point of the middle fits.
        fits = np.abs(candidates[:, 0]) < MIDDLE if count == 1 else np.ones(len(candidates), bool)
        pick = int(np.argmax(np.where(fits, nearest, -1.0)))
        chosen.append(pick)
        count -= 1 if abs(candidates[pick, 0]) < MIDDLE else 2
        for place in (candidates[pick], candidates[pick] * flip):
            nearest = np.minimum(nearest, weight * np.linalg.norm(candidates - place, axis=1))
    return chosen


def main() -> None:
    """Choose the points and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packs")
    parser.add_argument("out", type=Path)
    parser.add_argument("--points", type=int, default=400)
    parser.add_argument(
        "--new", action="store_true", help="leave the points of scheme 68 out and keep away from them"
    )
    asked = parser.parse_args()
    head, layout = load_head("ict", asked.packs), scheme("68-3d")
    skin = np.unique(head.faces[head.part == Part.SKIN])
    kept = skin[seen_from_outside(head)[skin]]
    places = head.neutral[kept]
    # One half and the middle; the other half mirrors it.
    side = (np.abs(places[:, 0]) < MIDDLE) | (places[:, 0] < -BESIDE)
    height = (places[:, 1] > ABOVE) & (places[:, 1] < BELOW)
    kept = kept[side & height & (places[:, 2] < BEHIND)]
    known = head.landmarks(head.neutral[None])[0]
    base = 0 if asked.new else len(known)
    chosen = kept[spread(head.neutral[kept].astype(float), known, asked.points - base)]
    names, mirror = list(layout.names)[:base], list(layout.mirror)[:base]
    ids, weights = head.landmark_ids.tolist()[:base], head.landmark_weights.tolist()[:base]
    for number, vertex in enumerate(chosen):
        here = len(names)
        alone = abs(head.neutral[vertex, 0]) < MIDDLE
        names += [f"skin_{number}"] if alone else [f"left_skin_{number}", f"right_skin_{number}"]
        mirror += [here] if alone else [here + 1, here]
        both = [vertex] if alone else [vertex, int(mirror_vertices(head.neutral, np.array([vertex]))[0])]
        ids += [[int(each)] for each in both]
        weights += [[1.0]] * len(both)
    surface = [
        (np.array(share)[:, None] * head.neutral[index]).sum(0).round(1).tolist()
        for index, share in zip(ids, weights, strict=True)
    ]
    content = {"name": f"{len(names)}-skin", "description": "points of the skin away from all of scheme 68"}
    if base:
        content = {
            **scheme_content(layout),
            "name": f"{len(names)}-dense",
            "description": "68-3d and points spread over the skin before the ears, for dense correspondence",
            "convert": {"68-3d": [f"0-{base - 1}"]},
            "parts": {**scheme_content(layout)["parts"], "skin": [f"{base}-{len(names) - 1}"]},
        }
    places = [
        {str(vertex): round(share, 4) for vertex, share in zip(index, shares, strict=True) if share}
        for index, shares in zip(ids, weights, strict=True)
    ]
    content = {**content, "points": names, "mirror": mirror, "surface": surface, "places": {"ict": places}}
    rows = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in content.items()]
    asked.out.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
