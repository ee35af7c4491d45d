"""The Inception network of FID: names, shapes and order of its weights, its parts against closed forms."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from lineament.errors import CheckpointError
from lineament.evaluation.inception_features import InceptionFeatures
from lineament.nn.inception import ConvNorm, InceptionV3, Mixed, resize_like_tensorflow

# Layers of the blocks as the published state dict has them, in its order.
BLOCKS = {
    "Mixed_5b Mixed_5c Mixed_5d": (
        "branch1x1 branch5x5_1 branch5x5_2 branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3 branch_pool"
    ),
    "Mixed_6a": "branch3x3 branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3",
    "Mixed_6b Mixed_6c Mixed_6d Mixed_6e": (
        "branch1x1 branch7x7_1 branch7x7_2 branch7x7_3 branch7x7dbl_1 branch7x7dbl_2 branch7x7dbl_3 "
        "branch7x7dbl_4 branch7x7dbl_5 branch_pool"
    ),
    "Mixed_7a": "branch3x3_1 branch3x3_2 branch7x7x3_1 branch7x7x3_2 branch7x7x3_3 branch7x7x3_4",
    "Mixed_7b Mixed_7c": (
        "branch1x1 branch3x3_1 branch3x3_2a branch3x3_2b branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3a "
        "branch3x3dbl_3b branch_pool"
    ),
}
STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")
SHAPES = {
    "Conv2d_1a_3x3": (32, 3, 3, 3),
    "Conv2d_4a_3x3": (192, 80, 3, 3),
    "Mixed_5b.branch_pool": (32, 192, 1, 1),
    "Mixed_5d.branch5x5_2": (64, 48, 5, 5),
    "Mixed_6a.branch3x3": (384, 288, 3, 3),
    "Mixed_6b.branch7x7_2": (128, 128, 1, 7),
    "Mixed_6b.branch7x7dbl_2": (128, 128, 7, 1),
    "Mixed_6d.branch7x7dbl_5": (192, 160, 1, 7),
    "Mixed_6e.branch7x7_3": (192, 192, 7, 1),
    "Mixed_7a.branch7x7x3_4": (192, 192, 3, 3),
    "Mixed_7b.branch3x3_2a": (384, 384, 1, 3),
    "Mixed_7b.branch3x3dbl_1": (448, 1280, 1, 1),
    "Mixed_7c.branch3x3dbl_3b": (384, 384, 3, 1),
    "Mixed_7c.branch_pool": (192, 2048, 1, 1),
}


@pytest.fixture(scope="module")
def network() -> InceptionV3:
    torch.manual_seed(0)
    made = InceptionV3()
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.05, 0.2)
    return made


def test_weights_have_the_published_names_and_shapes(network: InceptionV3):
    layers = list(STEM)
    for names, parts in BLOCKS.items():
        layers += [f"{name}.{part}" for name in names.split() for part in parts.split()]
    norm = ("weight", "bias", "running_mean", "running_var")
    names = [name for each in layers for name in (f"{each}.conv.weight", *(f"{each}.bn.{n}" for n in norm))]
    state = network.state_dict()
    own = [name for name in state if not name.endswith("num_batches_tracked")]
    assert own == [*names, "fc.weight", "fc.bias"] and len(layers) == 94
    for layer, shape in SHAPES.items():
        assert state[f"{layer}.conv.weight"].shape == shape
        assert state[f"{layer}.bn.running_var"].shape == shape[:1]
    # 21,785,568 before the classes, as the usual network without its second classifier has.
    classes = 2048 * 1008 + 1008
    assert sum(each.numel() for each in network.parameters()) == 21_785_568 + classes


def test_a_state_dict_is_taken_whole_and_its_norms_folded(network: InceptionV3, tmp_path: Path):
    state = {name: value.clone() for name, value in network.state_dict().items()}
    torch.save(state, tmp_path / "inception.pth")
    images = torch.randint(0, 256, (2, 3, 40, 40)) / 255
    with torch.no_grad():
        network.eval()
        plain = network(images * 255)
    found = InceptionFeatures(tmp_path / "inception.pth").pooled_features(images)
    assert found.shape == (2, 2048)
    torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-4 * float(plain.abs().max()))
    # Without the counts of batches, as TensorFlow's weights come, and the same.
    kept = {name: value for name, value in state.items() if "tracked" not in name}
    again = InceptionV3().load(kept)
    with torch.no_grad():
        torch.testing.assert_close(again(images * 255), found, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("what", ["missing", "more", "shape", "nan"])
def test_another_state_dict_is_refused(network: InceptionV3, what: str):
    state = dict(network.state_dict())
    name = "Mixed_6c.branch7x7_2.conv.weight"
    if what == "missing":
        del state[name]
    elif what == "more":
        state["AuxLogits.fc.weight"] = torch.zeros(1)
    elif what == "shape":
        state[name] = state[name].transpose(2, 3)
    else:
        state[name] = state[name].clone().fill_(float("nan"))
    expected = {
        "missing": f"has no {name}",
        "more": "too many: AuxLogits",
        "shape": "not \\[160, 160, 7, 1\\]",
    }
    with pytest.raises(CheckpointError, match=expected.get(what, "finite numbers")):
        InceptionV3().load(state, "x.pth")


def test_images_are_resized_as_tensorflow_did():
    image = torch.arange(4.0).expand(1, 1, 4, 4)
    # Pixel i at i / 2: halves between neighbours, the last one repeated.
    across = torch.tensor([0, 0.5, 1, 1.5, 2, 2.5, 3, 3])
    assert torch.equal(resize_like_tensorflow(image, 8)[0, 0], across.expand(8, 8))
    # Every second pixel: nothing is smoothed.
    image = torch.rand(2, 3, 8, 8)
    assert torch.equal(resize_like_tensorflow(image, 4), image[..., ::2, ::2])
    assert torch.equal(resize_like_tensorflow(image, 8), image)


def test_pools_of_blocks_are_those_of_the_published_network(network: InceptionV3):
    pools = {name: block.pool for name, block in network.named_children() if isinstance(block, Mixed)}
    assert [name for name, pool in pools.items() if pool == "halve"] == ["Mixed_6a", "Mixed_7a"]
    assert [name for name, pool in pools.items() if pool == "max"] == ["Mixed_7c"]
    torch.manual_seed(1)
    block = Mixed(2, [], "mean", 3).eval()
    x = torch.rand(1, 2, 4, 4)
    # At a corner the mean is that of the four pixels that are there.
    padded, ones = (F.pad(each, (1, 1, 1, 1)) for each in (x, torch.ones_like(x)))
    mean = F.avg_pool2d(padded, 3, 1) / F.avg_pool2d(ones, 3, 1)
    assert isinstance(block.branch_pool, ConvNorm)
    torch.testing.assert_close(block(x), block.branch_pool(mean))
