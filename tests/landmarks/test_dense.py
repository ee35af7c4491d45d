"""Schemes that lie on a head: from their points to descriptors of every place."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.landmarks.marked_faces import Faces, tiny

from lineament.capabilities import DenseDescriptor, LandmarkPredictor, capability
from lineament.errors import DataError, UsageError
from lineament.faces.schemes import scheme, scheme_content
from lineament.geometry.rotation import matrix_from_pose
from lineament.heads.surface import BELL, HeadSurface, embed
from lineament.inference import load
from lineament.metrics.correspondence import match_points_smoothly
from lineament.training.loop import LoopOptions, train

LAYOUT = scheme("400-dense")
SIDE = 56


def seen_at(yaw: float, places: np.ndarray) -> np.ndarray:
    """Cells ``[N, 2]`` at which a far camera shows places of the head, the eyes about 20 cells apart."""
    turn = matrix_from_pose(torch.tensor([np.radians(yaw), 0.1, 0.05], dtype=torch.float64)).numpy()
    return 0.24 * (places @ turn.T)[:, :2] + np.array([28.0, 24.0])


def features(surface: HeadSurface, yaw: float) -> torch.Tensor:
    points = seen_at(yaw, surface.places)
    grid = surface.view(points, np.zeros(len(points)), SIDE)
    return embed(torch.from_numpy(grid)).permute(2, 0, 1)


def test_the_cosine_of_two_places_is_a_bell_of_their_distance() -> None:
    generator = torch.Generator().manual_seed(0)
    places = 60.0 * torch.randn(200, 2, generator=generator)
    vectors = embed(places)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(200))
    near = embed(places + 10.0 * torch.nn.functional.normalize(torch.randn(200, 2, generator=generator)))
    expected = np.exp(-0.5 * (10.0 / BELL) ** 2)
    torch.testing.assert_close((vectors * near).sum(1), torch.full((200,), expected), rtol=0, atol=3e-3)
    # Nothing far away looks alike.
    apart = torch.cdist(places, places)
    assert float((vectors @ vectors.T)[apart > 3 * BELL].max()) < 0.75


def test_points_of_one_view_are_found_in_another() -> None:
    surface = HeadSurface(LAYOUT)
    inner = surface.places[surface.places[:, 2] < 10]
    one, other = (torch.from_numpy(seen_at(yaw, inner)).float() for yaw in (-10.0, 15.0))
    eyes = LAYOUT.ocular_points()
    length = float((seen_at(15.0, surface.places)[eyes[0]] - seen_at(15.0, surface.places)[eyes[1]])[0])
    maps = [features(surface, yaw) for yaw in (-10.0, 15.0)]
    back, _ = match_points_smoothly(maps[0], maps[0], one, 1.0)
    assert float((back - one).norm(dim=1).mean()) < 0.003 * abs(length)
    found, _ = match_points_smoothly(maps[0], maps[1], one, 1.0)
    distances = (found - other).norm(dim=1) / abs(length)
    assert float(distances.median()) < 0.012 and float(distances.mean()) < 0.02


def test_what_a_turned_head_hides_does_not_cover_what_it_shows() -> None:
    surface = HeadSurface(LAYOUT)
    points = seen_at(70.0, surface.places)
    seen = surface.seen(points, SIDE)
    # Turned to the image right the image-left half is in view.
    assert seen[surface.places[:, 0] < -45].mean() > 0.85
    assert seen[surface.places[:, 0] > 45].mean() < 0.1
    grid = surface.view(points, np.zeros(len(points)), SIDE)
    shown = np.rint(points[seen]).astype(int)
    off = np.linalg.norm(grid[shown[:, 1], shown[:, 0]] - surface.flat[seen], axis=1)
    assert np.median(off) < 4.0 and np.percentile(off, 95) < 15.0


def test_uncertain_points_yield() -> None:
    surface = HeadSurface(LAYOUT)
    points = seen_at(5.0, surface.places)
    exact = surface.view(points, np.zeros(len(points)), SIDE)
    wrong = int(np.argmin(np.linalg.norm(surface.places - [-45, 40, 0], axis=1)))
    points[wrong] += [2.0, -2.0]
    deviations = np.full(len(points), 0.1)
    believed = np.abs(surface.view(points, deviations, SIDE) - exact).max()
    deviations[wrong] = 5.0
    doubted = np.abs(surface.view(points, deviations, SIDE) - exact).max()
    assert doubted < 0.4 * believed


@pytest.mark.parametrize("spot", [0.0, 1e-9])
def test_points_that_say_nothing_give_numbers_still(spot: float) -> None:
    surface = HeadSurface(LAYOUT)
    points = np.full((len(LAYOUT), 2), 20.0) + spot * np.arange(len(LAYOUT))[:, None]
    assert np.isfinite(surface.view(points, np.full(len(LAYOUT), 3.0), SIDE)).all()


def test_a_scheme_without_a_surface_has_none() -> None:
    with pytest.raises(DataError, match="does not say where its points lie"):
        HeadSurface(scheme("68"))


def test_a_run_of_such_a_scheme_describes_faces(tmp_path: Path) -> None:
    content = {**scheme_content(scheme("5")), "name": "five-on-a-head"}
    content["surface"] = [[-32, 0, 0], [32, 0, 0], [0, 32, -50], [-24, 71, -20], [24, 71, -20]]
    path = tmp_path / "five.yaml"
    path.write_text(json.dumps(content))
    run = train(
        tiny(scheme=str(path), steps=3),
        Faces(4),
        tmp_path / "run",
        options=LoopOptions(progress=False, report=False, figures=False),
    )
    path.unlink()
    model = load(run.folder)
    predictor = model.capability(DenseDescriptor)
    face = Faces(4)[1]
    assert face.box is not None and isinstance(predictor, LandmarkPredictor)
    found = predictor.describe(face.image, torch.stack([face.box, face.box + 2.0]))
    count, side = found.side / found.stride, found.side
    assert found.features.shape[0] == 2 and found.features.shape[2:] == (count, count) and found.smooth
    torch.testing.assert_close(found.features.norm(dim=1), torch.ones(2, int(count), int(count)))
    # The views that were described are those that the transforms say.
    views = predictor.describe_views(torch.nn.functional.interpolate(face.image[None], (2 * side, 2 * side)))
    assert views.shape == (1, *found.features.shape[1:])
    assert predictor.describe(face.image, torch.zeros(0, 4)).features.shape[0] == 0
    with pytest.raises(UsageError, match="landmarks of a scheme that lies on a head"):
        capability(tiny().predictor(tiny().networks()), DenseDescriptor, "a run")
