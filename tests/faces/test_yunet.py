"""The YuNet network beside recorded numbers, its detector, and boxes as it gives them."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

import lineament
from lineament.eight_bit import from_array
from lineament.errors import CheckpointError, DataError
from lineament.faces import boxes
from lineament.faces.boxes import YUNET_CENTRE_STD, YUNET_SIZE_STD, box_like_yunet, centre, size
from lineament.faces.crops import crop_image
from lineament.faces.detection import DEFAULT_DETECTOR, detect_faces, make_detector, traits_of
from lineament.faces.detection.yunet_network import (
    STRIDES,
    WEIGHTS,
    Level,
    load_network,
    load_weights,
)
from lineament.faces.schemes import scheme
from lineament.geometry.affine2d import Affine2D
from lineament.synthetic.source import SyntheticFaces


@pytest.fixture(scope="module")
def astronaut() -> torch.Tensor:
    return from_array(data.astronaut())


@pytest.fixture(scope="module")
def golden(packs: Path) -> dict[str, np.ndarray]:
    path = packs / "yunet_detector" / "golden.npz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    with np.load(path) as file:
        return dict(file)


def compare(levels: list[Level], golden: dict[str, np.ndarray], prefix: str) -> int:
    count = 0
    for stride, level in zip(STRIDES, levels, strict=True):
        for name, answer in zip(("cls", "obj", "bbox", "kps"), level, strict=True):
            expected = golden.get(f"{prefix}.{name}_{stride}")
            if expected is not None:
                assert np.abs(answer.reshape(expected.shape).numpy() - expected).max() < 1e-4
                count += 1
    return count


@torch.inference_mode()
def test_the_folded_network_gives_the_recorded_numbers(
    golden: dict[str, np.ndarray], astronaut: torch.Tensor
) -> None:
    network = load_network()
    assert compare(network(torch.from_numpy(golden["random.input"])), golden, "random") == 12
    pixels = (astronaut.flip(0) * 255)[None].contiguous(memory_format=torch.channels_last)
    assert compare(network(pixels), golden, "astronaut") == 8


def test_the_recorded_face_of_the_astronaut_is_found(
    golden: dict[str, np.ndarray], astronaut: torch.Tensor
) -> None:
    """At full size, and apart from where the first pixel's middle lies, as another reader of the network finds it."""
    (face,) = make_detector("yunet")(astronaut[None], min_face=None, min_score=0.6)[0]
    (expected,) = torch.from_numpy(golden["astronaut.faces"])
    box = torch.cat([expected[:2], expected[:2] + expected[2:4]]) - 0.5
    assert face.points is not None
    torch.testing.assert_close(face.box, box, atol=2e-3, rtol=0)
    torch.testing.assert_close(face.points, expected[4:14].view(5, 2) - 0.5, atol=2e-3, rtol=0)
    assert face.score == pytest.approx(float(expected[14]), abs=1e-4)


def test_the_weights_are_checked(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.safetensors"
    content = bytearray(WEIGHTS.read_bytes())
    content[-5] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(CheckpointError, match="sha256"):
        load_weights(damaged)
    with pytest.raises(CheckpointError, match=r"absent\.safetensors"):
        load_weights(tmp_path / "absent.safetensors")
    assert (WEIGHTS.parent / "yunet_n.LICENSE").read_text().count("Shiqi Yu") == 1


def test_it_is_the_default_and_knows_its_least_score(astronaut: torch.Tensor) -> None:
    assert DEFAULT_DETECTOR == "yunet"
    assert traits_of(make_detector("yunet")).least_score == 0.6
    assert traits_of(make_detector("mtcnn")).least_score == 0.7
    (face,) = detect_faces(astronaut)[0]
    (same,) = detect_faces(astronaut, "yunet", min_score=0.6)[0]
    assert torch.equal(face.box, same.box) and face.score == same.score


def test_no_function_and_no_options_name_a_detector_of_their_own() -> None:
    """Their default is the one constant."""
    defaults = {}
    for path in Path(lineament.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            pairs: list[tuple[str, ast.expr | None]] = []
            if isinstance(node, ast.arguments):
                named = [*node.posonlyargs, *node.args]
                pairs += [
                    (each.arg, value) for each, value in zip(named[::-1], node.defaults[::-1], strict=False)
                ]
                pairs += [
                    (each.arg, value) for each, value in zip(node.kwonlyargs, node.kw_defaults, strict=True)
                ]
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                pairs.append((node.target.id, node.value))
            for name, value in pairs:
                if name == "detector" and value is not None:
                    defaults[f"{path.name}:{value.lineno}"] = ast.unparse(value)
    assert len(defaults) >= 6
    assert set(defaults.values()) <= {"DEFAULT_DETECTOR", "None"}, defaults


def test_a_mirror_image_gives_mirrored_faces(astronaut: torch.Tensor) -> None:
    """On average over places: pixel centres are at integers, not half a pixel beside them."""
    order = list(scheme("5").mirror)
    offsets = []
    for shift in range(0, 32, 3):
        moved = Affine2D.from_similarity(0.5, 0.0, (float(shift) - 20, float(shift) / 2 - 10))
        image = crop_image(astronaut, moved, (160, 192), "edge")
        (face,), (mirrored,) = detect_faces([image, image.flip(2)], upright="off")
        assert face.points is not None and mirrored.points is not None
        both = 0.5 * (face.points[:, 0] + mirrored.points[order, 0] - 191)
        offsets.append(torch.cat([both, 0.5 * (centre(face.box) + centre(mirrored.box) - 191)[:1]]))
    assert abs(float(torch.stack(offsets).mean())) < 0.35


def test_full_size_is_looked_at_where_nothing_was_found(astronaut: torch.Tensor) -> None:
    tiny = crop_image(astronaut, Affine2D.from_similarity(0.16), (82, 82), "edge")  # a face of 15 px
    image = torch.full((3, 900, 1200), 0.5)
    image[:, 500:582, 700:782] = tiny
    expected = Affine2D.from_similarity(0.16, 0.0, (700.0, 500.0)).apply(torch.tensor([[224.0, 121.0]]))[0]
    (alone,) = detect_faces(image)[0]
    assert (centre(alone.box) - expected).norm() < 4
    large = crop_image(astronaut, Affine2D.from_similarity(0.8), (400, 410), "edge")
    image[:, :400, :410] = large
    assert len(detect_faces(image)[0]) == 1
    both = detect_faces(image, min_face=12.0)[0]
    assert len(both) == 2
    assert (centre(both[1].box) - expected).norm() < 4
    assert len(detect_faces(image, min_face=40.0)[0]) == 1, (
        "small faces are left out when large ones are asked for"
    )


def test_boxes_from_68_points_lie_as_the_detectors_do() -> None:
    faces = SyntheticFaces(seed=3, count=12, size=128)
    detector = make_detector("yunet")
    apart, ratios = [], []
    for index in range(len(faces)):
        sample = faces[index]
        assert sample.landmarks is not None
        found = detector(sample.image[None], min_face=None, min_score=0.6)[0]
        if found:
            box = box_like_yunet(sample.landmarks)
            side = size(found[0].box).prod().sqrt()
            apart.append((centre(box) - centre(found[0].box)) / side)
            ratios.append((size(box) / size(found[0].box)).log())
    assert len(apart) >= 10
    off, ratio = torch.stack(apart), torch.stack(ratios)
    assert bool((off.square().mean(0).sqrt() < 2 * torch.tensor(YUNET_CENTRE_STD)).all())
    assert bool((ratio.square().mean(0).sqrt() < 2 * YUNET_SIZE_STD).all())


def test_boxes_from_68_points_move_and_grow_with_the_points() -> None:
    points = torch.rand(2, 68, 2, generator=torch.Generator().manual_seed(0)) * 100
    moved = Affine2D.from_similarity(2.0, 0.0, (7.0, -3.0))
    torch.testing.assert_close(box_like_yunet(moved.apply(points)), moved.apply_box(box_like_yunet(points)))
    mirrored = points[:, list(scheme("68").mirror)] * torch.tensor([-1.0, 1.0])
    expected = box_like_yunet(points)[:, [2, 1, 0, 3]] * torch.tensor([-1.0, 1.0, -1.0, 1.0])
    torch.testing.assert_close(box_like_yunet(mirrored), expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(DataError):
        box_like_yunet(points[:, :5])
    assert boxes.iou(box_like_yunet(points), box_like_yunet(points)).diagonal().min() == 1
