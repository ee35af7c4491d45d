import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lineament.errors import DataError, UsageError
from lineament.faces.crops import crop_names, crop_size, named_crop, published_points
from lineament.faces.schemes import convert_points
from lineament.geometry.affine2d import Affine2D

# Eyes, nose and mouth of an upright face of unit eye distance about the middle of the eyes.
UPRIGHT = torch.tensor(
    [[-0.5, 0.0], [0.5, 0.0], [0.0, 0.6], [-0.42, 1.05], [0.42, 1.05]], dtype=torch.float64
)
every_crop = pytest.mark.parametrize("name", crop_names())


def five(
    scale: float = 60.0, angle: float = 0.0, shift: tuple[float, float] = (200.0, 150.0)
) -> torch.Tensor:
    return Affine2D.from_similarity(scale, angle, shift).apply(UPRIGHT)


def given_face(name: str, scale: float, angle: float, shift: tuple[float, float]) -> Affine2D:
    points = five(scale, angle, shift)
    low, high = points.amin(0) - 0.6 * scale, points.amax(0) + 0.6 * scale
    use_points = name in ("ffhq", "gmpi", "dve-celeba", "dve-hourglass")
    return named_crop(
        name,
        box=torch.cat([low, high]),
        landmarks=points if use_points else None,
        image_size=(480, 640),
    )


@every_crop
@settings(max_examples=25, deadline=None)
@given(
    st.floats(20.0, 400.0),
    st.floats(-0.6, 0.6),
    st.floats(-300.0, 900.0),
    st.floats(-300.0, 900.0),
    st.integers(0, 99),
)
def test_crop_then_inverse_is_the_identity(
    name: str, scale: float, angle: float, x: float, y: float, seed: int
) -> None:
    crop = given_face(name, scale, angle, (x, y))
    points = 1000.0 * torch.randn(30, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert (crop.inverse().apply(crop.apply(points)) - points).abs().max() < 1e-4
    assert (crop.apply(crop.inverse().apply(points)) - points).abs().max() < 1e-4


@every_crop
def test_the_face_lies_inside_and_upright(name: str) -> None:
    points = five()
    crop = given_face(name, 60.0, 0.0, (200.0, 150.0))
    inside, size = crop.apply(points), crop_size(name)
    assert inside.amin() >= 0 and inside.amax() <= size - 1
    assert inside[:2, 1].max() < inside[2, 1] < inside[3:, 1].min()
    assert inside[0, 0] < inside[2, 0] < inside[1, 0]


# fabrec is left out: it cuts its region to whole pixels of each size.
@pytest.mark.parametrize("name", [name for name in crop_names() if name != "fabrec"])
def test_another_size_is_the_same_crop_finer(name: str) -> None:
    points, size = five(), crop_size(name)
    arguments = {"landmarks": points, "image_size": (480, 640)}
    small = named_crop(name, **arguments).apply(points)
    large = named_crop(name, size=2 * size, **arguments).apply(points)
    assert torch.allclose((large + 0.5) / 2 - 0.5, small, atol=1e-6)


@pytest.mark.parametrize("name", ["ffhq", "dve-celeba", "dve-hourglass"])
@settings(max_examples=20, deadline=None)
@given(st.floats(20.0, 400.0), st.floats(-3.0, 3.0), st.floats(-300.0, 900.0))
def test_aligned_crops_undo_scale_and_rotation(name: str, scale: float, angle: float, x: float) -> None:
    points = five(scale, angle, (x, 100.0))
    aligned = named_crop(name, landmarks=points).apply(points)
    assert torch.allclose(aligned, named_crop(name, landmarks=five()).apply(five()), atol=1e-6)


def test_ffhq_by_hand() -> None:
    points = five(100.0, 0.0, (300.0, 200.0))
    crop = named_crop("ffhq", landmarks=points, size=256)
    # Eye distance 100, eyes to mouth 105: the half side is max(200, 189), the centre 10.5 below the eyes.
    corner = torch.tensor([[300.0 - 200.0, 210.5 - 200.0]], dtype=torch.float64)
    assert crop.apply(corner)[0].tolist() == pytest.approx([-0.5, -0.5])
    assert crop.scale == pytest.approx(256 / 400)


def test_box_crop_by_hand() -> None:
    crop = named_crop("box", box=torch.tensor([10.0, 20.0, 50.0, 100.0]), size=100, factor=1.25)
    assert crop.apply(torch.tensor([[30.0, 60.0], [-20.0, 10.0]])).tolist() == [[49.5, 49.5], [-0.5, -0.5]]


def test_celeba_window_by_hand() -> None:
    points = torch.tensor([[69.0, 111.0], [108.0, 111.0]])
    crop = named_crop("dve-celeba", image_size=(218, 178))
    expected = torch.tensor([[69.0, 81.0], [108.0, 81.0]]) * 100 / 178 - 15
    assert torch.allclose(published_points(points, crop), expected, atol=1e-5)
    whole = named_crop("dve-celeba", image_size=(218, 178), size=100, trim=False)
    assert torch.allclose(whole.apply(points) - 15, crop.apply(points), atol=1e-5)


def test_depthnet_squashes_the_tight_box() -> None:
    points = torch.tensor([[10.7, 20.2], [50.9, 30.0], [30.0, 100.6]])
    crop = named_crop("depthnet-80", landmarks=points.repeat(22, 1), scheme="66")
    assert crop.axis_scales == pytest.approx((80 / 40, 80 / 80))
    assert not crop.is_similarity


def test_fabrec_keeps_the_middle_of_its_region() -> None:
    box = torch.tensor([100.0, 100.0, 200.0, 220.0])
    inner = named_crop("fabrec", box=box, size=128)
    whole = named_crop("fabrec", box=box, size=128, trim=False)
    point = torch.tensor([[150.0, 160.0]])
    offset = int((math.ceil(128 * 2**0.5) - 128) / 2)
    assert torch.allclose(whole.apply(point) - offset, inner.apply(point), atol=1e-5)
    tighter = named_crop("fabrec", box=box, size=128, margins=(0.0, 0.0))
    assert tighter.scale > inner.scale


def test_landmarks_of_other_schemes_are_converted() -> None:
    points = 200.0 + 30.0 * torch.randn(98, 2, generator=torch.Generator().manual_seed(0))
    direct = named_crop("ffhq", landmarks=points)
    through = named_crop("ffhq", landmarks=convert_points(points, "98", "5"), scheme="5")
    assert torch.allclose(direct.matrix, through.matrix, atol=1e-4)


def test_impossible_requests_are_refused() -> None:
    box = torch.tensor([0.0, 0.0, 10.0, 10.0])
    with pytest.raises(UsageError, match="dve-celeba"):
        named_crop("dve-celba", box=box)
    with pytest.raises(UsageError, match="factor"):
        named_crop("box", box=box, fator=2.0)
    with pytest.raises(UsageError):
        named_crop("box", box=box, factor=-1.0)
    with pytest.raises(UsageError):
        named_crop("box", box=box, size=0)
    with pytest.raises(UsageError, match="7 landmarks"):
        named_crop("box", landmarks=torch.rand(7, 2))
    with pytest.raises(DataError, match="without NaN"):
        named_crop("ffhq", landmarks=torch.full((5, 2), float("nan")))
    with pytest.raises(DataError):
        named_crop("box", box=torch.tensor([5.0, 5.0, 5.0, 9.0]))
    with pytest.raises(DataError):
        named_crop("gmpi", landmarks=five())
    for name in crop_names():
        with pytest.raises(DataError):
            named_crop(name)
        with pytest.raises(DataError):
            named_crop(name, landmarks=torch.ones(5, 2), image_size=(100, 100))
