import csv
import random
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from lineament.errors import CheckpointError, DataError, LineamentError, UsageError
from lineament.faces.boxes import centre, iou, size
from lineament.faces.crops import crop_image
from lineament.faces.detection import (
    Detection,
    detect_faces,
    detectors,
    main_face,
    make_detector,
    mtcnn_networks,
)
from lineament.faces.detection.mtcnn import Mtcnn
from lineament.faces.detection.suppression import suppress
from lineament.geometry.affine2d import Affine2D

# Read off the photograph by eye: eyes, nose tip, mouth corners.
ASTRONAUT_POINTS = torch.tensor(
    [[204.0, 101.0], [247.0, 102.0], [224.0, 127.0], [200.0, 139.0], [246.0, 140.0]]
)
EYES = 43.0


def to_tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).float() / 255


@pytest.fixture(scope="module")
def astronaut() -> torch.Tensor:
    return to_tensor(data.astronaut())


# YuNet's points lean less than the face does.
POINTS_OFF = {"mtcnn": 0.12, "yunet": 0.23}


def check_astronaut(face: Detection, moved: Affine2D | None = None, tolerance: float = 0.12) -> None:
    expected = ASTRONAUT_POINTS if moved is None else moved.apply(ASTRONAUT_POINTS)
    scale = EYES if moved is None else EYES * moved.scale
    assert face.points is not None
    assert (face.points - expected).norm(dim=-1).max() < tolerance * scale
    offset = (centre(face.box) - expected.mean(0)) / scale
    assert offset.norm() < 0.4
    assert 1.7 < size(face.box)[0] / scale < 2.6
    assert 2.2 < size(face.box)[1] / scale < 3.4
    assert 0.7 < face.score <= 1.0


@pytest.mark.parametrize(("detector", "score"), [("mtcnn", 0.99), ("yunet", 0.92)])
def test_astronaut_has_one_face_with_the_right_points(
    astronaut: torch.Tensor, detector: str, score: float
) -> None:
    (faces,) = detect_faces(astronaut, detector)
    assert len(faces) == 1
    check_astronaut(faces[0], tolerance=POINTS_OFF[detector])
    assert faces[0].score > score


@pytest.mark.parametrize("detector", ["mtcnn", "yunet"])
@pytest.mark.parametrize("scale", [0.55, 1.0, 2.3, 5.0])
@pytest.mark.parametrize("angle", [-0.25, 0.0, 0.25])
def test_other_sizes_and_slants(astronaut: torch.Tensor, scale: float, angle: float, detector: str) -> None:
    turn = Affine2D.from_similarity(scale, angle)
    middle = turn.apply(ASTRONAUT_POINTS.mean(0, keepdim=True))[0]
    side = int(260 * scale)
    moved = turn.then(Affine2D.from_similarity(translation=tuple((side / 2 - middle).tolist())))
    face = main_face(detect_faces(crop_image(astronaut, moved, side, "edge"), detector)[0])
    assert face is not None
    check_astronaut(face, moved, POINTS_OFF[detector])


def test_several_faces_in_a_batch_of_mixed_sizes(astronaut: torch.Tensor) -> None:
    small = crop_image(astronaut, Affine2D.window((120.0, 20.0, 320.0, 220.0), (200, 200)), 200)
    pair = torch.cat([small, small.flip(2)], dim=2)
    found = detect_faces([pair, small, torch.zeros(3, 50, 60), pair, small[:, :9, :11]], batch_size=2)
    assert [len(faces) for faces in found] == [2, 1, 0, 2, 0]
    assert torch.allclose(found[0][0].box, found[3][0].box, atol=1e-3)
    left, right = sorted(found[0], key=lambda face: face.box[0].item())
    assert left.points is not None and right.points is not None
    mirrored = 399 - left.points[[1, 0, 2, 4, 3], 0]
    assert (right.points[:, 0] - mirrored).abs().max() < 4.0


def test_a_batch_gives_what_single_pictures_give(astronaut: torch.Tensor) -> None:
    pictures = torch.stack([astronaut, astronaut.flip(2), astronaut * 0.7])
    together = detect_faces(pictures)
    for picture, faces in zip(pictures, together, strict=True):
        (alone,) = detect_faces(picture)
        assert len(alone) == len(faces)
        assert torch.allclose(alone[0].box, faces[0].box, atol=1e-2)


def test_smallest_face_and_score_are_obeyed(astronaut: torch.Tensor) -> None:
    assert detect_faces(astronaut, min_face=250.0) == [[]]
    assert detect_faces(astronaut, min_score=0.99999) == [[]]
    assert len(detect_faces(astronaut, min_face=60.0)[0]) == 1


@pytest.mark.parametrize("name", ["brick", "grass", "gravel", "coins", "coffee"])
def test_pictures_without_faces(name: str) -> None:
    pixels = getattr(data, name)()
    pixels = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    assert detect_faces(to_tensor(pixels), min_score=0.9) == [[]]


def test_noise_is_survived() -> None:
    noise = torch.rand(2, 3, 97, 211, generator=torch.Generator().manual_seed(0))
    assert len(detect_faces(noise)) == 2


def test_lbp_finds_the_astronaut_too(astronaut: torch.Tensor) -> None:
    (faces,) = detect_faces(astronaut, "lbp")
    near = [face for face in faces if (centre(face.box) - ASTRONAUT_POINTS.mean(0)).norm() < 0.6 * EYES]
    assert near
    assert near[0].points is None
    assert near[0].score == 1.0
    assert detect_faces(torch.zeros(3, 12, 12), "lbp") == [[]]


def test_given_faces_are_accepted(astronaut: torch.Tensor) -> None:
    box = torch.tensor([1.0, 2.0, 30.0, 40.0])
    assert torch.equal(Detection.given(box).box, box)
    from_points = Detection.given(points=ASTRONAUT_POINTS)
    found = detect_faces(astronaut)[0][0]
    assert iou(from_points.box[None], found.box[None]).item() > 0.5
    with pytest.raises(DataError):
        Detection.given()
    with pytest.raises(DataError):
        Detection.given(points=torch.zeros(4, 2))
    with pytest.raises(DataError):
        Detection.given(torch.tensor([1.0, 1.0, 0.0, 0.0]))


def test_the_main_face_is_the_large_one() -> None:
    small = Detection(torch.tensor([0.0, 0.0, 10.0, 10.0]), 0.99)
    large = Detection(torch.tensor([0.0, 0.0, 30.0, 30.0]), 0.9)
    assert main_face([small, large]) is large
    assert main_face([]) is None


def test_wrong_requests_are_refused() -> None:
    assert {"lbp", "mtcnn", "yunet"} <= set(detectors())
    with pytest.raises(UsageError, match="mtcnn"):
        make_detector("mtcn")
    with pytest.raises(DataError, match="uint8"):
        detect_faces(torch.zeros(3, 20, 20, dtype=torch.uint8))
    with pytest.raises(DataError, match="RGB"):
        detect_faces([torch.zeros(1, 20, 20)])
    with pytest.raises(UsageError, match="positive"):
        detect_faces(torch.zeros(3, 20, 20), min_face=float("inf"))
    assert detect_faces([]) == []


def test_suppression_by_hand() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30], [2, 2, 6, 6.0]])
    scores = np.array([0.8, 0.9, 0.5, 0.7])
    assert suppress(boxes, scores, 0.5).tolist() == [1, 3, 2]
    assert suppress(boxes, scores, 0.5, over_smaller=True).tolist() == [1, 2]
    assert suppress(boxes, scores, 0.9).tolist() == [1, 0, 3, 2]
    assert suppress(np.zeros((0, 4)), np.zeros(0), 0.5).tolist() == []
    # "More than": an overlap of exactly the limit stays. Half of the smaller box, a third of the union.
    halves = np.array([[0, 0, 10, 10], [5, 0, 15, 10.0]])
    assert suppress(halves, scores[:2], 0.5, over_smaller=True).tolist() == [1, 0]
    assert suppress(halves, scores[:2], 0.49, over_smaller=True).tolist() == [1]
    quarter = np.array([[0, 0, 8, 8], [0, 0, 4, 4.0]])
    assert suppress(quarter, scores[:2], 0.25).tolist() == [1, 0]
    assert suppress(quarter, scores[:2], 0.24).tolist() == [1]


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    network = mtcnn_networks.ProposalNetwork()
    good = mtcnn_networks.weights_folder() / "pnet.lz4"
    (tmp_path / "cut.lz4").write_bytes(good.read_bytes()[:9000])
    (tmp_path / "empty.lz4").write_bytes(b"")
    for path in (
        tmp_path / "cut.lz4",
        tmp_path / "empty.lz4",
        tmp_path / "absent.lz4",
        good.with_name("rnet.lz4"),
    ):
        with pytest.raises(CheckpointError, match=path.name):
            mtcnn_networks.load_weights(network, path)


def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    def absent(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    with pytest.raises(LineamentError, match="pip install mtcnn"):
        mtcnn_networks.weights_folder()


def portraits(packs: Path, count: int | None) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    """Pictures of the portrait pack with the box another detector gave, or None where it gave none."""
    folder = packs / "congress_portraits_gray"
    if not folder.is_dir():
        pytest.skip(f"no portrait pack in {packs}")
    with (folder / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    if count is not None:
        rows = random.Random(0).sample(rows, min(count, len(rows)))
    pictures = []
    with zipfile.ZipFile(next(iter(folder.glob("*.zip")))) as archive:
        names = {Path(name).stem: name for name in archive.namelist()}
        for row in rows:
            image = Image.open(BytesIO(archive.read(names[row["bioguide_id"]]))).convert("RGB")
            x, y, w, h = (float(row[f"face_{key}"]) for key in "xywh")
            box = torch.tensor([x, y, x + w, y + h]) if w > 0 else None
            pictures.append((to_tensor(np.array(image)), box))
    return pictures


def check_portraits(pictures: list[tuple[torch.Tensor, torch.Tensor | None]], least: float) -> None:
    found = detect_faces([picture for picture, _ in pictures])
    share = sum(map(bool, found)) / len(pictures)
    assert share >= least, f"faces in {share:.2%} of {len(pictures)} portraits"
    near = []
    for faces, (_, box) in zip(found, pictures, strict=True):
        face = main_face(faces)
        if face is not None and box is not None:
            near.append(((centre(face.box) - centre(box)).norm() / size(box)[0]).item() < 0.3)
            assert face.points is not None
            inside = (face.points > face.box[:2]) & (face.points < face.box[2:])
            assert inside.float().mean() > 0.6
    # Of 120 boxes of the pack three lie beside the face.
    assert np.mean(near) > 0.97


def test_portraits_are_found(packs: Path) -> None:
    # Of 120 drawn from a pack with one per cent of misses, three misses are still likely.
    check_portraits(portraits(packs, 120), 0.97)


@pytest.mark.slow
def test_all_portraits_are_found(packs: Path) -> None:
    check_portraits(portraits(packs, None), 0.99)


def test_boxes_settle_when_the_window_moves(astronaut: torch.Tensor) -> None:
    """The corrections of the last stage must undo a shift of its input; with a wrong layer order they do not."""
    detector = Mtcnn()
    boxes = []
    for shift in range(0, 24, 4):
        moved = Affine2D.from_similarity(translation=(float(shift), float(shift) / 2))
        (faces,) = detector(crop_image(astronaut, moved, 512, "edge")[None])
        boxes.append(moved.inverse().apply_box(faces[0].box))
    assert torch.stack(boxes).std(0).max() < 0.06 * EYES
