"""A second look at faces: what it sees, how both are averaged, and that it helps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

import lineament
from lineament.capabilities import LandmarkPredictor as Capability
from lineament.faces import boxes
from lineament.faces.schemes import convert_points, scheme
from lineament.methods.landmarks.crop import AROUND, CLOSER, closer_square
from lineament.methods.landmarks.model import build_networks
from lineament.methods.landmarks.predictor import LandmarkPredictor, confidence
from lineament.synthetic.scene import PHOTO
from lineament.synthetic.source import SyntheticFaces

FIVE = torch.tensor([[84.0, 90.0], [127.0, 97.0], [101.0, 121.0], [79.0, 141.0], [116.0, 147.0]]).double()
BOX = boxes.box_from_five_points(FIVE)


def _dots(points: Tensor, side: int = 240) -> Tensor:
    """White dots on black."""
    rows, columns = torch.meshgrid(*[torch.arange(float(side))] * 2, indexing="ij")
    away = (columns - points[:, 0, None, None]).square() + (rows - points[:, 1, None, None]).square()
    return torch.exp(-away / 8.0).amax(0).float().expand(3, -1, -1).contiguous()


class _FindsDots(LandmarkPredictor):
    """Reads dots instead of faces: the two highest are the eyes, the two lowest the corners of the mouth."""

    def __init__(self, stds: tuple[float, ...], second_look: bool = True) -> None:
        layout = scheme("5")
        super().__init__(build_networks(len(layout)), layout, 112, second_look=second_look)
        self.stds, self.images = stds, []

    def read_many(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        std = self.stds[len(self.images)]
        self.images.append(images)
        found = []
        for image in images.mean(1).double().numpy():
            labels, count = ndimage.label(image > 0.3)
            assert count == 5
            middles = np.array(ndimage.center_of_mass(np.where(image > 0.3, image, 0), labels, range(1, 6)))
            order = middles[:, 0].argsort()
            pairs = [sorted(pair, key=lambda k: middles[k, 1]) for pair in (order[:2], order[3:])]
            rows = [*pairs[0], order[2], *pairs[1]]
            found.append(torch.from_numpy((middles[rows, ::-1] + 0.5) / image.shape[-1]))
        points = torch.stack(found).float()
        return points, torch.full(points.shape[:2], std), torch.zeros(points.shape[:2])


def test_both_looks_find_the_same_points_in_the_photo() -> None:
    """A network that follows a mirrored, turned and closer square gives the same places in the photo."""
    finds = _FindsDots((0.01, 0.01))
    found = finds.landmarks(_dots(FIVE), BOX[None])
    np.testing.assert_allclose(found.points[0], FIVE, atol=0.35)
    first, second = (images[0].mean(0) for images in finds.images)
    assert (first - second).abs().max() > 0.5


def test_a_second_look_is_upright_and_closer() -> None:
    layout = scheme("5")
    square = closer_square(FIVE, layout, BOX, 112)
    seen = square.apply(FIVE)
    across, down = (seen[3:].mean(0) - seen[:2].mean(0)).tolist()
    assert abs(across) < 1e-6 < down
    side = float(boxes.size(BOX).max())
    assert square.scale == pytest.approx(112 / (AROUND * CLOSER * side))
    torch.testing.assert_close(square.apply(boxes.centre(BOX)), torch.full((2,), 55.5).double())


def test_points_far_from_the_box_leave_the_square_where_it_was() -> None:
    square = closer_square(FIVE + 500.0, scheme("5"), BOX, 112)
    torch.testing.assert_close(square.apply(boxes.centre(BOX)), torch.full((2,), 55.5).double())
    assert square.rotation == 0.0


def test_the_surer_look_counts_more_and_two_are_no_surer_than_one() -> None:
    """Weights are inverse squares of the deviations; the deviation is their mean in that sense."""
    one = _FindsDots((0.01,), second_look=False).landmarks(_dots(FIVE), BOX[None])
    moved = _FindsDots((0.01, 0.03))
    plain_look = moved._look
    moved._look = lambda image, squares, mirrored=False: (  # type: ignore[method-assign]
        plain_look(image, squares, mirrored)
        if not mirrored
        else plain_look(image, squares, mirrored)._replace(points=one.points.double() + 10.0)
    )
    two = moved.landmarks(_dots(FIVE), BOX[None])
    assert one.std_px is not None and two.std_px is not None
    ratio = 3.0 * CLOSER
    share = 1.0 / (1.0 + ratio**-2)
    np.testing.assert_allclose(two.points - one.points, 10.0 * (1.0 - share), rtol=0.02)
    np.testing.assert_allclose(two.std_px / one.std_px, math.sqrt(2.0 / (1.0 + ratio**-2)), rtol=5e-3)
    side = float(boxes.size(BOX).max())
    np.testing.assert_allclose(two.confidence, confidence(two.std_px / side / AROUND), rtol=1e-5)


@pytest.mark.parametrize("second", [0.002, 0.2])
def test_the_first_look_alone_tells_whether_there_is_a_face(second: float) -> None:
    """The second one follows the first, to what looks like a face."""
    found = _FindsDots((0.01, second)).landmarks(_dots(FIVE), BOX[None])
    assert found.uncertainty is not None
    np.testing.assert_allclose(found.uncertainty, [0.01 * AROUND], rtol=1e-5)


def test_no_boxes_give_no_points() -> None:
    found = _FindsDots(()).landmarks(_dots(FIVE), torch.zeros(0, 4))
    assert found.points.shape == (0, 5, 2)
    assert found.uncertainty is not None and found.uncertainty.shape == (0,)


def test_a_second_look_lowers_the_error_of_the_model_that_comes_with_the_package() -> None:
    predictor = lineament.load("face-68").capability(Capability)
    assert isinstance(predictor, LandmarkPredictor) and predictor.second_look
    source = SyntheticFaces(count=24, size=192, seed=77, options=PHOTO)
    errors: dict[bool, list[float]] = {True: [], False: []}
    for index in range(len(source)):
        sample = source[index]
        assert sample.landmarks is not None and sample.scheme is not None
        truth = convert_points(sample.landmarks.double(), sample.scheme, "68")
        box = boxes.box_like_yunet(truth)
        for looks in errors:
            predictor.second_look = looks
            found = predictor.landmarks(sample.image, box[None]).points[0]
            errors[looks].append(float((found - truth).norm(dim=-1).mean() / boxes.size(box).max()))
    assert np.mean(errors[True]) < np.mean(errors[False])
