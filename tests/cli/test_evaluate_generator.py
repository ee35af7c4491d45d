"""`lineament evaluate --protocol gmpi`: cards of runs that draw images, and what is left out by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lineament.capabilities import ImageGenerator, MultiplaneGenerator, PooledFeatures
from lineament.cli.main import main
from lineament.inference import load
from lineament.nn.inception import InceptionV3
from lineament.pipeline.evaluate.generator_options import PRESETS, GeneratorOptions

DATA = "synthetic?count=6&size=40"
SMALL = ["--generated", "5", "--people", "2", "--workers", "1"]
NETWORK = ["--channel-base", "256", "--channel-max", "8", "--latent", "8", "--mapping-layers", "1"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A StyleGAN2 and a GMPI of 32 px after a step."""
    folder = tmp_path_factory.mktemp("generators")
    words = ["--data", DATA, "--resolution", "32", "--resize", "--steps", "1", "--batch-size", "2", *NETWORK]
    words += ["--figures-every", "0"]
    assert main(["train", "stylegan2", *words, "--run", str(folder / "base")]) == 0
    more = ["--planes", "6", "--lights", "none"]
    assert main(["train", "gmpi-folder", *words, *more, "--run", str(folder / "gmpi")]) == 0
    return folder


def cards_of(path: Path) -> dict[str, Any]:
    return {card["name"]: card for card in json.loads(path.read_text())}


def test_a_run_of_multiplane_images_is_compared_and_looked_at(runs: Path, capsys: pytest.CaptureFixture[str]):
    words = ["--data", DATA, "--protocol", "gmpi", *SMALL]
    words += ["--planes", "8", "--preset", "debug", "--rounding", "published"]
    assert main(["evaluate", str(runs / "gmpi"), *words]) == 0
    said = capsys.readouterr()
    (file,) = (runs / "gmpi" / "evaluations").glob("gmpi-*.json")
    cards = cards_of(file)
    frechet, kernel = (
        cards["Frechet distance (face-68 features)"],
        cards["kernel distance (face-68 features)"],
    )
    assert frechet["count"] == 5 and frechet["details"]["real"] == 6 and frechet["details"]["features"] == 128
    assert kernel["seed"] == 2020 and "subsets of 5 images" in kernel["protocol"]
    assert "8 planes" in frechet["protocol"] and "fractions of a level dropped" in frechet["protocol"]
    assert "cut to their middle square" in frechet["protocol"]  # as the training did
    assert cards["nose nearest and ears farthest"]["count"] == 2
    # One step makes no faces: what needs them is left out, by name.
    assert "left out: depth against the fitted head: no face was found in any of 2 people" in said.err
    assert "left out: same person from both sides: " in said.err
    assert (
        "left out: pose by Deep3DFaceRecon against the camera: needs its network (--deep3d FILE)" in said.err
    )
    assert (
        "left out: depth against Deep3DFaceRecon's mesh: the Basel face model cannot be read here" in said.err
    )
    assert "left out: FID and KID: need" in said.err and "wrote" in said.out


@pytest.mark.slow
def test_fid_and_kid_come_with_the_network_of_the_user(
    runs: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    torch.manual_seed(0)
    torch.save(InceptionV3().state_dict(), tmp_path / "inception.pth")
    words = ["--data", DATA, "--protocol", "gmpi", "--generated", "5", "--workers", "1"]
    words += ["--inception", str(tmp_path / "inception.pth"), "--out", str(tmp_path / "cards.json")]
    assert main(["evaluate", str(runs / "base"), *words]) == 0
    fid, kid = (cards_of(tmp_path / "cards.json")[name] for name in ("FID", "KID"))
    assert fid["details"]["features"] == 2048 and "5 generated images" in kid["protocol"]
    assert "FID and KID" not in capsys.readouterr().err


def test_a_plain_generator_is_compared_alone_and_seeds_are_averaged(
    runs: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    out = tmp_path / "cards.json"
    words = ["--data", DATA, "--protocol", "gmpi", "--generated", "5", "--workers", "1", "--out", str(out)]
    assert main(["evaluate", str(runs / "base"), *words, "--seed", "3"]) == 0
    said = capsys.readouterr().err
    assert "left out: FID and KID: need the Inception network of FID (--inception FILE)" in said
    assert "left out: geometry and views: " in said
    frechet = cards_of(out)["Frechet distance (face-68 features)"]
    assert frechet["seed"] == 3 and frechet["value"] > 0 and len(cards_of(out)) == 2
    assert main(["evaluate", str(runs / "base"), str(runs / "base"), *words]) == 2
    assert "needs different ones" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--planes", "1"], "--planes must lie between 2 and 2048"),
        (["--generated", "1"], "--generated must be 2 or more"),
        (["--real", "1"], "--real must be 0 or more (0 takes all, 1 is too few)"),
        (["--inception", "nowhere.pth"], "--inception nowhere.pth is no file"),
        (["--arcface", "nowhere.onnx"], "--arcface nowhere.onnx is no file"),
        (["--count", "3"], "--count 3 has no effect on --protocol gmpi"),
        (["--scheme", "5"], "--scheme 5 has no effect on --protocol gmpi"),
        (["--protocol", "matching", "--people", "3"], "--people belongs to --protocol gmpi"),
    ],
)
def test_impossible_words_are_refused(
    runs: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
):
    protocol = [] if "--protocol" in words else ["--protocol", "gmpi"]
    if protocol and "--generated" not in words:
        words = [*words, "--generated", "2"]
    assert main(["evaluate", str(runs / "gmpi"), "--data", DATA, *protocol, *words]) == 2
    assert sentence in capsys.readouterr().err


def test_runs_that_do_not_fit_are_refused(runs: Path, capsys: pytest.CaptureFixture[str]):
    words = ["--data", DATA, "--protocol", "gmpi"]
    for word in ("--planes", "--people"):
        assert main(["evaluate", str(runs / "base"), *words, word, "4"]) == 2
        assert f"draws images without planes or views: leave {word} 4 out" in capsys.readouterr().err
    assert main(["evaluate", "face-68", *words]) == 2
    assert "no images without views: train one with" in capsys.readouterr().err
    assert (
        main(["evaluate", str(runs / "base"), "--data", "synthetic?count=1&size=40", "--protocol", "gmpi"])
        == 1
    )
    assert "has 1 images" in capsys.readouterr().err
    (bad := runs / "bad.pth").write_bytes(b"no network")
    assert main(["evaluate", str(runs / "base"), *words, "--inception", str(bad)]) == 1
    assert "bad.pth" in capsys.readouterr().err
    assert main(["evaluate", str(runs / "gmpi"), *words, "--deep3d", str(bad)]) == 1
    assert "bad.pth" in capsys.readouterr().err
    pytest.importorskip("onnxruntime")
    assert main(["evaluate", str(runs / "gmpi"), *words, "--arcface", str(bad)]) == 1
    assert "no ONNX network" in capsys.readouterr().err


def test_runs_answer_the_protocols(runs: Path):
    base, multiplane = load(runs / "base").predictor, load(runs / "gmpi").predictor
    assert isinstance(base, ImageGenerator) and not isinstance(base, MultiplaneGenerator)
    assert isinstance(multiplane, MultiplaneGenerator) and not isinstance(multiplane, ImageGenerator)
    assert base.resolution == 32 and multiplane.poses.yaw_std > 0
    faces = load("face-68").predictor
    assert isinstance(faces, PooledFeatures)
    images = torch.rand(3, 3, 32, 32)
    features = faces.pooled_features(images)
    assert features.shape == (3, 128)
    torch.testing.assert_close(faces.pooled_features(images[1:2]), features[1:2], rtol=1e-4, atol=1e-5)


def test_presets_settle_what_is_not_given():
    quick = GeneratorOptions().settled()
    assert (quick.generated, quick.real, quick.people, quick.rounding) == (5000, 5000, 500, "nearest")
    paper = GeneratorOptions(preset="paper", people=9).settled()
    assert (paper.generated, paper.people) == (PRESETS["paper"]["generated"], 9) == (50_000, 9)
    assert (paper.rounding, paper.identity_views) == ("published", "random")
    assert GeneratorOptions(preset="paper", rounding="nearest").settled().rounding == "nearest"
    assert GeneratorOptions(real=0).settled().real == 0
