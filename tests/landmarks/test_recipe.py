"""Training, resuming, predicting and starting from a base, on tiny networks."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from tests.landmarks.marked_faces import POINTS, Faces, tiny

from lineament.capabilities import LandmarkPredictor
from lineament.data.sample import FaceSample
from lineament.errors import DataError, UsageError
from lineament.faces.normalisers import usual_normaliser
from lineament.faces.schemes import scheme_word
from lineament.inference import load
from lineament.pipeline.evaluate.few_shot import FewShotTestSet, run_few_shot
from lineament.pipeline.evaluate.few_shot_plan import VARIANTS, FewShotPlan
from lineament.training.loop import LoopOptions, resume, train
from lineament.training.run import open_run
from lineament.training.stopping import TrainingInterrupted

QUIET = LoopOptions(progress=False, report=False, figures=False)


OWN = Path(__file__).with_name("30-skin.yaml")


class Relabelled(Faces):
    """The same faces with points of another scheme, somewhere between the marks."""

    def __init__(self, count: int, which: str) -> None:
        super().__init__(count)
        self.which, self.fingerprint = which, f"relabelled {count}"

    def __getitem__(self, index: int) -> FaceSample:
        sample = super().__getitem__(index)
        assert sample.landmarks is not None
        mix = torch.rand(30, 5, generator=torch.Generator().manual_seed(0)).softmax(1)
        return dataclasses.replace(sample, landmarks=mix @ sample.landmarks, scheme=self.which)


def weights(run: object) -> dict[str, torch.Tensor]:
    groups = run.read_checkpoint().groups  # type: ignore[attr-defined]
    return {f"{group}/{key}": value for group, each in groups.items() for key, value in each.items()}


def test_it_learns_marks_and_says_how_sure_it_is(tmp_path: Path) -> None:
    recipe = tiny(
        steps=150, batch_size=8, learning_rate=1e-2, move_turn=5.0, occlusions=False, evaluate_count=8
    )
    run = train(recipe, Faces(16, visible=True), tmp_path / "run", validation=Faces(8, seed=9), options=QUIET)
    metrics = run.metrics("train")
    early, late = (
        sum(each["error_percent"] for each in part) / len(part) for part in (metrics[:10], metrics[-10:])
    )
    assert late < 0.75 * early
    measured = run.metrics("evaluation")[-1]
    assert measured["landmark_error_percent"] < 50
    # Half of the points within 1.18 deviations: as many are near as the confidence says, roughly.
    assert measured["near_percent"] == pytest.approx(measured["confidence_percent"], abs=15)
    predictor = load(run.folder).capability(LandmarkPredictor)
    face = Faces(8, seed=9)[0]
    assert face.box is not None
    found = predictor.landmarks(face.image, torch.stack([face.box, face.box + 1.0]))
    assert found.points.shape == (2, 5, 2) and found.visible is not None and found.std_px is not None
    assert float((found.points[0] - POINTS).norm(dim=-1).mean()) < 8.0
    assert bool((found.std_px > 0).all()) and bool(((found.confidence >= 0) & (found.confidence <= 1)).all())
    none = predictor.landmarks(face.image, torch.zeros(0, 4))
    assert none.points.shape == (0, 5, 2) and none.confidence.shape == (0, 5)


@pytest.mark.parametrize("unlabelled", [False, True])
def test_an_interrupted_run_goes_on_bit_for_bit(tmp_path: Path, unlabelled: bool) -> None:
    def recipe() -> object:
        fields = {"steps": 6, "checkpoint_every": 3, "evaluate_every": 2}
        if unlabelled:
            return tiny(
                **fields, consistency_from=0.2, consistency_full=0.5, source=Faces(5, labelled=False, seed=4)
            )
        return tiny(**fields)

    whole = train(recipe(), Faces(), tmp_path / "whole", options=QUIET)  # type: ignore[arg-type]
    with pytest.raises(TrainingInterrupted):
        train(
            recipe(),  # type: ignore[arg-type]
            Faces(),
            tmp_path / "cut",
            options=dataclasses.replace(QUIET, stop_after=4),
        )
    cut = resume(tmp_path / "cut", Faces(), recipe=recipe(), options=QUIET)  # type: ignore[arg-type]
    one, two = weights(whole), weights(cut)
    assert one.keys() == two.keys() and all(torch.equal(value, two[key]) for key, value in one.items())
    used = [line["step"] for line in whole.metrics("train") if "consistency" in line]
    assert bool(used) == unlabelled


def test_an_unlabelled_face_teaches_and_its_labels_stay_unseen(tmp_path: Path) -> None:
    fields = {"steps": 3, "consistency_from": 0.0, "consistency_full": 0.0}
    runs = [
        train(
            tiny(**fields, source=Faces(5, labelled=told, seed=4)),
            Faces(),
            tmp_path / str(told),
            options=QUIET,
        )
        for told in (False, True)
    ]
    one, two = (weights(run) for run in runs)
    assert all(torch.equal(value, two[key]) for key, value in one.items())
    other = train(
        tiny(**fields, source=Faces(5, labelled=False, seed=5)), Faces(), tmp_path / "c", options=QUIET
    )
    assert not all(torch.equal(value, weights(other)[key]) for key, value in one.items())


def test_a_base_gives_its_backbone_and_another_scheme_gets_a_new_head(tmp_path: Path) -> None:
    base = train(tiny(steps=2), Faces(), tmp_path / "base", options=QUIET)
    # Nobody gives sizes: the base decides them.
    from lineament.training.registry import get_recipe

    entry = get_recipe("landmarks")
    own = "{name: own, points: [left, right, tip, low, lower], mirror: [1, 0, 2, 3, 4]}"
    config = entry.config(base=str(base.folder), scheme="5", steps=10, batch_size=3, labels=3, head_first=0.5)
    recipe = entry.build(config)
    assert recipe.config.size == 32 and tuple(recipe.config.widths) == (4, 6, 8, 10)
    before = {key: value.clone() for key, value in recipe.networks()["backbone"].state_dict().items()}
    taken = weights(base)
    assert all(torch.equal(value, taken[f"ema/backbone/{key}"]) for key, value in before.items())
    run = train(recipe, Faces(), tmp_path / "few", options=dataclasses.replace(QUIET, stop_after=None))
    assert run.metrics("train")[-1]["step"] == 10
    # The norms of the base stay; its weights move once the head has learnt.
    after = weights(run)
    assert torch.equal(after["networks/backbone/start.norm.running_mean"], before["start.norm.running_mean"])
    assert not torch.equal(after["networks/backbone/start.conv.weight"], before["start.conv.weight"])
    other = entry.build(entry.config(base=str(base.folder), scheme=own, mirror=0.0))
    other.networks()
    assert "head/maps.weight" not in other.not_taken
    three = entry.build(entry.config(base=str(base.folder), scheme="points-3", mirror=0.0))
    three.networks()
    assert "head/maps.weight" in three.not_taken


def test_only_the_head_learns_at_first(tmp_path: Path) -> None:
    base = train(tiny(steps=2), Faces(), tmp_path / "base", options=QUIET)
    from lineament.training.registry import get_recipe

    entry = get_recipe("landmarks")
    recipe = entry.build(
        entry.config(base=str(base.folder), scheme="5", steps=10, batch_size=3, head_first=0.5)
    )
    with pytest.raises(TrainingInterrupted):
        train(recipe, Faces(), tmp_path / "few", options=dataclasses.replace(QUIET, stop_after=5))
    halfway, taken = weights(open_run(tmp_path / "few")), weights(base)
    for key, value in halfway.items():
        if key.startswith("networks/backbone/"):
            assert torch.equal(value, taken["ema/" + key.removeprefix("networks/")]), key


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"size": 40}, "size is a multiple of 16"),
        ({"widths": (4, 6)}, "widths are four numbers"),
        ({"pick": "best", "labels": 2}, "pick is first or random"),
        ({"consistency_from": 0.5, "consistency_full": 0.1, "unlabelled": ("x",)}, "shares of the steps"),
        ({"mirror": 1.5}, "mirror is a probability"),
        ({"ema_decay": 0.0, "unlabelled": ("x",)}, "give --ema-decay above 0"),
    ],
)
def test_impossible_settings_are_refused_in_one_sentence(fields: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        recipe = tiny(**fields)
        recipe.averages(recipe.networks())


def test_data_without_labels_or_with_too_few_are_refused() -> None:
    with pytest.raises(DataError, match="has no landmarks"):
        tiny().training_source(Faces(labelled=False))
    with pytest.raises(DataError, match="9 labelled faces are asked for"):
        tiny(labels=9).training_source(Faces())
    with pytest.raises(DataError, match="cannot be turned into the scheme 68"):
        tiny(scheme="68").training_source(Faces())
    with pytest.raises(UsageError, match="which of its 5 points swap"):
        tiny(scheme="points-5").training_source(Faces())


def test_a_study_compares_a_base_with_random_weights_in_the_scheme_of_the_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = train(tiny(steps=2), Faces(), tmp_path / "base", options=QUIET)
    for name in ("landmarks", "landmarks-random"):
        fields = {**VARIANTS[name].fields, "batch_size": 2, "borrowed": 2}
        monkeypatch.setitem(VARIANTS, name, dataclasses.replace(VARIANTS[name], fields=fields))
    own = scheme_word(str(OWN))
    plan = FewShotPlan((2,), (0,), steps=2)
    test_sets = [FewShotTestSet("marks", Relabelled(3, own), normalise_by=usual_normaliser(own))]
    study = tmp_path / "study"
    cells = run_few_shot(plan, {"landmarks": base.folder}, Relabelled(4, own), test_sets, study)
    assert [cell.variant for cell in cells] == ["landmarks", "landmarks-random"]
    # Both have the sizes of the base; a network of the default sizes would take far longer and know no size of 32.
    kept = [json.loads(path.read_text())["facts"] for path in sorted((study / "cells").iterdir())]
    assert kept[0]["base"] and not kept[1]["base"] and kept[1]["sizes"]["size"] == 32
    assert all(0 < cell.errors["marks"] < 500 for cell in cells)


def test_scale_alone_is_learnt_and_places_stay(tmp_path: Path) -> None:
    base = train(
        tiny(steps=3, unlabelled_every=2, source=Faces(5, labelled=False, seed=4), second_look=False),
        Faces(),
        tmp_path / "base",
        options=QUIET,
    )
    # One look: the deviations of two are the weights of their average.
    run = train(
        tiny(steps=3, base=str(base.folder), scale_only=True, second_look=False),
        Faces(),
        tmp_path / "run",
        options=QUIET,
    )
    image, boxes = Faces()[0].image, torch.tensor([[4.0, 4.0, 40.0, 40.0]])
    before, after = (
        load(each.folder).capability(LandmarkPredictor).landmarks(image, boxes) for each in (base, run)
    )
    assert torch.equal(before.points, after.points)
    assert before.std_px is not None and after.std_px is not None
    # A calibrated scale of three or twelve steps is much the same; the weights that say it are not.
    assert not torch.equal(before.std_px, after.std_px)
    first, last = (each.read_checkpoint().groups["ema"] for each in (base, run))
    assert float(last["head/local"].abs().max()) > 0
    kept = [name for name in first if "backbone" in name or "maps" in name]
    assert len(kept) > 20 and all(torch.equal(first[name], last[name]) for name in kept)


def test_scale_alone_uses_the_last_step(tmp_path: Path) -> None:
    base = train(tiny(steps=1), Faces(), tmp_path / "base", options=QUIET)
    recipe = tiny(steps=4, base=str(base.folder), scale_only=True, evaluate_every=1)
    run = train(recipe, Faces(), tmp_path / "run", options=QUIET)
    # The places stay, so the first evaluation is never beaten.
    errors = {row["landmark_error_percent"] for row in run.metrics("evaluation")}
    assert len(errors) == 1
    assert run.read_checkpoint("best").step == 4


def test_scale_alone_has_nothing_to_be_patient_for(tmp_path: Path) -> None:
    base = train(tiny(steps=1), Faces(), tmp_path / "base", options=QUIET)
    with pytest.raises(UsageError, match="best metric"):
        tiny(steps=4, base=str(base.folder), scale_only=True, evaluate_every=1, patience=2)


def test_scale_alone_needs_the_places_of_a_base() -> None:
    with pytest.raises(UsageError, match="base"):
        tiny(scale_only=True)
