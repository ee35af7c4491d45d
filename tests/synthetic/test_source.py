"""The source of synthetic faces: the same picture however it is asked for, and truth that agrees with itself."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from lineament.data.sample import FaceSample, FaceSource
from lineament.errors import DataError, UsageError
from lineament.geometry.rotation import pose_from_matrix
from lineament.heads.load import load_head
from lineament.synthetic.source import SyntheticFaces, five_points


def same(first: FaceSample, second: FaceSample) -> bool:
    return all(
        torch.equal(torch.nan_to_num(getattr(first, name)), torch.nan_to_num(getattr(second, name)))
        for name in ("image", "landmarks", "depth", "normals", "correspondence", "box")
    )


def test_is_a_face_source(faces: SyntheticFaces) -> None:
    assert isinstance(faces, FaceSource)
    assert len(faces) == 40
    assert faces.name == "synthetic-builtin-seed3"
    for outside in (-1, 40):
        with pytest.raises(IndexError):
            faces[outside]


def test_a_picture_depends_on_seed_and_index_alone(faces: SyntheticFaces) -> None:
    expected = [faces[index] for index in (5, 2, 9)]
    shorter = SyntheticFaces(seed=3, count=10, size=96, sensor=0.0)
    with ThreadPoolExecutor(3) as pool:
        again = list(pool.map(shorter.__getitem__, (5, 2, 9)))
    assert all(same(one, other) for one, other in zip(expected, again, strict=True))


def test_other_seeds_and_indices_give_other_people(faces: SyntheticFaces) -> None:
    other = SyntheticFaces(seed=4, count=40, size=96, sensor=0.0)
    people = [faces[0], faces[1], other[0]]
    coefficients = torch.stack([sample.identity_coefficients for sample in people])
    distances = torch.cdist(coefficients, coefficients)
    assert distances[~torch.eye(3, dtype=bool)].min() > 1.0


def test_fingerprint_changes_with_everything_that_changes_the_pictures(faces: SyntheticFaces) -> None:
    asked: list[dict] = [
        {"seed": 3}, {"seed": 4}, {"count": 41}, {"size": 64}, {"identities": 5}, {"max_yaw": 0.1}, {"samples": 1},
        {"fov": 0.2},
    ]  # fmt: skip
    prints = [
        SyntheticFaces(**{"seed": 3, "count": 40, "size": 96, **options}).fingerprint for options in asked
    ]
    assert len(set(prints)) == len(prints)
    assert faces.fingerprint == SyntheticFaces(seed=3, count=40, size=96, sensor=0.0).fingerprint


def test_identities_are_few_people_in_many_pictures() -> None:
    few = SyntheticFaces(seed=1, count=30, size=32, identities=3)
    seen: dict[str, torch.Tensor] = {}
    for index in range(10):
        sample = few[index]
        assert sample.identity is not None and sample.identity_coefficients is not None
        known = seen.setdefault(sample.identity, sample.identity_coefficients)
        assert torch.equal(known, sample.identity_coefficients)
    assert 1 < len(seen) <= 3


def test_truth_of_a_picture_agrees_with_itself(faces: SyntheticFaces) -> None:
    agreeing = total = 0
    for index in range(8):
        sample = faces[index]
        assert sample.depth is not None and sample.mask is not None and sample.normals is not None
        assert sample.image.shape == (3, 96, 96) and sample.image.dtype == torch.float32
        assert float(sample.image.min()) >= 0 and float(sample.image.max()) <= 1
        assert torch.equal(torch.round(sample.image * 255) / 255, sample.image)
        assert torch.equal(sample.mask, sample.depth > 0)
        lengths = sample.normals.norm(dim=0)
        torch.testing.assert_close(lengths, sample.mask.float(), atol=1e-4, rtol=0)
        assert sample.correspondence is not None
        assert bool(torch.isnan(sample.correspondence[:, ~sample.mask]).all())
        assert 0.1 < float(sample.mask.float().mean()) < 0.98
        hits, seen = depth_agreement(sample)
        agreeing, total = agreeing + hits, total + seen
    # Landmarks on an outline stand at a depth edge; all others lie on the surface to a few millimetres.
    assert agreeing / total > 0.9, f"{agreeing} of {total} visible landmarks lie on the depth map"


def depth_agreement(sample: FaceSample) -> tuple[int, int]:
    assert sample.landmarks is not None and sample.visibility is not None and sample.depth is not None
    inner = torch.arange(68) >= 17
    chosen = sample.visibility & inner
    points = sample.landmarks.round().long()
    depth = sample.depth[points[chosen, 1].clamp(0, 95), points[chosen, 0].clamp(0, 95)]
    near = (depth - sample.meta["landmark_depth"][chosen]).abs() < 6.0
    return int(near.sum()), int(chosen.sum())


def test_camera_and_pose_agree(faces: SyntheticFaces) -> None:
    sample = faces[4]
    assert sample.camera is not None and sample.pose is not None and sample.landmarks is not None
    rotation = sample.camera.world_to_camera[:3, :3]
    torch.testing.assert_close(pose_from_matrix(rotation), sample.pose, atol=1e-4, rtol=0)
    scene = faces.scene(4)
    head = faces.head
    vertices = head.vertices(scene.identity[None], scene.expression[None], scene.gaze[None])
    projected = sample.camera.project(torch.from_numpy(head.landmarks(vertices)[0]).double())
    torch.testing.assert_close(projected.float(), sample.meta["landmarks_3d"], atol=0.02, rtol=0)
    torch.testing.assert_close(projected[17:, :2].float(), sample.landmarks[17:], atol=0.02, rtol=0)
    torch.testing.assert_close(
        projected[17:, 2].float(), sample.meta["landmark_depth"][17:], atol=0.02, rtol=0
    )


def test_a_head_that_turns_right_shows_its_nose_on_the_right(faces: SyntheticFaces) -> None:
    turned = {sign: [] for sign in (-1, 1)}
    for index in range(12):
        sample = faces[index]
        assert sample.pose is not None and sample.landmarks is not None
        corners = sample.landmarks[[36, 45]].mean(0)
        sideways = (sample.landmarks[30] - corners)[0] / (sample.landmarks[36] - sample.landmarks[45]).norm()
        if abs(float(sample.pose[0])) > 0.15:
            turned[1 if sample.pose[0] > 0 else -1].append(float(sideways))
    assert np.mean(turned[1]) > 0 > np.mean(turned[-1])


def test_hidden_landmarks_are_on_the_far_side() -> None:
    profile = SyntheticFaces(
        seed=0, count=40, size=96, max_yaw=math.radians(70), extras=False, scheme="68-3d"
    )
    hidden = {"near": 0, "far": 0}
    for index in range(40):
        scene = profile.scene(index)
        if abs(scene.view.pose[0]) < 0.8:
            continue
        sample = profile[index]
        assert sample.visibility is not None
        # Turning to the image right hides the image-right half of the jaw.
        far, near = ((9, 17), (0, 8)) if scene.view.pose[0] > 0 else ((0, 8), (9, 17))
        hidden["far"] += int((~sample.visibility[slice(*far)]).sum())
        hidden["near"] += int((~sample.visibility[slice(*near)]).sum())
    assert hidden["far"] > 2 * hidden["near"] and hidden["far"] > 5


def test_options_limit_what_is_drawn() -> None:
    frontal = SyntheticFaces(seed=0, count=30, size=48, max_yaw=0.1, max_pitch=0.05, max_roll=0.0, grey=1.0,
                             framing=(0.7, 0.7), jitter=0.0, expressions=0.0)  # fmt: skip
    for index in range(6):
        sample = frontal[index]
        assert (
            sample.pose is not None and sample.box is not None and sample.expression_coefficients is not None
        )
        assert (
            abs(float(sample.pose[0])) <= 0.1 + 1e-6
            and abs(float(sample.pose[1])) <= 0.05 + 1e-6
            and sample.pose[2] == 0
        )
        assert float(sample.expression_coefficients.max()) == 0
        side = max(sample.box[2] - sample.box[0], sample.box[3] - sample.box[1])
        assert float(side) == pytest.approx(0.7 * 48, abs=0.5)
        spread = (sample.image - sample.image.mean(0)).abs().mean()
        assert float(spread) < 0.06


def test_five_points_are_eyes_nose_and_mouth(faces: SyntheticFaces) -> None:
    sample = faces[0]
    assert sample.landmarks is not None
    five = five_points(sample.landmarks)
    torch.testing.assert_close(five, sample.meta["landmarks5"])
    torch.testing.assert_close(five[2], sample.landmarks[30])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"head": "ikt"}, "ict"),
        ({"size": 2}, "size"),
        ({"seed": -1}, "seed"),
        ({"identities": 0}, "identities"),
        ({"max_yawn": 1.0}, "max_yaw"),
    ],
)
def test_wrong_requests_are_explained(options: dict, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        SyntheticFaces(**options)


def test_missing_pack_is_explained(tmp_path) -> None:
    with pytest.raises(DataError, match="ICT"):
        load_head("ict", tmp_path)


def test_ict_faces_have_all_truth(ict_faces: SyntheticFaces) -> None:
    hits = seen = 0
    for index in range(4):
        sample = ict_faces[index]
        assert sample.mask is not None and sample.depth is not None
        assert torch.equal(sample.mask, sample.depth > 0)
        found, shown = depth_agreement(sample)
        hits, seen = hits + found, seen + shown
    assert hits / seen > 0.9
    assert same(ict_faces[2], ict_faces[2])
