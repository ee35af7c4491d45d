"""The recipes of this method as data: the published experiments under their names, and `depthnet-modern`.

The name tells the experiment: ``sd5`` is the network, ``nogan`` or ``wgan.dnorm0.1`` the critic and the weight of its
penalty, ``learnm`` a predicted affine map, ``sigma`` the damping of the closed form. The runs with ``sigma0.05`` are
the oldest and solve with the faulty columns of their time; ``fixm`` marks the later ones without that fault.
"""

from __future__ import annotations

from typing import Any

from lineament.training.registry import register_variant

HERE = "lineament.methods.depthnet"
DATA = "synthetic-keypoints"
EXPERIMENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "nogan.sigma0.05": (
        "closed form as in the oldest runs (the paper's baseline)",
        {"solve": "legacy", "sigma": 0.05},
    ),
    "nogan.learnm": ("the network predicts the affine map too", {"solve": "learnt"}),
    "wgan.dnorm0.1.sigma0.05": (
        "closed form as in the oldest runs, with a critic",
        {"solve": "legacy", "sigma": 0.05, "critic": True, "penalty": 0.1},
    ),
    "wgan.dnorm0.1.learnm": (
        "predicted affine map, with a critic",
        {"solve": "learnt", "critic": True, "penalty": 0.1},
    ),
    "nogan.sigma0.fixm": ("closed form", {}),
    "wgan.dnorm0.1.sigma0.fixm": ("closed form, with a critic", {"critic": True, "penalty": 0.1}),
}
_TINY: dict[str, Any] = {"steps": 2, "batch_size": 16, "widths": (16, 8), "evaluate_count": 6}
_CRITIC_TINY: dict[str, Any] = {**_TINY, "critic_widths": (16, 8)}

for _name, (_words, _changed) in EXPERIMENTS.items():
    register_variant(
        f"depthnet-exp1.lamb1.sd5.{_name}",
        method="depthnet",
        recipe=f"{HERE}.recipe:DepthNetRecipe",
        summary=f"depth from keypoints: {_words}",
        defaults=_changed,
        data=DATA,
        # The second takes a minute or two on one core.
        presets={"tiny": _CRITIC_TINY if "critic" in _changed else _TINY, "quick": {"steps": 3000}},
    )

for _name, _words, _spectral in (
    ("depthnet-aign.exp1.lamb100", "an adversary on 3-D points (the paper's baseline)", False),
    ("depthnet-aign-sn.exp1.lamb100", "as aign, with spectral norms", True),
):
    register_variant(
        _name,
        method="depthnet",
        recipe=f"{HERE}.recipe_aign:AignRecipe",
        summary=f"depth from keypoints: {_words}",
        defaults={"spectral": _spectral},
        data=DATA,
        presets={
            "tiny": {
                "steps": 2,
                "batch_size": 4,
                "map_size": 16,
                "critic_widths": (16, 8),
                "evaluate_count": 6,
            }
        },
    )

register_variant(
    "depthnet-modern",
    method="depthnet",
    recipe=f"{HERE}.recipe_modern:ModernDepthNetRecipe",
    summary="depth from keypoints: upright faces, supervised depths, the target as second view; a minute of training",
    data=DATA,
    presets={"tiny": _TINY},
)
