"""The published preprocessing refuses what it cannot treat as published, and fits readers and evaluation."""

from __future__ import annotations

import pytest
import torch

from lineament.data.sample import FaceSample
from lineament.errors import DataError, UsageError
from lineament.evaluation import published, published_300w
from lineament.evaluation.matching import matching_pairs
from lineament.faces.frame import Frame, PreparedFace
from lineament.geometry.tps_warp import SINGLE, WarpStd, published_positions, random_weights
from lineament.methods.dve import protocol
from lineament.methods.dve.evaluate import published_scores
from lineament.methods.dve.model import SmallNet
from lineament.methods.dve.predictor import LandmarkPredictor
from lineament.methods.dve.protocol_photometric import published_look
from lineament.methods.dve.recipe_landmarks import LandmarkConfig
from lineament.methods.dve.regressor import to_unit
from lineament.training.registry import get_recipe


def sample(height: int = 218, width: int = 178, points: int = 5, seed: int = 0) -> FaceSample:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, height, width), generator=generator) / 255
    landmarks = torch.rand(points, 2, generator=generator) * torch.tensor([width - 1.0, height - 1.0])
    box = torch.tensor([0.2 * width, 0.3 * height, 0.7 * width, 0.8 * height])
    return FaceSample("face", image, box=box, landmarks=landmarks)


class Faces:
    name = "mafl/test"
    fingerprint = "faces"

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> FaceSample:
        return sample(seed=index)


@pytest.mark.parametrize("name", sorted(published.PROTOCOLS))
@pytest.mark.parametrize("size", [64, 137])
def test_every_protocol_gives_a_square_of_eight_bits(name: str, size: int):
    chosen = published.get_protocol(name)
    face = chosen.prepare(sample(points=chosen.points), size)
    assert face.image.shape == (3, size, size)
    assert torch.equal((face.image * 255).round() / 255, face.image)
    assert face.points.shape == (chosen.points, 2)
    assert max(chosen.eyes) < chosen.points


@pytest.mark.parametrize("name", sorted(published.PROTOCOLS))
def test_labels_stay_on_what_they_name(name: str):
    chosen = published.get_protocol(name)
    # AFLW_M counts in pixels of its 150x150 crops.
    given = sample(*((150, 150) if name == "aflw-m" else (218, 178)), points=chosen.points)
    given.image.zero_()
    place = torch.tensor([95.0, 130.0])
    assert given.landmarks is not None
    given.landmarks[0] = place
    given.image[:, 125:136, 90:101] = 1
    face = chosen.prepare(given, 100)
    ys, xs = torch.nonzero(face.image[0] > 0.5, as_tuple=True)
    spot = torch.stack([xs.double().mean(), ys.double().mean()])
    # Published labels leave out the half pixel and, on 300-W, the rounding of the resized photograph.
    assert float((spot - face.points[0]).abs().max()) < 1.2


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("celeba", {"height": 200}, "178x200.*178x218"),
        ("celeba", {"points": 68}, "68 landmarks.*needs 5"),
        ("300w", {"points": 5}, "5 landmarks.*needs 68"),
    ],
)
def test_refuses_other_pictures_and_labels(name: str, change: dict[str, int], words: str):
    with pytest.raises(DataError, match=words):
        published.get_protocol(name).prepare(sample(**change), 100)


def test_refuses_unlabelled_and_boxless_samples():
    bare = sample(points=68)
    bare.box = None
    with pytest.raises(DataError, match="no face box"):
        published.w300_face(bare, 100)
    bare.box = torch.tensor([5.0, 5.0, 5.001, 5.001])
    with pytest.raises(DataError, match=r"photo would be|empty"):
        published.w300_face(bare, 100)
    bare.landmarks = None
    with pytest.raises(DataError, match="no landmarks"):
        published.aflw_m_face(bare, 100)
    with pytest.raises(UsageError, match="did you mean 'nearest'"):
        published_300w.face_window(sample(points=68), torch.zeros(68, 2), "nearst")
    with pytest.raises(UsageError, match="did you mean 'celeba'"):
        published.get_protocol("celebra")


def test_sources_name_their_protocol():
    assert [published.protocol_for(name) for name in ("mafl/test", "celeba/train", "300w/test", "folder")] == [
        "celeba", "celeba", "300w", "",
    ]  # fmt: skip
    faces = published.published_faces(Faces(), "celeba", 100)
    assert [face.image.shape for face in faces] == [(3, 100, 100)] * 3
    assert torch.equal(published.published_faces(Faces(), "celeba", 100, [2])[0].image, faces[2].image)


class Knows(torch.nn.Module):
    """Stands for a regressor: predicts the labels of the faces in order, moved to the right by a share of the view."""

    def __init__(self, faces: Faces, frame: Frame, move: float) -> None:
        super().__init__()
        views = [
            published.plain_view(face, frame.crop)[1]
            for face in published.published_faces(faces, frame.protocol, frame.size)
        ]
        self.answers = to_unit(torch.stack(views), frame.seen, frame.seen) + torch.tensor([move, 0.0])

    def forward(self, descriptors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.answers[: len(descriptors)], self.answers


@pytest.mark.parametrize("move", [0.0, 0.1])
def test_published_landmark_error_is_in_eye_distances(move: float):
    frame = Frame(100, 15, 1.0, protocol="celeba")
    faces = Faces()
    networks = {"descriptor": SmallNet(3), "regressor": Knows(faces, frame, move)}
    config = LandmarkConfig(scheme="5", channels=3, image_size=100, crop=15, view=1.0)
    predictor = LandmarkPredictor(config, networks)
    scores = published_scores(predictor, faces, "celeba")
    eyes = torch.stack([faces[i].landmarks[0] - faces[i].landmarks[1] for i in range(3)])  # type: ignore[index]
    distance = eyes.norm(dim=1) * 100 / 178 * 2 / 69
    assert 100 * scores.mean == pytest.approx(float(100 * (move / distance).mean()), abs=1e-3)
    assert scores.errors.shape == (3, 5)
    shapes = torch.stack([faces[i].landmarks for i in range(3)])  # type: ignore[misc]
    others = (shapes.sum(0) - shapes) / 2
    expected = ((others - shapes).norm(dim=2) / eyes.norm(dim=1)[:, None]).mean()
    assert scores.mean_shape_error == pytest.approx(float(expected), abs=1e-5)
    with pytest.raises(UsageError, match="needs the preprocessing"):
        published_scores(predictor, faces, "")


def test_recipes_train_and_evaluate_on_published_crops():
    small = {"image_size": 36, "crop": 6, "protocol": "celeba"}
    landmarks = {"base": "random", "fit": "paper", "scheme": "5", "backbone": "smallnet", "channels": 3}
    for name, fields in (("dve-smallnet-3d", {}), ("dve-landmarks", landmarks)):
        entry = get_recipe(name)
        recipe = entry.build(entry.config(**{**small, **fields}))
        item = recipe.item(LabelledFaces()[0], torch.Generator().manual_seed(0))
        expected = published.celeba_face(sample(), 36)
        assert torch.equal(item["image"], expected.image)
        if "points" in item:
            assert torch.equal(item["points"], expected.points)
        values = recipe.evaluate(recipe.networks(), LabelledFaces())
        assert values and all(value > 0 for value in values.values())


class LabelledFaces(Faces):
    def __getitem__(self, index: int) -> FaceSample:
        face = super().__getitem__(index)
        face.scheme = "5"
        return face


def test_picks_are_reproducible_and_bounded():
    picks = protocol.annotation_picks(50, 7, seed=3)
    assert len(set(picks.tolist())) == 7
    assert protocol.annotation_epoch(50, 7, seed=3).tolist() == 7 * picks.tolist()
    for count in (0, 51):
        with pytest.raises(DataError, match="1 to 50"):
            protocol.annotation_picks(50, count, seed=0)


def test_single_view_and_look_depend_on_the_generator_alone():
    face = published.celeba_face(sample(), 100)
    image, points = protocol.single_view(face, 15, random_weights(SINGLE, torch.Generator().manual_seed(1)))
    assert image.shape == (3, 70, 70)
    assert torch.equal(points, points.round())
    looks = [published_look(image, torch.Generator().manual_seed(seed)) for seed in (4, 4, 5)]
    assert torch.equal(looks[0], looks[1])
    assert not torch.equal(looks[0], looks[2])
    assert float((looks[0] - image).abs().mean()) > 0.01


def test_queries_are_read_where_the_published_grid_holds_them():
    # 35 is 34.999996 on the float32 grid of 100 pixels cut by 15: step 17 of two pixels each, not the even 18.
    held = published_positions(torch.tensor([[35.0, 36.0], [33.0, 47.0]]), 100, 100, 15)
    assert (held - torch.tensor([[35.0, 36.0], [33.0, 47.0]])).abs().max() < 1e-5
    assert (held / 2).round().tolist() == [[17, 18], [16, 23]]
    face = PreparedFace("a", torch.rand(3, 100, 100), 15 + torch.tensor([[35.0, 36.0]]))
    still = WarpStd(0.0, 0.0, 0.0, 0.0, 0.0)
    (pair,) = matching_pairs([face, face], Frame(100, 15, 1.0), spread=still)
    assert torch.equal(pair.queries, held[:1])
