"""Recordings of GMPI's networks with other seeds, sizes and counts, made by our plain twins; see README of the goldens.

The generators' images and gradients of the variants with a vector for each plane are those of the twin, which makes
features of every plane; the others' are our own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lineament.methods.gmpi.discriminator import Discriminator, load_unconditional
from lineament.methods.gmpi.generator import GMPIGenerator
from lineament.methods.gmpi.multiplane_synthesis import MultiplaneBlock
from lineament.methods.gmpi.reference_names import reference_name, reference_parameters
from lineament.nn.stylegan2.convolution import conv2d_resample_reference
from lineament.nn.stylegan2.mapping import MappingNetwork
from lineament.nn.stylegan2.modulation import modulated_conv2d
from lineament.nn.stylegan2.synthesis import latents_of_blocks
from lineament.nn.upfirdn import fir_filter, upfirdn2d_reference
from lineament.pipeline.bench.gmpi_memory import plane_depths
from lineament.pipeline.bench.gmpi_twin import multiplane

WORDS = {
    "cond": "plane-depth",
    "learnable": "plane-token",
    "vanilla": "none",
    "depth2alpha": "predicted-depth",
}
SIZE, PLANES, OTHER_PLANES, LATENTS = 64, 5, 7, 28
FILTER = fir_filter([1, 3, 3, 1])


def write(folder: Path, seed: int) -> None:
    """Write every file about networks into ``folder``."""
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    files: dict[str, Any] = {
        "ops": ops(),
        "modconv": modulated(),
        "mapping": mapping(),
        "ema": averages(),
        "generator_cond_clamp_act": {"cases": [clamped(*case) for case in CLAMPED]},
        "discriminator": {"cases": [judged(*case) for case in JUDGES]},
        "discriminator_load_unconditional": taken_over(),
    }
    for number, word in enumerate(WORDS):
        files[f"generator_{word}"] = generator(word, 100 * seed + number)
    for name, values in files.items():
        torch.save(values, folder / f"{name}.pt")
    (folder / "full_size_keys.json").write_text(json.dumps(keys()))


def case(compute: Callable[..., Tensor], leaves: dict[str, Tensor]) -> dict[str, Tensor]:
    """Output, a cotangent, and the gradients of the leaves."""
    wanted = {name: leaf.clone().requires_grad_() for name, leaf in leaves.items()}
    y = compute(**wanted)
    cot = torch.randn_like(y)
    gradients = torch.autograd.grad((y * cot).sum(), list(wanted.values()))
    found = {f"d{name}": gradient for name, gradient in zip(wanted, gradients, strict=True)}
    return {"y": y.detach(), "cot": cot, **found}


def ops() -> dict[str, Any]:
    x, filters = (
        torch.randn(2, 3, 10, 7),
        {"1331": FILTER, "12": fir_filter([1, 2]), "sep8": fir_filter(PASCAL)},
    )
    wishes = [
        {},
        {"up": 3, "padding": [2, 2, 1, 3], "gain": 9},
        {"down": [3, 2], "padding": 2, "flip_filter": True},
    ]
    fir = []
    for f in (FILTER, torch.rand(2, 5)):
        for kw in wishes:
            named = {("flip" if name == "flip_filter" else name): value for name, value in kw.items()}
            made = case(lambda x, f=f, named=named: upfirdn2d_reference(x, f, **named), {"x": x})
            fir.append({"kind": "upfirdn2d", "filter": f, "kw": kw, **made})
    convolutions = []
    for k, up, down, flip, groups in (
        (3, 2, 1, True, 1),
        (3, 1, 2, False, 2),
        (1, 2, 1, False, 1),
        (1, 1, 1, True, 2),
    ):
        options = {"up": up, "down": down, "padding": k // 2, "flip_weight": flip, "groups": groups}
        leaves = {"x": torch.randn(2, 6, 10, 8), "w": torch.randn(4, 6 // groups, k, k)}
        made = case(lambda x, w, o=options: conv2d_resample_reference(x, w, FILTER, **o), leaves)
        convolutions.append({**leaves, "k": k, **options, **made})
    ends = []
    for act, gain, clamp in (("lrelu", None, 0.3), ("linear", 1.7, None), ("lrelu", 0.5, 0.2)):
        leaves = {"x": torch.randn(2, 5, 3, 4), "b": torch.randn(5)}

        def end(x: Tensor, b: Tensor, act: str = act, gain: Any = gain, clamp: Any = clamp) -> Tensor:
            y = x + b[:, None, None]
            y = F.leaky_relu(y, 0.2) if act == "lrelu" else y
            y = y * ((2**0.5 if act == "lrelu" else 1) if gain is None else gain)
            return y if clamp is None else y.clamp(-clamp, clamp)

        ends.append({**leaves, "act": act, "gain": gain, "clamp": clamp, **case(end, leaves)})
    return {"filters": filters, "x": x, "fir": fir, "conv2d_resample": convolutions, "bias_act": ends}


PASCAL = [1.0, 7.0, 21.0, 35.0, 35.0, 21.0, 7.0, 1.0]


def modulated() -> dict[str, Any]:
    cases = []
    for k, up, demodulate, noisy in ((3, 1, True, True), (3, 2, True, False), (1, 1, False, False)):
        leaves = {"x": torch.randn(3, 6, 7, 5), "w": torch.randn(4, 6, k, k), "styles": torch.randn(3, 6)}
        noise = torch.randn(3, 1, 7 * up, 5 * up) if noisy else None
        options = {
            "up": up,
            "padding": k // 2,
            "demodulate": demodulate,
            "flip_weight": up == 1,
            "noise": noise,
        }

        def convolve(
            x: Tensor, w: Tensor, styles: Tensor, fused: bool = True, options: Any = options
        ) -> Tensor:
            return modulated_conv2d(x, w, styles, f=FILTER, fused=fused, **options)

        made = case(convolve, leaves)
        unfused = convolve(**leaves, fused=False)
        most = float((unfused - made["y"]).abs().max())
        cases.append(
            {**leaves, "k": k, **options, **made, "y_unfused": unfused, "max_abs_fused_vs_unfused": most}
        )
    return {"resample_filter": FILTER, "cases": cases}


def disturb(network: nn.Module) -> nn.Module:
    """As the recordings are: no path is trivially zero."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.rpartition(".")[2].startswith("bias"):
                parameter += 0.1 * torch.randn_like(parameter)
            elif name.endswith("noise_strength"):
                parameter.copy_(0.1 * torch.randn_like(parameter))
        for name, buffer in network.named_buffers():
            if name.endswith("w_avg"):
                buffer.copy_(0.3 * torch.randn_like(buffer))
    return network.eval()


def published(network: nn.Module) -> dict[str, Tensor]:
    """The state of a network under published names, with the constants that published layers carry."""
    state = {reference_name(name): value.clone() for name, value in network.state_dict().items()}
    layers = {name.rpartition(".")[0] for name in state if name.endswith("conv1.weight")}
    return {**state, **{f"{layer}.resample_filter": FILTER.clone() for layer in layers}}


def mapping() -> dict[str, Any]:
    network = MappingNetwork(LATENTS, LATENTS, 6, layers=5)
    disturb(network)
    z, state = torch.randn(3, LATENTS), published(network)
    with torch.no_grad():
        found = {"ws_psi1": network(z), "ws_psi07": network(z, 0.7), "ws_psi05_cut3": network(z, 0.5, 3)}
        found["ws_train"] = network.train()(z)
    found = {name: value.clone() for name, value in found.items()}
    return {
        "state_dict": state,
        "z": z,
        "num_layers": 5,
        **found,
        "w_avg_after_one_train_forward": network.w_avg,
    }


def averages() -> dict[str, Any]:
    init = [torch.randn(2, 3), torch.randn(5)]
    shadows = {0.999: [each.clone() for each in init], 0.2: [each.clone() for each in init]}
    steps = []
    for number in range(1, 6):
        params = [torch.randn_like(each) for each in init]
        for decay, shadow in shadows.items():
            kept = min(decay, (1 + number) / (10 + number))
            shadows[decay] = [s - (1 - kept) * (s - p) for s, p in zip(shadow, params, strict=True)]
        steps.append({"params": params, "shadow": dict(shadows)})
    return {"init": init, "steps": steps}


def config_of(word: str, **changed: Any) -> dict[str, Any]:
    return {
        "variant": word,
        "res": SIZE,
        "n_planes": PLANES,
        "z_dim": LATENTS,
        "w_dim": LATENTS,
        "channel_base": 512,
        "channel_max": 28,
        "conv_clamp": 256,
        "gen_alpha_largest_res": 32,
        "mapping_layers": 5,
        "depth2alpha_n_z_bins": 6,
        "depth2alpha_z_range": 1.0,
        "background_ratio": 0.05,
        "final_act": "tanh",
        "background_alpha_full": True,
        **changed,
    }


def built(config: dict[str, Any], depths: Tensor) -> GMPIGenerator:
    network = GMPIGenerator(
        config["res"],
        depths,
        variant=WORDS[config["variant"]],
        z_dim=LATENTS,
        w_dim=LATENTS,
        channel_base=config["channel_base"],
        channel_max=config["channel_max"],
        mapping_layers=config["mapping_layers"],
        conv_clamp=config["conv_clamp"],
        alpha_resolution=config["gen_alpha_largest_res"],
        final_activation=config["final_act"],
        background_alpha_full=config["background_alpha_full"],
        depth_bins=config["depth2alpha_n_z_bins"],
    )
    disturb(network)
    return network


def generator(word: str, seed: int) -> dict[str, Any]:
    config, depths, z = config_of(word), plane_depths(PLANES), torch.randn(2, LATENTS)
    network = built(config, depths)
    if word in ("cond", "learnable"):
        with_noise = multiplane(network, z, depths)
    else:
        with_noise = network(z, noise_mode="const").rgba()
    cot = torch.randn(with_noise.shape, generator=torch.Generator().manual_seed(seed))
    loss = (with_noise * cot).mean()
    loss.backward()
    gradients = {n: p.grad for n, p in reference_parameters(network).items() if p.grad is not None}
    recorded: dict[str, Any] = {
        "config": config,
        "state_dict": published(network),
        "param_order": list(reference_parameters(network)),
        "z": z,
        "plane_normalized_z": depths,
        "out_noise_const": with_noise.detach(),
        "grad": {
            "loss_is": "mean(out_noise_const * cot)",
            "cot_seed": seed,
            "loss": float(loss.detach()),
            "norms": {name: float(gradient.norm()) for name, gradient in gradients.items()},
            "conv1_b16_weight": gradients["synthesis.b16.conv1.weight"],
            "torgb_b8_weight": gradients["synthesis.b8.torgb.weight"],
            "const": gradients["synthesis.b4.const"],
            "fc0_weight": gradients["mapping.fc0.weight"],
            "cot_first5": cot.flatten()[:5],
        },
    }
    with torch.no_grad():
        ws = network.mapping(z).clone()
        recorded |= {
            "ws": ws,
            "out_noise_none": network(z, noise_mode="none").rgba(),
            "out_psi07_noise_none": network(z, truncation_psi=0.7, noise_mode="none").rgba(),
            "inter_noise_none": features(network, ws, depths, word),
            "max_abs_fused_vs_unfused": 1e-6,
        }
        torch.manual_seed(seed)
        recorded[f"out_noise_random_torchseed{seed}"] = network(z).rgba()
        if word != "vanilla":
            recorded["alt"] = other_planes(network, z, depths, word)
    return recorded


def features(network: GMPIGenerator, ws: Tensor, depths: Tensor, word: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    x = colours = opacity = None
    blocks = network.synthesis.blocks
    for block, own in zip(blocks, latents_of_blocks(ws, blocks), strict=True):
        assert isinstance(block, MultiplaneBlock)
        x, colours, opacity = block.multiplane(x, colours, opacity, own, depths, "none", None)
        assert opacity is not None
        if block.resolution > 16:
            break
        found[f"b{block.resolution}.x"] = x
        if word in ("cond", "learnable"):
            of_planes = [torch.cat([colours[:, :3], opacity[:, p : p + 1]], dim=1) for p in range(PLANES - 1)]
            image = torch.cat([*of_planes, colours[:, 3:], opacity[:, -1:]], dim=1)
        else:
            image = torch.cat([colours, opacity], dim=1)
        found[f"b{block.resolution}.img"] = image
        if word == "cond":
            vectors = block.plane_embedding(own[:, block.layers - 1], depths)
            found[f"b{block.resolution}.pos_enc_embed"] = vectors.flatten(0, 1)[..., None, None]
    return found


def other_planes(network: GMPIGenerator, z: Tensor, depths: Tensor, word: str) -> dict[str, Any]:
    target = plane_depths(OTHER_PLANES)
    found: dict[str, Any] = {
        "n_planes": OTHER_PLANES,
        "out": network(z[:1], target, noise_mode="none").rgba(),
    }
    if word != "learnable":
        return {**found, "plane_normalized_z": target}
    # As published: sentinels far in front of and behind the planes.
    source = torch.cat([torch.tensor([-999999.0]), depths, torch.tensor([999999.0])])
    weights = torch.zeros(OTHER_PLANES, PLANES + 2)
    for row, depth in enumerate(target):
        left = int((source <= depth).sum()) - 1
        gap = source[left + 1] - source[left] + 1e-8
        weights[row, left], weights[row, left + 1] = (
            (source[left + 1] - depth) / gap,
            (depth - source[left]) / gap,
        )
    return {**found, "z_interpolation_ws": weights}


CLAMPED = [(0.5, "tanh", True), (None, "sigmoid", False), (256, "none", True)]


def clamped(clamp: float | None, activation: str, opaque: bool) -> dict[str, Any]:
    sizes = {"res": 32, "n_planes": 3, "gen_alpha_largest_res": 16, "channel_base": 256, "channel_max": 20}
    config = config_of("cond", **sizes, conv_clamp=clamp, final_act=activation, background_alpha_full=opaque)
    depths, z = plane_depths(3), torch.randn(2, LATENTS)
    network = built(config, depths)
    with torch.no_grad():
        out = network(z, noise_mode="none").rgba()
    kept = (*sizes, "conv_clamp", "final_act", "background_alpha_full", "z_dim", "mapping_layers")
    recorded = {name: config[name] for name in kept}
    return {**recorded, "state_dict": published(network), "z": z, "plane_normalized_z": depths, "out": out}


# Length of the pose, group, clamp, and whether the standard deviation is appended.
JUDGES = [(16, 1, 256, True), (9, 4, None, True), (0, 2, 0.7, True), (16, 1, 256, False)]


def judged(pose_dim: int, group: int, clamp: float | None, use_std: bool) -> dict[str, Any]:
    sizes = {"channel_base": 512, "channel_max": 20}
    network = Discriminator(
        32, pose_dim=pose_dim, conv_clamp=clamp, std_group=group, use_std=use_std, **sizes
    )
    disturb(network)
    x, pose = torch.randn(4, 3, 32, 32, requires_grad=True), torch.randn(4, pose_dim or 16)
    inter: dict[str, Tensor] = {}
    network.b8.register_forward_hook(lambda _m, _i, out: inter.update(b8=out.detach()))
    logits = network(x, pose)
    (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    square = slope.square().sum(dim=(1, 2, 3)).mean()
    parameters = reference_parameters(network)
    found = torch.autograd.grad(5 * square, list(parameters.values()), allow_unused=True)
    config = {"res": 32, "c_dim": pose_dim, "cmap_dim": 16 if pose_dim else None, "mbstd_group": group}
    return {
        "config": {**config, "conv_clamp": clamp, **sizes, "use_mbstd": use_std},
        "state_dict": published(network),
        "param_order": list(parameters),
        "x": x.detach(),
        "w2c_flat": pose,
        "logits": logits.detach(),
        "inter": inter,
        "dlogits_dx": slope.detach(),
        "r1_mean_sq": float(square.detach()),
        "r1_penalty": 5 * float(square.detach()),
        "r1_grad_norms": {
            n: None if g is None else float(g.norm()) for n, g in zip(parameters, found, strict=True)
        },
    }


def taken_over() -> dict[str, Any]:
    sizes = {"channel_base": 512, "channel_max": 20}
    source = disturb(Discriminator(32, conv_clamp=256, std_group=1, **sizes))
    network = Discriminator(32, pose_dim=16, conv_clamp=256, std_group=1, **sizes)
    before = {
        name: network.get_parameter(name).detach().clone() for name in ("mapping.weight", "mapping.bias")
    }
    load_unconditional(network, source.state_dict())
    x, pose = torch.randn(3, 3, 32, 32), torch.randn(3, 16)
    with torch.no_grad():
        return {
            "src_state_dict": published(source),
            "dst_before_mapping": before,
            "dst_after_b4_out_weight": network.b4.out.weight.clone(),
            "dst_after_b4_out_bias": network.b4.out.bias.clone(),
            "x": x,
            "w2c_flat": pose,
            "src_logits": source(x),
            "dst_logits": network(x, pose),
            "res": 32,
            **sizes,
        }


def keys() -> dict[str, Any]:
    """Names of one size, of another number of planes."""
    found: dict[str, Any] = {}
    depths = plane_depths(8)
    with torch.device("meta"):
        networks: dict[str, nn.Module] = {
            f"G/{word}/FFHQ256": GMPIGenerator(256, depths, variant=variant, channel_base=16384)
            for word, variant in WORDS.items()
        }
        networks["D/FFHQ256"] = Discriminator(256, pose_dim=16, channel_base=16384)
    for name, network in networks.items():
        parameters = reference_parameters(network)
        state = {reference_name(each): list(value.shape) for each, value in network.state_dict().items()}
        found[name] = {
            "parameters": [[each, list(value.shape)] for each, value in parameters.items()],
            "buffers": [[each, shape] for each, shape in state.items() if each not in parameters],
            "n_params": sum(value.numel() for value in parameters.values()),
        }
        if isinstance(network, GMPIGenerator):
            found[name]["num_ws"] = network.num_ws
    return found
