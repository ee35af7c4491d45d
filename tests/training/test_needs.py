"""No field without effect: what is set is refused with one sentence, or changes what is trained or measured.

What a recipe declares to change memory or time alone is held to that: it changes no bit.
"""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path
from typing import Any

import pytest
import torch
from test_every_recipe import NAMES, Portraits
from training_toy import QUIET

from lineament.errors import LineamentError, UsageError
from lineament.training.base_run import RANDOM_BASE
from lineament.training.loop import train
from lineament.training.registry import get_recipe
from lineament.training.run import Run

# Fields of the loop: when something is written, not what is learnt.
LOOP = {"evaluate_every", "patience", "figures_every", "checkpoint_every"}


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        (
            "depthnet-exp1.lamb1.sd5.nogan.learnm",
            {"critic_every": 2},
            "--critic-every (2) has no effect without a critic",
        ),
        ("depthnet-exp1.lamb1.sd5.nogan.learnm", {"penalty": 0.1}, "without a critic (--critic)"),
        ("dve-finetune-300w", {"mirror": 0.5}, "--mirror (0.5) has no effect without views made in batches"),
        ("dve-finetune-aflw-m", {"loss_points": 64}, "--loss-points (64)"),
        *(
            ("dve-finetune-aflw-r", {field: 0.05}, f"--{field} (0.05)")
            for field in (
                "grey",
                "gamma",
                "light",
                "blur",
                "noise",
                "brightness",
                "contrast",
                "saturation",
                "colour",
            )
        ),
        (
            "dve-finetune-300w",
            {"box_jitter": 0.2},
            "--box-jitter (0.2) has no effect without a crop around the face box",
        ),
        ("dve-finetune-300w", {"view": 1.5}, "--view (1.5)"),
        ("dve-smallnet-16d-dense", {"warmup": 0.5}, "without exchange"),
        (
            "dve-landmarks",
            {"learning_rate": 0.1},
            "without the regressor trained by gradient descent (--fit paper)",
        ),
        ("dve-landmarks-mafl", {"modes": 3}, "without the closed form"),
        (
            "fabrec-ae",
            {"gan_from": -1, "mixes": True},
            "--mixes (True) has no effect without the image discriminator",
        ),
        ("fabrec-ae", {"structure_from": -1, "window": 5}, "without the structural loss"),
        ("fabrec-landmarks", {"encoder_rate": 0.1}, "without a tuned encoder"),
        ("fabrec-landmarks", {"pick": "random"}, "without a number of labels"),
        ("fabrec-modern", {"consistency": 2.0}, "without unlabelled faces"),
        ("landmarks", {"unlabelled_every": 4}, "without unlabelled faces (--unlabelled DATA)"),
        ("landmarks", {"head_first": 0.5}, "without a base (--base RUN)"),
    ],
)
def test_a_field_without_effect_is_refused(name: str, fields: dict[str, Any], said: str):
    entry = get_recipe(name)
    base = (
        {"base": RANDOM_BASE}
        if entry.recipe_class.base_kind and entry.recipe_class.base_kind.required
        else {}
    )
    with pytest.raises(UsageError) as caught:
        entry.build(entry.config(**base, **fields))
    assert said in str(caught.value)
    # What the recipe or a preset sets is nobody's wish: without the field it is built.
    entry.build(entry.config(**base))


def test_fields_of_other_recipes_are_no_fields_of_the_modern_depthnet():
    names = {field.name for field in dataclasses.fields(get_recipe("depthnet-modern").config_class)}
    assert not names & {"absolute", "penalty", "sigma", "critic", "critic_every", "critic_widths", "solve"}


def test_presets_train_no_longer_than_the_default():
    for name in NAMES:
        entry = get_recipe(name)
        for preset in entry.presets:
            if preset in ("tiny", "quick"):
                usual = entry.config().steps
                # None: the published number of steps, hundreds of thousands, which follows from the batch.
                assert usual is None or entry.config(preset).steps <= usual, (name, preset)


def test_every_preset_can_be_built():
    for name in NAMES:
        entry = get_recipe(name)
        for preset in entry.presets:
            fields = {}
            if entry.recipe_class.base_kind and not entry.preset_fields(preset).get("base"):
                fields = {"base": RANDOM_BASE}
            if getattr(entry.config(preset), "pose", None) == "":
                # As a base, it must be given.
                fields["pose"] = "none"
            entry.build(entry.config(preset, **fields), preset=preset)


def other_values(hint: Any, value: Any, name: str) -> list[Any]:
    """Legal values of a field besides the one it has; the first that a recipe accepts is tried."""
    arguments = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    if typing.get_origin(hint) is typing.Literal:
        return [choice for choice in arguments if choice != value]
    if len(arguments) == 1 and typing.get_origin(hint) not in (tuple, list):
        return other_values(arguments[0], value, name)
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value * 2 or 1, value + 1, value + 4, max(value // 2, 1), -1]
    if isinstance(value, float):
        return [value * 1.5 if value else 0.3, 0.9, 1.5]
    if isinstance(value, tuple):
        return [(1,), tuple(2 * item for item in value), ("synthetic?count=2&size=64",)]
    return {
        "protocol": ["celeba", "300w"],
        "crop": ["landmarks"],
        "resampling": ["paper"],
        "value_range": ["paper"],
        "heatmaps": ["paper"],
        "pick": ["random"],
        "scheme": ["5", "19"],
        "backbone": ["hourglass", "unet"],
    }.get(name, [])


# Where else than at the defaults a sweep starts, so that three tiny steps show what a field does.
STARTS: dict[str, dict[str, Any]] = {
    # An epoch of one step lets the published schedule act within three.
    "dve-landmarks-mafl": {"milestones": (0,), "steps_per_epoch": 1},
    # Lights from the first step on, gradients that are longer than the clip, and views chosen all at once.
    "gmpi-ffhq256": {"lights_after": 0, "clip": 1e-3, "view_batch": 2},
    "gmpi-folder": {"lights_after": 0, "clip": 1e-3, "view_batch": 2},
    # The probability is adjusted at the fourth step, upwards whatever the scores; no ramp hides the average's length.
    "stylegan2": {"steps": 6, "augment_target": -0.9, "augment_images": 100, "average_ramp": 0.0},
}


def trained(name: str, folder: Path, **fields: Any) -> Run:
    entry = get_recipe(name)
    values = {**entry.preset_fields("tiny"), "steps": 3, "ema_decay": 0.0, **STARTS.get(name, {}), **fields}
    recipe = entry.build(entry.config(**values), preset="tiny")
    return train(recipe, Portraits(), folder, options=dataclasses.replace(QUIET, figures=False))


def result(run: Run) -> tuple[Any, dict[str, torch.Tensor]]:
    return run.metrics(), {
        f"{group}/{key}": value
        for group, weights in run.read_checkpoint().groups.items()
        for key, value in weights.items()
    }


def same(one: Any, two: Any) -> bool:
    return (
        one[0] == two[0]
        and one[1].keys() == two[1].keys()
        and all(
            value.shape == two[1][key].shape and torch.equal(value, two[1][key])
            for key, value in one[1].items()
        )
    )


# Fields whose effect three tiny steps on six faces cannot show, each with the reason.
UNSEEN = {
    "outlier": "moves an answer only where detectors disagree",
    "second_look": "moves an answer only where the views agree better",
    "views": "averages answers of a network that answers alike",
    "evaluate_count": "the six faces are all there are",
    "base": "tests/cli/test_base_run.py",
    "align": "tests/fabrec/test_level.py",
    "modes": "more modes than six faces have",
}


# One recipe of each class, and one more where the defaults of another switch other fields off.
SWEPT = (
    "depthnet-exp1.lamb1.sd5.nogan.sigma0.fixm",
    "depthnet-exp1.lamb1.sd5.wgan.dnorm0.1.sigma0.fixm",
    "depthnet-aign.exp1.lamb100",
    "depthnet-modern",
    "dve-smallnet-3d",
    "dve-finetune",
    "dve-landmarks",
    "dve-landmarks-mafl",
    "fabrec-ae",
    "fabrec-landmarks",
    "fabrec-modern",
    "fabrec-supervised",
    "gmpi-ffhq256",
    "gmpi-folder",
    "landmarks",
    "stylegan2",
)


def test_the_sweep_forgets_no_class():
    classes = {get_recipe(name).recipe_class for name in NAMES if name != "toy"}
    assert classes == {get_recipe(name).recipe_class for name in SWEPT}


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", SWEPT)
def test_each_field_is_refused_or_changes_something(name: str, tmp_path: Path):
    entry = get_recipe(name)
    before = trained(name, tmp_path / "before")
    reference, hints = result(before), typing.get_type_hints(entry.config_class)
    resources = entry.recipe_class.resource_fields
    idle = []
    for field in dataclasses.fields(entry.config_class):
        if field.name in LOOP or field.name in UNSEEN or field.name in resources:
            continue
        known = before.config[field.name]
        for number, value in enumerate(other_values(hints[field.name], known, field.name)):
            if value == known:
                continue
            try:
                run = trained(name, tmp_path / f"{field.name}{number}", **{field.name: value})
            except LineamentError:
                continue
            if not same(reference, result(run)):
                break
        else:
            accepted = [
                path for path in tmp_path.glob(f"{field.name}[0-9]*") if (path / "checkpoints").exists()
            ]
            if accepted:
                idle.append(field.name)
    assert idle == []
    for field_name in resources:
        for number, value in enumerate((0, 1)):
            assert value != before.config[field_name]
            run = trained(name, tmp_path / f"{field_name}{number}", **{field_name: value})
            assert same(reference, result(run)), f"{field_name} {value} changes what is learnt"
