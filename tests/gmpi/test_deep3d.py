"""Deep3DFaceRecon: its alignment, its network, and weights in the published names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tests.gmpi.old_deep3d import published_weights, random_network, small_network
from torch import Tensor

from lineament.errors import CheckpointError, DataError
from lineament.faces.deep3d_alignment import MEAN_FACE, align_image, align_map, align_points, find_window
from lineament.methods.gmpi.deep3d import (
    COEFFICIENTS,
    OUTPUTS,
    Deep3DNetwork,
    load_deep3d,
    predict_coefficients,
)


def face_at(x: float, y: float, large: float, height: int) -> Tensor:
    """Five points of the mean face seen from the front, y down."""
    mean = torch.tensor(MEAN_FACE, dtype=torch.float64)
    return torch.stack([large * mean[:, 0] + x, height - 1 - (large * mean[:, 1] + y)], 1)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Deep3DNetwork:
    return small_network(monkeypatch)


def twin(state: dict[str, Tensor], images: Tensor) -> Tensor:
    """ResNet-50 with the published names, written without classes."""

    def normalised(x: Tensor, name: str) -> Tensor:
        mean, variance, weight, bias = (
            state[f"backbone.{name}.{part}"].double()[:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (variance + 1e-5).sqrt() * weight + bias

    def convolved(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = state[f"backbone.{name}.weight"].double()
        return F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    x = F.max_pool2d(normalised(convolved(images.double(), "conv1", 2), "bn1").relu(), 3, 2, 1)
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        for block in range(blocks):
            at = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            shortcut = x
            if block == 0:
                shortcut = normalised(convolved(x, f"{at}.downsample.0", stride), f"{at}.downsample.1")
            y = normalised(convolved(x, f"{at}.conv1"), f"{at}.bn1").relu()
            y = normalised(convolved(y, f"{at}.conv2", stride), f"{at}.bn2").relu()
            x = (normalised(convolved(y, f"{at}.conv3"), f"{at}.bn3") + shortcut).relu()
    mean = x.mean((2, 3), keepdim=True)
    outputs = [
        F.conv2d(mean, state[f"final_layers.{n}.weight"].double(), state[f"final_layers.{n}.bias"].double())
        for n in range(7)
    ]
    return torch.cat(outputs, 1).flatten(1)


def test_the_network_is_the_published_one(tmp_path: Path):
    network = random_network()
    # ResNet-50 without its classifier, and 257 outputs of 2048 features.
    assert sum(p.numel() for p in network.parameters()) == 23_508_032 + OUTPUTS * 2049
    state = published_weights(network.state_dict())
    torch.save({"net_recon": state, "opt_00": {"state": {}, "param_groups": []}}, tmp_path / "epoch_20.pth")
    aligned = torch.randint(0, 256, (2, 3, 224, 224), generator=torch.Generator().manual_seed(0)).byte()
    expected = twin(state, aligned.double() / 255)
    found = predict_coefficients(load_deep3d(tmp_path / "epoch_20.pth"), aligned)
    assert {key: value.shape[1] for key, value in found.items()} == COEFFICIENTS
    joint = torch.cat([*found.values()], 1).double()
    assert float((joint - expected).abs().max()) < 1e-4 * float(expected.abs().max())
    # A face alone has the same coefficients.
    alone = predict_coefficients(network, aligned[1:])["angle"]
    torch.testing.assert_close(alone, found["angle"][1:], rtol=1e-4, atol=1e-5)


def test_weights_are_read_in_the_older_form_and_with_one_last_layer(small: Deep3DNetwork, tmp_path: Path):
    state = published_weights(small.state_dict())
    parallel = {f"module.{name}": value for name, value in state.items()}
    torch.save(parallel, tmp_path / "older.pth", _use_new_zipfile_serialization=False)
    joined = {f"backbone.{name}": value for name, value in small.state_dict().items()}
    torch.save({"net_recon": joined}, tmp_path / "one_layer.pth")
    for name in ("older", "one_layer"):
        loaded = load_deep3d(tmp_path / f"{name}.pth").state_dict()
        assert loaded.keys() == small.state_dict().keys()
        assert all(torch.equal(value, loaded[key]) for key, value in small.state_dict().items())


def without(name: str) -> Callable[[dict[str, Tensor]], object]:
    return lambda state: {"net_recon": {key: value for key, value in state.items() if key != name}}


class Shell:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_weights_that_do_not_fit_are_named(small: Deep3DNetwork, tmp_path: Path):
    state = published_weights(small.state_dict())
    nan = {**state, "backbone.bn1.bias": torch.full((64,), float("nan"))}
    changed: dict[str, tuple[object, str]] = {
        "missing": (without("backbone.layer2.1.conv2.weight")(state), r"lacks the weight 'layer2.1.conv2.weight'"),
        "layer": (without("final_layers.3.bias")(state), r"has nothing as 'final_layers.3.bias', not \[3\]"),
        "shape": ({**state, "backbone.conv1.weight": torch.zeros(64, 3, 3, 3)}, r"'conv1.weight' as \[64, 3, 3, 3\]"),
        "beyond": ({**state, "backbone.fc2.bias": torch.zeros(1)}, "'fc2.bias' that does not belong"),
        "eighth": ({**state, "final_layers.7.bias": torch.zeros(1)}, "'final_layers.7.bias' that does not belong"),
        "nan": ({"net_recon": nan}, "not finite"),
        "other": ({"net_recon": {"weight": torch.zeros(3)}}, "lacks the weight 'conv1.weight'"),
        "list": ([torch.zeros(3)], "holds no weights by name"),
        "empty": ({"net_recon": {}}, "holds no weights by name"),
    }  # fmt: skip
    for name, (content, words) in changed.items():
        path = tmp_path / f"{name}.pth"
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=words):
            load_deep3d(path)
    whole = tmp_path / "whole.pth"
    torch.save({"net_recon": state}, whole)
    (tmp_path / "cut.pth").write_bytes(whole.read_bytes()[:-100])
    for name in ("cut.pth", "none.pth"):
        with pytest.raises(CheckpointError, match=name):
            load_deep3d(tmp_path / name)


def test_a_file_of_weights_executes_nothing(small: Deep3DNetwork, tmp_path: Path):
    touched = tmp_path / "touched"
    torch.save(
        {"net_recon": published_weights(small.state_dict()), "opt_00": Shell(touched)},
        tmp_path / "hostile.pth",
    )
    # What is beside the network is not taken, so that it may be anything.
    load_deep3d(tmp_path / "hostile.pth")
    torch.save({"net_recon": {"backbone.conv1.weight": Shell(touched)}}, tmp_path / "worse.pth")
    with pytest.raises(CheckpointError):
        load_deep3d(tmp_path / "worse.pth")
    assert not touched.exists()


def test_the_window_follows_the_face():
    generator = torch.Generator().manual_seed(3)
    image = torch.rand(3, 300, 260, generator=generator)
    window = find_window(face_at(130.0, 149.0, 102.0, 300), (300, 260))
    assert window.face_scale == pytest.approx(102) and window.size in ((260, 300), (259, 299))
    # At scale 1 nothing is resampled.
    window = find_window(face_at(130.0, 149.0, 101.999, 300), (300, 260))
    assert window.size == (260, 300) and window.corner == (18, 39)
    part = image[:, 39 : 39 + 224, 18 : 18 + 224]
    assert torch.equal(align_image(image, window), (part * 255).round().byte())
    assert torch.equal(align_map(image[0], window), part[0])
    points = torch.tensor([[18.0, 39.0], [241.0, 262.0]])
    # y counts up from the last row of the window, up to the pixel that the corner was cut to.
    moved = align_points(points, window)
    assert float((moved - torch.tensor([[0.0, 223.0], [223.0, 0.0]])).abs().max()) <= 1.01
    # A window that reaches outside is black there.
    outside = find_window(face_at(0.0, 299.0, 101.999, 300), (300, 260))
    assert outside.corner[0] < 0 and not align_image(image, outside)[:, :, : -outside.corner[0]].any()


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (torch.full((5, 2), 7.0), "do not coincide"),
        (torch.full((5, 2), float("nan")), "without NaN"),
        (torch.zeros(4, 2), "needs five points"),
        (face_at(50.0, 50.0, 1e6, 100), "would shrink the image to 0x0"),
    ],
)
def test_points_that_cannot_be_aligned_say_why(points: Tensor, words: str):
    with pytest.raises(DataError, match=words):
        find_window(points, (100, 100))


def test_a_face_of_a_pixel_asks_for_no_memory():
    window = find_window(face_at(50.0, 50.0, 0.5, 100), (100, 100))
    with pytest.raises(DataError, match="would enlarge the image to 20"):
        align_image(torch.zeros(3, 100, 100), window)
