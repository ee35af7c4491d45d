"""One step of GMPI's training against recorded numbers of the reference."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from tests.parity.gmpi_goldens import Branch, discriminator, generator, recorded
from tests.parity.gmpi_scenes import SCENE_OF, distance
from tests.parity.recorded import assert_all_read
from torch import Tensor, nn

from lineament.methods.gmpi.planes import normalised_depths
from lineament.methods.gmpi.reference_names import from_reference, reference_parameters
from lineament.methods.gmpi.renderer import Renderer
from lineament.methods.gmpi.train_step import (
    AVERAGE_DECAYS,
    BETAS,
    LEARNING_RATE,
    StepSettings,
    average_specs,
    choose_views,
    clipped_adam,
    fake_images,
    train_discriminator,
    train_generator,
)
from lineament.training.distributed import make_fabric
from lineament.training.ema import MovingAverage
from lineament.training.update import GradientUpdate

# The recorded files these tests compare with.
FILES = ("gmpi_networks/train_step.pt",)
LOSS, IMAGE, WEIGHT = 1e-5, 2e-5, 2e-5


class Watching(GradientUpdate):
    """Keeps the gradients whenever an optimiser steps."""

    def __init__(self, networks: dict[str, nn.Module], optimisers: dict[str, torch.optim.Optimizer]) -> None:
        super().__init__(make_fabric("cpu", "32-true"), optimisers, 1)
        self.networks_of = networks
        self.gradients: dict[str, Tensor | None] = {}

    def step(self, *optimisers: str) -> None:
        (name,) = optimisers
        parameters = reference_parameters(self.networks_of[name])
        self.gradients = {key: None if p.grad is None else p.grad.clone() for key, p in parameters.items()}
        super().step(*optimisers)


@dataclass
class Setting:
    """The recorded networks, and what steps them."""

    golden: Branch
    networks: dict[str, nn.Module]
    renderer: Renderer
    settings: StepSettings
    update: Watching

    def take(self, name: str, state: Branch) -> None:
        """Give a network recorded weights."""
        self.networks[name].load_state_dict(from_reference(state), strict=False)


def setting(golden: Branch) -> Setting:
    config = {**golden["config"], "final_act": "tanh", "background_alpha_full": True, "w_dim": None}
    assert config["noise"].startswith("off")
    planes = golden["plane_dhws"]
    assert len(planes) == config["n_planes"]
    assert distance(normalised_depths(planes), golden["plane_normalized_z"]) <= 1e-6
    config["w_dim"] = golden["G0"]["mapping.w_avg"].shape[0]
    made = generator(config, golden["G0"], golden["plane_normalized_z"])
    judging = {**config, "c_dim": golden["real_w2c_flat"].shape[1], "mbstd_group": 1, "use_mbstd": True}
    judging["cmap_dim"] = None
    networks = {"generator": made.train(), "discriminator": discriminator(judging, golden["D0"]).train()}
    assert list(reference_parameters(networks["generator"])) == golden["G_param_order"]
    assert list(reference_parameters(networks["discriminator"])) == golden["D_param_order"]
    assert (config["lr"], tuple(config["betas"])) == (LEARNING_RATE, BETAS)
    optimisers = {
        name: clipped_adam(network.parameters(), config["lr"], config["grad_clip"])
        for name, network in networks.items()
    }
    assert all(each.defaults["weight_decay"] == config["weight_decay"] for each in optimisers.values())
    settings = StepSettings(
        r1_weight=config["r1_lambda"],
        views=golden["worst"]["candidates_pitch_yaw"].shape[1],
        split=config["batch_split"],
        view_split=golden["worst"]["chunks"],
        noise_mode="none",
    )
    published = StepSettings()
    assert (settings.r1_weight, settings.views) == (published.r1_weight, published.views)
    # Images are as large as the networks, not as those of the data set.
    renderer = Renderer(replace(SCENE_OF[config["dataset"]], resolution=config["res"]), planes)
    assert config["batch"] == len(golden["real"])
    return Setting(golden, networks, renderer, settings, Watching(networks, dict(optimisers)))


def square(flat: Tensor) -> Tensor:
    return flat.view(-1, 4, 4)


def assert_gradients(gradients: dict[str, Tensor | None], record: Branch) -> None:
    """Norms of the gradients, and that parameters without one have none in the record either."""
    norms = record["grad_norms_before_clip"]
    assert set(norms) == set(gradients)
    for name, expected in norms.items():
        gradient = gradients[name]
        if expected is None:
            assert gradient is None or not gradient.any(), name
            continue
        assert gradient is not None
        assert float(gradient.norm()) == pytest.approx(expected, rel=1e-3, abs=1e-5), name
    every = torch.cat([g.flatten() for g in gradients.values() if g is not None])
    assert float(every.norm()) == pytest.approx(record["total_grad_norm"], rel=1e-4)


def assert_weights(network: nn.Module, gradients: dict[str, Tensor | None], recorded_weights: Branch) -> None:
    """Weights after the first step of Adam, which has the sign of the gradient: where that is nearly 0 it is free."""
    parameters = reference_parameters(network)
    expected_of = {name: recorded_weights[name] for name in recorded_weights}
    assert set(parameters) <= set(expected_of)
    for name, parameter in parameters.items():
        expected, gradient = expected_of[name], gradients[name]
        settled = torch.ones_like(expected, dtype=torch.bool) if gradient is None else gradient.abs() > 1e-6
        assert float(settled.float().mean()) > 0.5, name
        difference = (parameter.detach() - expected).abs()
        assert float(difference[settled].max()) <= WEIGHT, name
        assert float(difference.max()) <= 2 * LEARNING_RATE + WEIGHT, name


def test_images_for_the_discriminator_equal_the_reference(goldens: Path):
    here = setting(recorded(goldens, "train_step.pt"))
    golden, network = here.golden, here.networks["generator"]
    images, cameras = fake_images(
        network, here.renderer, golden["D_z"], golden["D_fake_pitch_yaw"], here.settings
    )
    assert distance(images, golden["D_fake_images"]) <= IMAGE
    assert distance(cameras.flatten(1), golden["D_fake_w2c_flat"]) <= 1e-6
    assert distance(network.get_buffer("mapping.w_avg"), golden["w_avg_after_D_forward"]) <= 1e-6


def test_the_discriminator_s_step_equals_the_reference(goldens: Path):
    here = setting(recorded(goldens, "train_step.pt"))
    golden, record = here.golden, here.golden["D"]
    found = train_discriminator(
        here.networks,
        here.update,
        here.renderer,
        golden["real"],
        square(golden["real_w2c_flat"]),
        golden["D_z"],
        golden["D_fake_pitch_yaw"],
        here.settings,
    )
    assert distance(found.real, record["real_logits"]) <= LOSS
    assert distance(found.fake, record["fake_logits"]) <= LOSS
    assert float(found.logistic) == pytest.approx(record["loss_real"] + record["loss_fake"], abs=LOSS)
    assert float(found.r1) == pytest.approx(record["r1_penalty"], abs=LOSS)
    assert float(found.loss) == pytest.approx(record["loss_total"], abs=LOSS)
    assert_gradients(here.update.gradients, record)
    assert_weights(here.networks["discriminator"], here.update.gradients, record["params_after_step"])
    # The generator was not touched.
    kept = from_reference(golden["G0"])
    assert all(torch.equal(p, kept[name]) for name, p in here.networks["generator"].named_parameters())


def test_the_generator_s_step_equals_the_reference(goldens: Path):
    """Chosen views, gradient, weights, running mean of styles and moving average."""
    here = setting(recorded(goldens, "train_step.pt"))
    golden, worst, record, average = (here.golden, *(here.golden[name] for name in ("worst", "G", "ema")))
    here.take("discriminator", golden["D"]["params_after_step"])
    network = here.networks["generator"]
    network.get_buffer("mapping.w_avg").copy_(golden["w_avg_after_D_forward"])
    averages = {name: MovingAverage(here.networks, spec) for name, spec in average_specs().items()}

    chosen = choose_views(
        here.networks, here.renderer, golden["G_z"], worst["candidates_pitch_yaw"], here.settings
    )
    assert distance(chosen.images, worst["candidate_images"]) <= IMAGE
    assert distance(chosen.scores, worst["candidate_scores"]) <= LOSS
    expected = torch.cat([worst["chosen_pitch"], worst["chosen_yaw"]], 1)
    assert distance(chosen.pitch_yaw, expected) == 0

    seen: list[Tensor] = []
    hook = here.networks["discriminator"].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    loss, scores = train_generator(
        here.networks, here.update, here.renderer, golden["G_z"], chosen.pitch_yaw, here.settings
    )
    hook.remove()
    assert distance(torch.cat(seen), record["images"]) <= IMAGE
    losses = record["losses_per_split"]
    assert len(losses) == len(seen) == here.settings.split
    per_split = [float(torch.nn.functional.softplus(-part).mean()) for part in scores.chunk(len(losses))]
    total = float(loss)
    # Recorded before or after they are divided by the number of parts; their sum is the loss in either case.
    divided = sum(losses) == pytest.approx(total, abs=LOSS)
    factor = 1 if not divided else len(losses)
    assert per_split == pytest.approx([factor * value for value in losses], abs=factor * LOSS)
    assert distance(scores, record["logits"]) <= LOSS
    assert_gradients(here.update.gradients, record)
    assert_weights(network, here.update.gradients, record["params_after_step"])
    assert distance(network.get_buffer("mapping.w_avg"), record["w_avg_after"]) <= 1e-6

    assert average["decay"] in AVERAGE_DECAYS.values()
    (name,) = (name for name, decay in AVERAGE_DECAYS.items() if decay == average["decay"])
    # From the recorded weights, since entries of ours whose gradient is nearly 0 may differ by a step.
    here.take("generator", record["params_after_step"])
    averages[name].update(here.networks, average["num_updates"])
    slow = reference_parameters(averages[name].networks["generator"])
    assert len(slow) == average["n_shadow"]
    first = average["shadow_first8"]
    for found, wanted in zip(list(slow.values())[: len(first)], first, strict=True):
        assert distance(found, wanted) <= 1e-6
    assert distance(slow["synthesis.b8.conv1.weight"], average["shadow_b8_conv1_weight"]) <= 1e-6


def test_every_recorded_number_is_compared_with(request: pytest.FixtureRequest, goldens: Path):
    assert_all_read(request, goldens)
