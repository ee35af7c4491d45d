"""Generators and discriminator of GMPI: the lean form against planes that are really made, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lineament.errors import CheckpointError, UsageError
from lineament.methods.gmpi.alpha import (
    VARIANTS,
    centred_and_std,
    interpolation_weights,
    resolve_variant,
    side_columns,
    stretch_sides,
)
from lineament.methods.gmpi.discriminator import Discriminator, load_unconditional
from lineament.methods.gmpi.generator import GMPIGenerator, StyleGAN2Generator
from lineament.methods.gmpi.multiplane_synthesis import MultiplaneBlock
from lineament.methods.gmpi.reference_names import from_reference, reference_parameters

SMALL: dict[str, Any] = {
    "z_dim": 12,
    "w_dim": 12,
    "channel_base": 256,
    "channel_max": 16,
    "mapping_layers": 2,
}
DEPTHS = torch.tensor([0.0, 0.2, 0.55, 1.0])


def z(count: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(count, 12, generator=torch.Generator().manual_seed(seed))


def gmpi(variant: str, resolution: int = 32, **options: Any) -> GMPIGenerator:
    torch.manual_seed(1)
    network = GMPIGenerator(resolution, DEPTHS, variant=variant, alpha_resolution=16, **{**SMALL, **options})
    for name, parameter in network.named_parameters():
        if name.rpartition(".")[2].startswith("bias") or name.endswith("noise_strength"):
            torch.nn.init.normal_(parameter, std=0.1)
    return network.eval()


def plain_colours(block: MultiplaneBlock, x: Tensor, w: Tensor) -> Tensor:
    """Colour, and the background from features that are really stretched."""
    stretched = stretch_sides(side_columns(x.detach(), block.side), block.resolution, block.side)
    return torch.cat([block.torgb(x, w), block.torgb(stretched, w)], dim=1)


def plain_opacity(
    block: MultiplaneBlock, x: Tensor, for_layer: Tensor, for_image: Tensor, depths: Tensor
) -> Tensor:
    """Alpha from features of each plane, ``[B P, C, H, W]``, which the network never makes."""
    assert block.plane_embedding is not None and block.toalpha is not None
    std = (x.var(dim=(2, 3), keepdim=True) + 1e-8).sqrt()
    normalised = (x - x.mean(dim=(2, 3), keepdim=True)) / (std + 1e-8)
    vectors = block.plane_embedding(for_layer, depths)
    per_plane = normalised[:, None] + vectors[..., None, None]
    alpha: Tensor = block.toalpha(per_plane.flatten(0, 1), for_image.repeat_interleave(len(depths), dim=0))
    return alpha.unflatten(0, (len(x), len(depths)))[:, :, 0]


@pytest.mark.parametrize("variant", ["plane-depth", "plane-token"])
def test_alpha_equals_features_of_each_plane(variant: str):
    network = gmpi(variant, conv_clamp=2.5).double()
    block = network.synthesis.b16
    assert isinstance(block, MultiplaneBlock)
    leaf = torch.randn(2, 16, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    w = network.mapping(z().double())[:, 0]
    depths = torch.linspace(0, 1, 7, dtype=torch.float64)
    results = []
    for lean in (True, False):
        network.zero_grad()
        x = leaf.clone().requires_grad_()
        if lean:
            made = torch.cat([block._colours(x, w), block._opacity(x, w, w, depths)], dim=1)
        else:
            made = torch.cat([plain_colours(block, x, w), plain_opacity(block, x, w, w, depths)], dim=1)
        loss = (made * torch.linspace(-1, 1, made.numel(), dtype=torch.float64).view_as(made)).sum()
        wanted = [
            x,
            *(each for each in block.parameters() if each.requires_grad),
            *network.mapping.parameters(),
        ]
        gradients = torch.autograd.grad(loss, wanted, retain_graph=True, allow_unused=True)
        results.append([made.detach(), *(torch.zeros(()) if each is None else each for each in gradients)])
    assert bool((results[0][0][:, 6:].abs() == 2.5).any()) and bool((results[0][0][:, 6:].abs() < 2.5).any())
    for seen, expected in zip(*results, strict=True):
        torch.testing.assert_close(seen, expected, rtol=1e-9, atol=1e-9)


def test_the_background_teaches_weights_and_not_features():
    network = gmpi("plane-depth")
    x = torch.randn(1, 16, 16, 16, requires_grad=True)
    block, w = network.synthesis.b16, torch.randn(1, 12)
    background = block._colours(x, w)[:, 3:].sum()
    of_x, of_weight = torch.autograd.grad(background, [x, block.torgb.weight], allow_unused=True)
    assert of_x is None or not of_x.any()
    assert of_weight is not None and of_weight.abs().min() > 0
    with torch.no_grad():
        torch.testing.assert_close(block._colours(x, w), plain_colours(block, x, w), rtol=1e-5, atol=1e-5)


def test_a_background_keeps_the_sides_and_mixes_between():
    row = torch.arange(10.0).expand(1, 1, 2, 10)
    seen = stretch_sides(side_columns(row, 2), 10, 2)[0, 0, 0]
    shares = torch.arange(6.0) / 6
    torch.testing.assert_close(seen[2:8], (1 - shares) * 2 + shares * 7)
    assert torch.equal(seen[:2], row[0, 0, 0, :2]) and torch.equal(seen[8:], row[0, 0, 0, 8:])


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_planes_are_made_in_range_with_an_opaque_background(variant: str):
    network = gmpi(variant, 64)
    with torch.no_grad():
        images = network(z(), noise_mode="const")
    assert images.alpha.shape == (2, 4, 64, 64) and images.colour.shape == images.background.shape == (
        2,
        3,
        64,
        64,
    )
    for each in images:
        assert 0 <= float(each.min()) <= float(each.max()) <= 1
    assert bool((images.alpha[:, -1] == 1).all()) == VARIANTS[variant].per_plane
    rgba = images.rgba()
    assert rgba.shape == (2, 4, 4, 64, 64)
    assert torch.equal(rgba[:, 1, :3], images.colour) and torch.equal(rgba[:, -1, :3], images.background)
    assert torch.equal(rgba[:, :, 3], images.alpha)


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_samples_do_not_depend_on_the_batch(variant: str):
    """One sample scales weights where it is cheaper, several scale maps."""
    network = gmpi(variant, 64)
    with torch.no_grad():
        together = network(z(3), noise_mode="const")
        alone = network(z(3)[1:2], noise_mode="const")
    for seen, expected in zip(alone, together, strict=True):
        torch.testing.assert_close(seen[0], expected[1], rtol=0, atol=5e-5)


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_gradients_of_gradients_reach_every_weight(variant: str):
    network = gmpi(variant, 16, depth_bins=2.0)
    ws = network.mapping(z()).detach().requires_grad_()
    images = network.synthesis(ws, DEPTHS, noise_mode="const")
    loss = sum((each * torch.linspace(0, 1, each.numel()).view_as(each)).sum() for each in images)
    (gradient,) = torch.autograd.grad(loss, ws, create_graph=True)
    lengths = gradient.square().sum()
    lengths.backward()
    for name, parameter in network.synthesis.named_parameters():
        # The last plane is opaque, whatever its token is.
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_gradients_of_gradients_equal_differences_of_gradients(variant: str):
    """Of alpha and colour; the background's features are detached on purpose."""
    network = gmpi(variant, 16, depth_bins=2.0).double()
    source = torch.Generator().manual_seed(7)
    ws = network.mapping(z(2, 1).double()).detach().contiguous().requires_grad_()
    along, across = (torch.randn(ws.shape, generator=source, dtype=torch.float64) for _ in range(2))

    def slope(ws: Tensor, twice: bool = False) -> Tensor:
        images = network.synthesis(ws, DEPTHS.double(), noise_mode="const")
        values = torch.cat([images.alpha.flatten(), images.colour.flatten()])
        loss = (values * torch.linspace(-1, 1, len(values), dtype=torch.float64)).sum()
        return (torch.autograd.grad(loss, ws, create_graph=twice)[0] * across).sum()

    exact = float((torch.autograd.grad(slope(ws, twice=True), ws)[0] * along).sum())
    # So small that no unit crosses the kink of its activation.
    step = 1e-7 * along
    difference = float(slope(ws + step) - slope(ws - step)) / 2e-7
    assert exact == pytest.approx(difference, rel=1e-4)


def test_tokens_are_interpolated_between_the_planes_of_training():
    network = gmpi("plane-token")
    between = torch.tensor([0.0, 0.1, 0.2, 0.375, 0.55, 1.0])
    embedding = network.synthesis.b8.plane_embedding
    own, more = embedding(torch.zeros(1, 12), DEPTHS)[0], embedding(torch.zeros(1, 12), between)[0]
    assert torch.equal(own, embedding.tokens[0, :, :, 0, 0])
    torch.testing.assert_close(more[1], (own[0] + own[1]) / 2)
    torch.testing.assert_close(more[3], (own[1] + own[2]) / 2)
    torch.testing.assert_close(more[[0, 2, 4, 5]], own)
    beyond = interpolation_weights(DEPTHS, torch.tensor([-3.0, 7.0]))
    assert torch.equal(beyond, torch.eye(4)[[0, 3]])
    assert torch.equal(interpolation_weights(torch.tensor([0.5]), torch.tensor([0.0, 1.0])), torch.ones(2, 1))


@pytest.mark.parametrize("variant", [name for name, each in VARIANTS.items() if each.any_planes])
def test_other_numbers_of_planes_hold_the_same_scene(variant: str):
    """The colours do not change, and planes at depths of training are the same ones."""
    network = gmpi(variant)
    depths = torch.tensor([0.0, 0.1, 0.2, 0.55, 0.7, 1.0])
    with torch.no_grad():
        few, many = network(z(), noise_mode="none"), network(z(), depths, noise_mode="none")
    assert torch.equal(few.colour, many.colour) and torch.equal(few.background, many.background)
    torch.testing.assert_close(many.alpha[:, [0, 2, 3, 5]], few.alpha, rtol=0, atol=1e-5)


def test_a_variant_with_its_own_number_of_planes_refuses_others():
    with pytest.raises(UsageError, match="'none' has 4 planes and no others, 9 were asked for"):
        gmpi("none")(z(), torch.linspace(0, 1, 9))


def test_wrong_wishes_are_refused_in_one_sentence():
    with pytest.raises(UsageError, match="unknown variant of GMPI 'plane-dept': did you mean 'plane-depth'"):
        resolve_variant("plane-dept")
    with pytest.raises(UsageError, match="power of two"):
        StyleGAN2Generator(48)
    with pytest.raises(UsageError, match="ascend"):
        GMPIGenerator(16, [0.0, 0.5, 0.5], **SMALL)
    with pytest.raises(UsageError, match="final activation"):
        gmpi("none", final_activation="relu")
    with pytest.raises(UsageError, match="noise mode"):
        gmpi("none")(z(), noise_mode="constant")
    with pytest.raises(UsageError, match=r"\[P\]"):
        gmpi("plane-depth")(z(), torch.zeros(2, 3))


def test_published_pairs_name_the_variants():
    pairs = {
        "none/none": "none",
        "normalize_add_z/modulated_lrelu": "plane-depth",
        "normalize_add_z/learnable_param": "plane-token",
        "depth2alpha/modulated_lrelu": "predicted-depth",
    }
    assert {pair: resolve_variant(pair).name for pair in pairs} == pairs


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 4e-3), (torch.bfloat16, 4e-2)])
def test_low_precision_is_near_single_precision(dtype: torch.dtype, tolerance: float):
    exact, low = (gmpi("plane-depth", 64, low_precision=each) for each in (None, dtype))
    low.load_state_dict(exact.state_dict())
    assert [block.low_precision for block in low.synthesis.blocks] == [None, *[dtype] * 4]
    with torch.no_grad():
        for seen, expected in zip(low(z(), noise_mode="const"), exact(z(), noise_mode="const"), strict=True):
            assert seen.dtype == torch.float32
            assert float((seen - expected).abs().mean()) < tolerance
    judge = Discriminator(32, channel_base=256, channel_max=16, low_precision=dtype, low_precision_blocks=2)
    judge_exact = Discriminator(32, channel_base=256, channel_max=16)
    judge_exact.load_state_dict(judge.state_dict())
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(judge(images), judge_exact(images), rtol=0, atol=5 * tolerance)


def test_the_flat_generator_makes_images_and_its_noise_can_be_held():
    network = StyleGAN2Generator(64, **SMALL).eval()
    for name, parameter in network.named_parameters():
        if name.endswith("noise_strength"):
            torch.nn.init.constant_(parameter, 0.5)
    assert network.num_ws == network.mapping.num_ws == 10
    with torch.no_grad():
        images = [
            network(z(), noise_mode="random", generator=torch.Generator().manual_seed(5)) for _ in range(2)
        ]
        assert images[0].shape == (2, 3, 64, 64)
        assert torch.equal(*images)
        assert not torch.equal(images[0], network(z()))
        assert torch.equal(network(z(), noise_mode="const"), network(z(), noise_mode="const"))


def test_the_flat_generator_is_that_of_multiplane_images():
    """Its weights may be taken over, and before the last activation the colours are its images."""
    flat, planes = StyleGAN2Generator(32, conv_clamp=256, **SMALL).eval(), gmpi("plane-depth")
    taken = planes.load_state_dict(flat.state_dict(), strict=False)
    assert not taken.unexpected_keys
    assert all("plane_embedding" in name or "toalpha" in name for name in taken.missing_keys)
    with torch.no_grad():
        image, colour = flat(z(), noise_mode="const"), planes(z(), noise_mode="const").colour
    torch.testing.assert_close(colour, (image.tanh() + 1) / 2, rtol=0, atol=1e-5)


def test_normalised_features_do_not_depend_on_scale():
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64) * 5 + 40
    centred, std = centred_and_std(x)
    torch.testing.assert_close(std, x.std(dim=(2, 3)), rtol=1e-6, atol=0)
    assert float(centred.mean(dim=(2, 3)).abs().max()) < 1e-12
    flat, tiny = centred_and_std(torch.full((1, 1, 8, 8), 3.0))
    assert not flat.any() and float(tiny) == pytest.approx(1e-4, rel=1e-3)


def judge(**options: Any) -> Discriminator:
    torch.manual_seed(2)
    return Discriminator(16, channel_base=256, channel_max=16, **options)


def test_a_group_of_one_scores_images_by_themselves():
    images, poses = torch.randn(4, 3, 16, 16), torch.randn(4, 16)
    alone = judge(pose_dim=16, std_group=1)
    torch.testing.assert_close(
        alone(images, poses)[1:2], alone(images[1:2], poses[1:2]), rtol=1e-4, atol=1e-5
    )
    among = judge(std_group=4)
    assert not torch.allclose(among(images)[1:2], among(images[1:2]))


def test_scores_follow_the_pose():
    network = judge(pose_dim=9, std_group=1)
    image = torch.randn(1, 3, 16, 16).expand(2, -1, -1, -1)
    scores = network(image, torch.randn(2, 9))
    assert scores.shape == (2, 1) and scores[0] != scores[1]


def test_missing_poses_and_other_sizes_are_refused():
    network = judge(pose_dim=16)
    with pytest.raises(UsageError, match=r"poses \[2, 16\], got none"):
        network(torch.zeros(2, 3, 16, 16))
    with pytest.raises(UsageError, match=r"poses \[2, 16\], got \[2, 9\]"):
        network(torch.zeros(2, 3, 16, 16), torch.zeros(2, 9))
    with pytest.raises(UsageError, match=r"\[B, 3, 16, 16\], got \[2, 3, 32, 32\]"):
        network(torch.zeros(2, 3, 32, 32), torch.zeros(2, 16))


def test_an_unconditional_discriminator_is_taken_over_or_refused_whole():
    source, network = judge(), judge(pose_dim=16, std_group=4)
    kept = {name: each.clone() for name, each in network.state_dict().items()}
    state = source.state_dict()
    with pytest.raises(CheckpointError, match=r"lacks b4.out.weight and 0 more"):
        load_unconditional(network, {name: value for name, value in state.items() if name != "b4.out.weight"})
    with pytest.raises(CheckpointError, match=r"b16.conv0.weight is \[1\] in the file"):
        load_unconditional(network, {**state, "b16.conv0.weight": torch.zeros(1)})
    assert all(torch.equal(value, kept[name]) for name, value in network.state_dict().items())
    assert load_unconditional(network, state) == ["mapping.weight", "mapping.bias"]
    images, poses = torch.randn(4, 3, 16, 16), torch.randn(4, 16)
    embedding = network.mapping(poses)
    embedding = embedding * (embedding.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
    torch.testing.assert_close(
        network(images, poses), source(images) * embedding.sum(dim=1, keepdim=True) / 4, rtol=1e-4, atol=1e-5
    )


def test_published_names_and_ours_are_the_same_weights():
    network = gmpi("plane-token", 16)
    published = {name: each.detach() for name, each in reference_parameters(network).items()}
    assert next(iter(published)) == "synthesis.b4.pos_enc_embed_learnable_param"
    assert next(reversed(published)).startswith("mapping.")
    ours = from_reference(published)
    parameters = dict(network.named_parameters())
    assert ours.keys() == parameters.keys()
    assert all(torch.equal(value, parameters[name]) for name, value in ours.items())


def test_another_filter_than_the_published_one_is_refused():
    with pytest.raises(CheckpointError, match=r"b4.conv1.resample_filter of the file"):
        from_reference({"synthesis.b4.conv1.resample_filter": torch.ones(4, 4) / 16})
