"""The few-shot study: labels are nested and shared, cells are kept and gone on with, results are written."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
from tests.fabrec.faces import Marks

from lineament.cli.main import main
from lineament.errors import DataError, UsageError
from lineament.methods.fabrec.landmark_config import LandmarkConfig
from lineament.pipeline.evaluate import few_shot, few_shot_plan, few_shot_report
from lineament.pipeline.evaluate.few_shot import (
    Cell,
    FewShotTestSet,
    covering,
    draw_labels,
    read_cells,
    run_few_shot,
)
from lineament.pipeline.evaluate.few_shot_plan import SIZES, VARIANTS, FewShotPlan, default_variants
from lineament.pipeline.evaluate.few_shot_report import few_shot_table, write_few_shot
from lineament.training.loop import LoopOptions, train
from lineament.training.registry import get_recipe

TINY = {"steps": 2, "batch_size": 2, "scheme": "5", "flip_tta": False}


@pytest.fixture
def variants(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("fabrec", "supervised"):
        variant = VARIANTS[name]
        monkeypatch.setitem(VARIANTS, name, replace(variant, fields={**variant.fields, **TINY}))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = get_recipe("fabrec-ae").build(preset="tiny")
    folder = tmp_path_factory.mktemp("base") / "run"
    options = LoopOptions(device="cpu", progress=False, report=False)
    return train(recipe, Marks(4, labelled=False), folder, options=options).folder


def test_labels_are_nested_and_differ_between_seeds():
    source = Marks(30)
    few, many = (draw_labels(source, count, 0).indices for count in (5, 12))
    assert many[:5] == few and len(set(many)) == 12
    assert draw_labels(source, 12, 1).indices != many
    with pytest.raises(DataError, match="31 labelled faces are asked for, but marks holds 30"):
        draw_labels(source, 31, 0)


def test_a_study_goes_on_with_what_is_missing(variants: None, base: Path, tmp_path: Path):
    test_sets = [FewShotTestSet("marks", Marks(3))]
    plan = FewShotPlan((1, 4), (0, 1), ("fabrec", "supervised"), steps=2)
    cells = run_few_shot(plan, {"fabrec": base}, Marks(6), test_sets, tmp_path)
    assert [(c.variant, c.count, c.seed) for c in cells[:3]] == [
        ("fabrec", 1, 0),
        ("supervised", 1, 0),
        ("fabrec", 1, 1),
    ]
    assert all(cell.errors["marks"] > 0 for cell in cells)
    # The seeds draw other labels and other weights.
    assert cells[1].errors != cells[3].errors
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").iterdir()}
    (tmp_path / "cells" / "fabrec-4-1.json").unlink()
    again = run_few_shot(plan, {"fabrec": base}, Marks(6), test_sets, tmp_path)
    assert [cell.errors for cell in again] == [cell.errors for cell in cells]
    changed = [path.name for path, then in kept.items() if path.stat().st_mtime_ns != then]
    assert changed == ["fabrec-4-1.json"]
    # Other labels: nothing of the old study counts, and it is not lost without a word.
    with pytest.raises(
        UsageError, match=r"fabrec-1-0\.json and 7 more were made with other settings \(labelled "
    ):
        run_few_shot(plan, {"fabrec": base}, Marks(7), test_sets, tmp_path)
    assert [cell.errors for cell in read_cells(tmp_path)] == [
        cell.errors for cell in sorted(cells, key=by_name)
    ]
    other = run_few_shot(plan, {"fabrec": base}, Marks(7), test_sets, tmp_path, overwrite=True)
    assert [cell.errors for cell in other] != [cell.errors for cell in cells]
    assert not list(tmp_path.glob(".training-*"))
    table, plot, cards = write_few_shot(plan, other, test_sets, tmp_path)
    assert "autoencoder, frozen" in table.read_text() and plot.stat().st_size > 5000
    merged = json.loads(cards.read_text())
    assert len(merged) == 4 and merged[0]["std_over"] == "seeds" and merged[0]["data"] == "marks"


def by_name(cell: Cell) -> tuple[str, int, int]:
    return cell.variant, cell.count, cell.seed


def test_a_second_study_adds_to_the_first_or_is_refused(variants: None, base: Path, tmp_path: Path):
    """Its table used to take the place of the first one's."""
    test_sets = [FewShotTestSet("marks", Marks(3))]
    first = FewShotPlan((1, 4), (0,), ("fabrec",), steps=2)
    run_few_shot(first, {"fabrec": base}, Marks(6), test_sets, tmp_path)
    # Without the run that the first built on: the networks are named by their sizes, nothing else differs.
    sizes = {"size": 64, "width": 4, "code": 8}
    second = FewShotPlan((4,), (0, 1), ("supervised",), steps=2)
    run_few_shot(second, {}, Marks(6), test_sets, tmp_path, sizes=sizes)
    cells = read_cells(tmp_path)
    both = covering(second, cells)
    assert (both.counts, both.seeds, both.variants) == ((1, 4), (0, 1), ("fabrec", "supervised"))
    rows = [[str(each) for each in row] for row in few_shot_table(both, cells, test_sets[0]).rows]
    assert rows[0][1].endswith("(1 seed)") and rows[0][2].endswith("(1 seed)")
    assert rows[1][1] == "" and "±" in rows[1][2] and "seed" not in rows[1][2]
    _, plot, cards = write_few_shot(both, cells, test_sets, tmp_path)
    assert len(json.loads(cards.read_text())) == 3 and plot.is_file()
    other = [
        (replace(second, steps=3), "steps 2, now 3"),
        (replace(second, box_jitter=0.1), "box_jitter 0.0, now 0.1"),
        (replace(second, rate=1e-3), "fields .*, now .*0.001"),
    ]
    for plan, said in other:
        with pytest.raises(UsageError, match=f"and 3 more were made with other settings .{said}"):
            run_few_shot(plan, {}, Marks(6), test_sets, tmp_path, sizes=sizes)
    with pytest.raises(UsageError, match="test_sets"):
        run_few_shot(second, {}, Marks(6), [FewShotTestSet("marks", Marks(2))], tmp_path, sizes=sizes)
    assert read_cells(tmp_path) == cells


def test_unlabelled_faces_take_part_in_the_modern_variant_only(
    monkeypatch: pytest.MonkeyPatch, base: Path, tmp_path: Path
):
    for name in ("fabrec-modern", "no-unlabelled", "no-autoencoder"):
        variant = VARIANTS[name]
        small = {**variant.fields, "scheme": "5", "flip_tta": False, "batch_size": 2}
        monkeypatch.setitem(VARIANTS, name, replace(variant, fields=small))
    test_sets = [FewShotTestSet("marks", Marks(3))]
    plan = FewShotPlan((2,), (0,), ("fabrec-modern", "no-unlabelled", "no-autoencoder"), steps=3)
    cells = run_few_shot(plan, {"fabrec": base}, Marks(6), test_sets, tmp_path, unlabelled=Marks(5))
    assert len({cell.errors["marks"] for cell in cells}) == 3
    facts = {path.name: json.loads(path.read_text())["facts"] for path in (tmp_path / "cells").glob("*.json")}
    assert [facts[f"{variant}-2-0.json"]["unlabelled"] != "" for variant in plan.variants] == [
        True,
        False,
        True,
    ]
    # Other unlabelled faces: only the variants that saw them are trained again.
    with pytest.raises(UsageError, match=r"and 1 more were made with other settings \(unlabelled"):
        run_few_shot(plan, {"fabrec": base}, Marks(6), test_sets, tmp_path, unlabelled=Marks(4))
    again = run_few_shot(
        plan, {"fabrec": base}, Marks(6), test_sets, tmp_path, unlabelled=Marks(4), overwrite=True
    )
    assert [a.errors == b.errors for a, b in zip(cells, again, strict=True)] == [False, True, False]


def test_a_rate_of_the_study_keeps_the_ratio_of_each_recipe(variants: None, base: Path, tmp_path: Path):
    plan = FewShotPlan((1,), (0,), ("fabrec", "supervised"), steps=2, rate=6e-3)
    run_few_shot(plan, {"fabrec": base}, Marks(6), [FewShotTestSet("marks", Marks(3))], tmp_path)
    facts = {path.name: json.loads(path.read_text())["facts"] for path in (tmp_path / "cells").glob("*.json")}
    rates = {
        name: (fact["fields"]["learning_rate"], fact["fields"].get("encoder_rate"))
        for name, fact in facts.items()
    }
    assert rates["fabrec-1-0.json"] == (6e-3, None)
    assert rates["supervised-1-0.json"] == pytest.approx((6e-3, 6e-3))
    # Another rate is another study; descriptors have no such rate, nor has a frozen encoder.
    study = few_shot._Study(plan, {}, Marks(6), [], tmp_path, None, {}, "cpu")
    assert study.facts("dve")["fields"] == VARIANTS["dve"].fields
    assert replace(study, plan=replace(plan, rate=1e-3)).facts("fabrec") != study.facts("fabrec")
    assert study.facts("fabrec-tuned")["fields"]["encoder_rate"] == pytest.approx(1.2e-4)
    assert study.recipe("supervised", 0).config.learning_rate == 6e-3


def test_the_plain_variant_is_the_published_head_from_random_weights(tmp_path: Path):
    study = few_shot._Study(FewShotPlan(variants=("plain",)), {}, Marks(6), [], tmp_path, None, {}, "cpu")
    plain = study.recipe("plain", 0).config
    published = LandmarkConfig()
    shared = ("loss", "lateral", "sigma", "augmentation", "looks", "schedule", "learning_rate", "batch_size")
    assert plain.base == "random" and plain.encoder_rate == plain.learning_rate
    assert {name: getattr(plain, name) for name in shared} == {
        name: getattr(published, name) for name in shared
    }


def test_the_verb_adds_counts_to_a_study_and_refuses_other_steps(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "study"
    words = ["evaluate", "few-shot", "--fabrec", str(base), "--variants", "fabrec", "--seeds", "0"]
    words += ["--data", "synthetic?count=3&size=64", "--test", "synthetic?count=2&size=64&seed=1"]
    words += ["--out", str(out)]
    assert main([*words, "--counts", "1", "--steps", "2"]) == 0
    assert main([*words, "--counts", "2", "--steps", "2"]) == 0
    printed = capsys.readouterr().out
    table = (out / "few-shot.md").read_text()
    assert "| learnt by | 1 label (% of inter-ocular) | 2 labels" in table and table in printed
    assert main([*words, "--counts", "2", "--steps", "3"]) == 2
    assert "steps 2, now 3" in capsys.readouterr().err
    assert (out / "few-shot.md").read_text() == table
    assert main([*words, "--counts", "2", "--steps", "3", "--overwrite"]) == 0
    assert [cell.count for cell in read_cells(out)] == [2]
    assert "1 label " not in (out / "few-shot.md").read_text()


def test_every_variant_names_a_recipe_and_fields_that_it_has():
    """The table is data: what it says must hold of what the registry gives."""
    for name, variant in VARIANTS.items():
        entry = get_recipe(variant.recipe)
        known = {field.name for field in fields(entry.config_class)}
        assert {*variant.fields, *variant.rates} <= known, name
        assert not variant.like or set(SIZES[variant.like]) <= known, name
        assert variant.preset in ("", *entry.presets), name
        assert bool(variant.base) != bool(variant.like), name
        assert entry.config(variant.preset, **variant.fields)


def test_the_study_imports_no_method():
    for module in (few_shot, few_shot_plan, few_shot_report):
        assert "lineament.methods" not in Path(module.__file__).read_text()


def test_the_table_shows_mean_and_deviation():
    plan = FewShotPlan((10,), (0, 1), ("dve",))
    cells = [Cell("dve", 10, seed, {"t": 4.0 + 2 * seed}, 1.0) for seed in (0, 1)]
    assert few_shot_table(plan, cells, FewShotTestSet("t", Marks(2))).rows == [
        ("descriptors (DVE)", "5.00 ± 1.00")
    ]


def test_only_what_was_asked_for_is_trained():
    assert default_variants(["dve"], unlabelled=False) == ("dve",)
    assert default_variants(["dve"], unlabelled=True) == ("dve",)
    heatmaps = ("fabrec", "fabrec-tuned", "fabrec-faithful", "supervised")
    assert default_variants(["fabrec"], unlabelled=False) == heatmaps
    assert set(default_variants(["dve", "fabrec"], unlabelled=True)) == {*heatmaps, "fabrec-modern", "dve"}
    with pytest.raises(UsageError, match="give a run to build on with --fabrec, --dve or"):
        default_variants([], unlabelled=True)


@pytest.mark.parametrize("variant", ["no-autoencoder", "fabrec-modern"])
def test_variants_with_unlabelled_faces_are_refused_without_them(variant: str, base: Path, tmp_path: Path):
    """They would be trained on labels alone, under a title that says otherwise."""
    plan = FewShotPlan((1,), (0,), (variant, "supervised"))
    with pytest.raises(
        UsageError, match=f"the variants {variant} learn from unlabelled faces .* give --unlabelled"
    ):
        run_few_shot(plan, {"fabrec": base}, Marks(3), [], tmp_path)
    assert not (tmp_path / "cells").exists()


def test_refusals(base: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="did you mean"):
        FewShotPlan(variants=("fabreck",))
    with pytest.raises(UsageError, match="count of 1 or more"):
        FewShotPlan(counts=(0,))
    with pytest.raises(UsageError, match="no negative steps or rate"):
        FewShotPlan(rate=-1.0)
    with pytest.raises(UsageError, match=r"--box-jitter lies in 0\.\.1"):
        FewShotPlan(box_jitter=1.0)
    with pytest.raises(UsageError, match="need a run of dve"):
        run_few_shot(FewShotPlan(variants=("dve",)), {}, Marks(3), [], tmp_path)
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "fabrec-1-0.json").write_text("{")
    plan = FewShotPlan((1,), (0,), ("fabrec",))
    with pytest.raises(DataError, match=r"fabrec-1-0\.json is damaged"):
        run_few_shot(plan, {"fabrec": base}, Marks(3), [FewShotTestSet("marks", Marks(2))], tmp_path)
