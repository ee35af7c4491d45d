"""The rankings that the documents lead with, at small size with seeds (docs/methods/dve.md and fabrec.md).

Means over three seeds are compared, for one seed differs much from the next: after 120 steps `dve-modern`'s landmarks
had errors of 13.1, 21.5 and 15.7 % of the eye distance, and 14.2, 18.7 and 21.3 % before the 68 points were moved to
where people put them. After the 240 steps of these tests they have 13.1, 18.0 and 16.8 % (the mean shape 24.4 %); five
labels on these descriptors give 15.2, 19.3 and 19.3 %, on networks of their own 21.5, 19.1 and 23.7 %, which unlabelled
faces bring to 18.3, 20.5 and 20.4 %.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lineament.data.sample import FaceSource
from lineament.pipeline.evaluate.few_shot import FewShotTestSet, run_few_shot
from lineament.pipeline.evaluate.few_shot_plan import FewShotPlan
from lineament.pipeline.evaluate.options import EvaluateOptions
from lineament.pipeline.evaluate.score import evaluate
from lineament.synthetic.dataset import write_faces
from lineament.synthetic.folder import SyntheticFolder
from lineament.synthetic.world import World
from lineament.training.loop import LoopOptions, train
from lineament.training.registry import get_recipe
from lineament.training.run import Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
QUIET = LoopOptions(device="cpu", progress=False, report=False, figures=False)
SEEDS = (0, 1, 2)
STEPS, LABELS = 240, 5
RECIPES = ("dve-modern", "dve-smallnet-64d")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FaceSource]:
    """Unlabelled, labelled and test faces; no person is in two of them."""
    out = tmp_path_factory.mktemp("faces")
    for seed, (name, count) in enumerate((("unlabelled", 300), ("labelled", 40), ("test", 60)), 100):
        write_faces(out / name, World(seed=seed, size=80), count, workers=1)
    return {name: SyntheticFolder(out / name) for name in ("unlabelled", "labelled", "test")}


@pytest.fixture(scope="module")
def descriptors(faces: dict[str, FaceSource], tmp_path_factory: pytest.TempPathFactory) -> dict[Any, Run]:
    """Both recipes at equal steps and batches, by name and seed."""
    out = tmp_path_factory.mktemp("descriptors")
    runs = {}
    for name in RECIPES:
        entry = get_recipe(name)
        for seed in SEEDS:
            config = entry.config(
                steps=STEPS, batch_size=8, evaluate_every=0, checkpoint_every=STEPS, seed=seed
            )
            runs[name, seed] = train(
                entry.build(config), faces["unlabelled"], out / f"{name}-{seed}", options=QUIET
            )
    return runs


def landmark_error(base: Run, faces: dict[str, FaceSource], folder: Path, seed: int) -> tuple[float, float]:
    """Error in % of the eye distance from forty labels, and that of the mean shape."""
    entry = get_recipe("dve-landmarks")
    config = entry.config(base=str(base.folder), steps=16, seed=seed, evaluate_every=0)
    run = train(entry.build(config), faces["labelled"], folder, options=QUIET)
    card = evaluate(run.folder, faces["test"], EvaluateOptions())[0]
    assert card.baseline is not None
    return card.value, card.baseline


def test_the_modern_recipe_beats_the_small_network_at_equal_steps(descriptors, faces, tmp_path: Path):
    matching = EvaluateOptions(protocol="matching")
    measured = {
        (name, seed): (
            *(card.value for card in evaluate(run.folder, faces["test"], matching)),
            *landmark_error(run, faces, tmp_path / f"{name}-{seed}", seed),
        )
        for (name, seed), run in descriptors.items()
    }
    means = {}
    for name in RECIPES:
        print(name, [measured[name, seed] for seed in SEEDS])
        means[name] = torch.tensor([measured[name, seed] for seed in SEEDS]).mean(0).tolist()
    modern, small = means["dve-modern"], means["dve-smallnet-64d"]
    same, other, landmarks, mean_shape = (ours / theirs for ours, theirs in zip(modern, small, strict=True))
    assert same < 0.5
    assert other < 0.85
    assert landmarks < 0.8
    assert mean_shape == pytest.approx(1)
    # Descriptors learnt without labels leave the mean shape behind.
    assert modern[2] < 0.8 * modern[3]
    for seed in SEEDS:
        ours, theirs = measured["dve-modern", seed], measured["dve-smallnet-64d", seed]
        assert all(one < two for one, two in zip(ours[:3], theirs[:3], strict=True))
        assert ours[2] < 0.9 * ours[3]


def test_unlabelled_faces_help_and_descriptors_lead_with_few_labels(descriptors, faces, tmp_path: Path):
    tests = [FewShotTestSet("test", faces["test"])]
    sizes = {"size": 64, "width": 8, "code": 48}
    errors: dict[str, list[float]] = {}
    plan = FewShotPlan(
        (LABELS,), SEEDS, ("supervised", "no-autoencoder"), steps=200, rate=6e-3, box_jitter=0.1
    )
    cells = run_few_shot(
        plan, {}, faces["labelled"], tests, tmp_path / "heatmaps", unlabelled=faces["unlabelled"], sizes=sizes
    )
    for seed in SEEDS:
        one = FewShotPlan((LABELS,), (seed,), ("dve",), steps=0, box_jitter=0.1)
        base = {"dve": descriptors["dve-modern", seed].folder}
        cells += run_few_shot(one, base, faces["labelled"], tests, tmp_path / f"dve-{seed}")
    for cell in sorted(cells, key=lambda cell: cell.seed):
        errors.setdefault(cell.variant, []).append(cell.errors["test"])
    print(errors)
    mean = {name: sum(values) / len(values) for name, values in errors.items()}
    # The same networks, steps and labelled faces; unlabelled ones beside them.
    assert mean["no-autoencoder"] < 0.95 * mean["supervised"]
    assert mean["dve"] < 0.9 * mean["supervised"]
    # Which faces are labelled differs from seed to seed, and with it how much there is to gain.
    assert all(ours < 1.1 * alone for ours, alone in zip(errors["dve"], errors["supervised"], strict=True))
