"""The orderings of the quality table on held-out people, three seeds; run with `pytest -m slow -s`.

Nine trainings of 2,000 steps: about 6 minutes on one free core, and half an hour on a busy machine. Each score and
the means are printed. The same table at other steps: docs/methods/depthnet.md.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lineament.data.keypoint_depth import KeypointFaces, collect
from lineament.data.registry import open_data
from lineament.evaluation.depth import PairScores, score_pairs
from lineament.inference import load
from lineament.training.loop import LoopOptions, train
from lineament.training.registry import get_recipe

STEPS, SEEDS, TRAINING_FACES = 2000, (0, 1, 2), 4000
WITHOUT_CRITIC = "depthnet-exp1.lamb1.sd5.nogan.sigma0.fixm"
WITH_CRITIC = "depthnet-exp1.lamb1.sd5.wgan.dnorm0.1.sigma0.fixm"
MODERN = "depthnet-modern"


def world(packs: Path, split: str) -> KeypointFaces:
    count = f"count={TRAINING_FACES}&" if split == "train" else ""
    source = open_data(f"synthetic-keypoints:{packs}?{count}head=ict&noise=0.01&split={split}")
    assert isinstance(source, KeypointFaces)
    return source


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_critic_helps_the_depth_and_modern_beats_it_on_held_out_ict_heads(packs: Path, tmp_path: Path):
    faces, test = world(packs, "train"), collect(world(packs, "test"))
    assert len(test) == 225
    options = LoopOptions(device="cpu", progress=False, report=False)
    depth_corr: dict[str, torch.Tensor] = {}
    error: dict[str, torch.Tensor] = {}
    for name in (WITHOUT_CRITIC, WITH_CRITIC, MODERN):
        scores: list[PairScores] = []
        for seed in SEEDS:
            entry = get_recipe(name)
            recipe = entry.build(
                entry.config(steps=STEPS, seed=seed, checkpoint_every=STEPS, evaluate_count=6)
            )
            run = train(recipe, faces, tmp_path / f"{name}-{seed}", options=options)
            scores.append(score_pairs(load(run.folder).predictor, test))
        depth_corr[name] = torch.tensor([each.depth_corr() for each in scores])
        error[name] = torch.tensor([each.keypoint_error()[0] for each in scores])
        print(
            f"{name}, {STEPS} steps: DepthCorr {depth_corr[name].mean():.2f} {depth_corr[name].tolist()}, "
            f"keypoint error {error[name].mean():.3g} {error[name].tolist()}"
        )
    # The paper's order: the critic is far above none ...
    assert depth_corr[WITH_CRITIC].mean() > depth_corr[WITHOUT_CRITIC].mean() + 10
    # ... and pays for it with the keypoints. Modern beats its depth in every seed, at half its keypoint error.
    assert error[WITH_CRITIC].mean() > error[WITHOUT_CRITIC].mean()
    assert depth_corr[MODERN].min() > depth_corr[WITH_CRITIC].max()
    assert error[MODERN].mean() <= 0.5 * error[WITH_CRITIC].mean()
