"""Published checkpoints of GMPI: read into a run, refused in one sentence, never executed."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tests.gmpi.old_gmpi import (
    as_object,
    average_of,
    published_state,
    settings,
    thin_discriminator,
    thin_generator,
    whole,
    write_folder,
)

from lineament.cli.main import main
from lineament.errors import CheckpointError, LineamentError, UsageError
from lineament.inference import load
from lineament.methods.gmpi.alpha import VARIANTS
from lineament.methods.gmpi.datasets import SCENES
from lineament.methods.gmpi.legacy import read_checkpoint
from lineament.methods.gmpi.published_settings import flat_settings
from lineament.methods.gmpi.reference_names import parameter_names
from lineament.pipeline.import_checkpoint import import_checkpoint
from lineament.training.loop import resume
from lineament.training.run import open_run


def imported(place: Path, **options: str) -> Any:
    return import_checkpoint("gmpi", place, place.parent / "run", options=options).run


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_folder_becomes_a_run_that_draws_its_average(
    tmp_path: Path, variant: str, capsys: pytest.CaptureFixture[str]
):
    planes = 4 if variant in ("none", "plane-token") else 32
    parts = whole(variant, planes)
    folder = write_folder(tmp_path / "old", **parts)
    write_folder(folder, optimizer_G={"state": {}}, generator_4000={})
    out = tmp_path / "run"
    assert main(["import", "gmpi", str(folder), "--run", str(out)]) == 0
    printed = capsys.readouterr().out
    for words in (
        "ffhq256, told by config.pth",
        f"256 px, variant {variant} ({'/'.join(VARIANTS[variant].pair)}), {planes} planes",
        "ema.pth (decay 0.999, 12 updates), ema2.pth (decay 0.9999, 12 updates)",
        "w_avg of generator.pth",
        "gmpi-folder, step 12",
        "ignored optimizer_*.pth",
        "ignored *_STEP.pth",
    ):
        assert words in printed
    run = open_run(out)
    torch.manual_seed(0)
    raw, quick, slow = (thin_generator(variant, planes) for _ in range(3))
    loaded, trained = run.load_networks(), run.load_networks(average=False)
    buffers = dict(raw.named_buffers())
    for name, value in loaded["generator"].state_dict().items():
        assert torch.equal(value, buffers.get(name, dict(quick.named_parameters()).get(name))), name
    for name, value in trained["generator"].state_dict().items():
        assert torch.equal(value, raw.state_dict()[name]), name
    group = run.read_checkpoint().groups["ema2"]
    for name, value in slow.named_parameters():
        assert torch.equal(group[f"generator/{name}"], value), name
    published = parts["discriminator"]
    for name, value in loaded["discriminator"].state_dict().items():
        assert torch.equal(value, published[name]), name
    predictor = load(out).predictor
    with torch.no_grad():
        for name, buffer in raw.named_buffers():
            if name.rpartition(".")[2] in ("noise_const", "w_avg"):
                quick.get_buffer(name).copy_(buffer)
        latents = torch.randn(1, 8)
        seen = predictor.views(latents, torch.zeros(1, 2), psi=0.6)[0]
        expected = quick(latents, predictor.generator.plane_depths, truncation_psi=0.6, noise_mode="const")
        assert torch.equal(
            predictor.generator(latents, truncation_psi=0.6, noise_mode="const").alpha, expected.alpha
        )
    assert seen.shape == (1, 1, 3, 256, 256) and float(seen.std()) > 0
    assert main(["import", "gmpi", str(folder), "--run", str(out)]) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_scenes_are_those_of_the_data_set(tmp_path: Path):
    parts = {"generator": published_state(thin_generator(resolution=512))}
    parts["ema"] = average_of(thin_generator(resolution=512))
    write_folder(tmp_path / "ckpts" / "AFHQCat", **parts)
    run = imported(tmp_path / "ckpts" / "AFHQCat")
    scene, config = SCENES["afhqcat"], run.config
    assert (config["near"], config["far"], config["fov_degrees"]) == (2.55, 2.8, 13.39)
    assert (config["radius"], config["truncation"]) == (2.7, 3.0)
    assert run.build_recipe().renderer.scene == scene
    assert "told by the folder's name" in run.environment()[0]["imported"]["found"]["data set"]


def test_what_only_a_training_needs_may_be_missing(tmp_path: Path):
    parts = whole()
    folder = write_folder(
        tmp_path / "old", generator=parts["generator"], ema=parts["ema"], config=parts["config"]
    )
    run = imported(folder)
    assert set(run.load_networks()) == {"generator"} and "ema2" not in run.read_checkpoint().groups
    assert "none" in run.environment()[0]["imported"]["found"]["discriminator"]
    assert load(run.folder).predictor.latent_size == 8
    with pytest.raises(LineamentError):
        resume(run.folder)


def test_the_mean_style_can_be_that_of_published_evaluations(tmp_path: Path):
    folder = write_folder(tmp_path / "old", **whole())
    mean = torch.load(folder / "generator.pth")["mapping.w_avg"]
    run = imported(folder)
    assert torch.equal(run.load_networks()["generator"].mapping.w_avg, mean)
    with pytest.raises(LineamentError, match="not empty"):
        imported(folder, w_avg="compat")
    run = import_checkpoint("gmpi", folder, tmp_path / "run", overwrite=True, options={"w_avg": "compat"}).run
    networks = run.load_networks(), run.load_networks(average=False)
    assert not networks[0]["generator"].mapping.w_avg.any()
    assert torch.equal(networks[1]["generator"].mapping.w_avg, mean)
    assert not run.read_checkpoint().groups["ema2"]["generator/mapping.w_avg"].any()


def test_settings_come_from_yaml_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    parts = whole("plane-token")
    del parts["config"]
    folder = write_folder(tmp_path / "old", **parts)
    right, wrong = tmp_path / "gmpi.yml", tmp_path / "other.yml"
    right.write_text(yaml.safe_dump(settings("plane-token")))
    wrong.write_text(yaml.safe_dump(settings("plane-depth")))
    arguments = ["import", "gmpi", str(folder), "--run", str(tmp_path / "run"), "--config"]
    assert main([*arguments, str(wrong)]) == 1
    error = capsys.readouterr().err
    assert "say variant plane-depth (normalize_add_z/modulated_lrelu)" in error
    assert "are those of plane-token" in error and len(error.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()
    assert main([*arguments, str(right)]) == 0
    assert "told by gmpi.yml" in capsys.readouterr().out
    assert str(tmp_path) not in (tmp_path / "run" / "environment.json").read_text()


def test_a_step_and_the_folder_of_a_training_can_be_named(tmp_path: Path):
    early, late = whole(seed=1), whole(seed=2)
    folder = write_folder(tmp_path / "training" / "checkpoints", **late)
    write_folder(folder, **{f"{name}_500": value for name, value in early.items() if name != "config"})
    for place, parts in ((tmp_path / "training", late), (folder / "generator_500.pth", early)):
        run = import_checkpoint("gmpi", place, tmp_path / "run", overwrite=True).run
        weights = run.read_checkpoint().groups["ema"]
        names = parameter_names(run.load_networks()["generator"])
        for name, value in zip(names, parts["ema"]["shadow_params"], strict=True):
            assert torch.equal(weights[f"generator/{name}"], value)


def test_averages_are_read_as_whole_objects_too(tmp_path: Path):
    parts = whole()
    folder = write_folder(tmp_path / "old", **parts)
    as_object(parts["ema"], folder / "ema.pth")
    weights = imported(folder).read_checkpoint().groups["ema"]
    assert torch.equal(weights["generator/synthesis.b4.const"], parts["ema"]["shadow_params"][0])


def changed(part: str, change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], None]:
    def apply(parts: dict[str, Any]) -> None:
        parts[part] = change(parts[part])

    return apply


def entry(part: str, name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return changed(part, lambda stored: {**stored, name: value})


def lacking(part: str, name: str) -> Callable[[dict[str, Any]], None]:
    return changed(part, lambda stored: {key: value for key, value in stored.items() if key != name})


def shadow(change: Callable[[list[Any]], Any]) -> Callable[[dict[str, Any]], None]:
    return changed("ema", lambda stored: {**stored, "shadow_params": change(list(stored["shadow_params"]))})


REFUSED: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda parts: parts.pop("generator"), "has no generator.pth"),
    (lambda parts: parts.pop("ema"), "has no ema.pth"),
    (changed("generator", lambda _: [1, 2]), "generator.pth: it holds no tensors by name"),
    (changed("generator", lambda _: {"step": 3}), "its entry 'step' is no tensor with a name"),
    (changed("generator", lambda _: {"fc.weight": torch.ones(2)}), "is no StyleGAN2"),
    (lacking("generator", "synthesis.b8.conv0.bias"), "it lacks the weight 'synthesis.b8.conv0.bias'"),
    (lacking("generator", "mapping.w_avg"), "it lacks the weight 'mapping.w_avg'"),
    (
        entry("generator", "synthesis.b8.more", torch.ones(2)),
        "'synthesis.b8.more' that does not belong there",
    ),
    (entry("generator", "synthesis.b16.torgb.bias", torch.ones(4)), "has the shape (4,) where (3,)"),
    (entry("generator", "synthesis.b16.torgb.bias", torch.full((3,), torch.nan)), "not finite"),
    (entry("generator", "synthesis.b4.resample_filter", torch.ones(4, 4)), "not the published constant"),
    (entry("generator", "synthesis.b4.conv1.weight", torch.ones(0, 0, 3, 3)), "is no StyleGAN2"),
    (shadow(lambda values: values[:-1]), "where the generator has"),
    (shadow(lambda values: [*values, values[-1]]), "where the generator has"),
    (shadow(lambda values: values[::-1]), "the tensor at place 0 of its list is"),
    (shadow(lambda values: [None, *values[1:]]), "place 0 of its list is NoneType"),
    (shadow(lambda values: [values[0] * torch.inf, *values[1:]]), "ema.pth: its weight"),
    (shadow(lambda values: dict(enumerate(values))), "it holds no list shadow_params"),
    (changed("ema", lambda stored: stored["shadow_params"]), "it holds no list shadow_params"),
    (changed("ema2", lambda _: {}), "ema2.pth: it holds no list shadow_params"),
    (changed("ema", lambda _: average_of(thin_generator("none"))), "the average of another network"),
    (lacking("discriminator", "mapping.weight"), "discriminator.pth: it lacks the weight 'mapping.weight'"),
    (
        changed("discriminator", lambda _: published_state(thin_discriminator(pose_dim=9))),
        "'mapping.weight' has the shape (16, 9)",
    ),
    (changed("config", lambda _: settings("none")), "say variant none (none/none), but the weights"),
    (changed("config", lambda _: settings(data_set="FFHQ1024")), "says data set ffhq1024 of 1024 px"),
    (changed("config", lambda _: settings(G_final_img_act="sigmoid")), "have G_final_img_act sigmoid"),
    (
        changed("config", lambda _: settings(torgba_cond_on_pos_enc="add_xyz")),
        "which is none of GMPI's four variants",
    ),
    (
        changed("config", lambda stored: {**stored, "again": settings("none")}),
        "name torgba_cond_on_pos_enc with several values",
    ),
    (changed("config", lambda _: {"lr": 1}), "do not name torgba_cond_on_pos_enc"),
    (changed("config", lambda _: torch.ones(3)), "do not name torgba_cond_on_pos_enc"),
]


@pytest.mark.parametrize(("change", "words"), REFUSED, ids=range(len(REFUSED)))
def test_other_contents_are_refused_in_one_sentence(
    tmp_path: Path,
    change: Callable[[dict[str, Any]], Any],
    words: str,
    capsys: pytest.CaptureFixture[str],
):
    parts = whole()
    change(parts)
    folder = write_folder(tmp_path / "old", **parts)
    assert main(["import", "gmpi", str(folder), "--run", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err.strip()
    assert words in error and str(folder) in error
    assert len(error.splitlines()) == 1 and "Traceback" not in error
    assert not (tmp_path / "run").exists()


def test_a_generator_without_alpha_is_no_gmpi(tmp_path: Path):
    parts = whole()
    parts["generator"] = {
        key: value
        for key, value in parts["generator"].items()
        if ".toalpha." not in key and ".pos_enc_embed." not in key
    }
    with pytest.raises(CheckpointError, match="lineament import stylegan2"):
        imported(write_folder(tmp_path / "old", **parts))


def test_what_nothing_tells_is_asked_for(tmp_path: Path):
    for resolution, words in ((512, "ffhq512 or afhqcat"), (1024, "ffhq1024 or metfaces")):
        network = thin_generator(resolution=resolution)
        contents = {"generator": published_state(network), "ema": average_of(network)}
        files = {part: tmp_path / f"{part}.pth" for part in contents}
        with pytest.raises(CheckpointError, match=f"give --data-set {words}"):
            read_checkpoint(contents, files, {})
        model = read_checkpoint(contents, files, {"data_set": words.split()[-1]})
        assert model.config["yaw_std"] == SCENES[words.split()[-1]].poses.yaw_std
        with pytest.raises(
            CheckpointError, match=f"--data-set says data set ffhq256.* give --data-set {words}"
        ):
            read_checkpoint(contents, files, {"data_set": "ffhq256"})
        with pytest.raises(UsageError, match="unknown data set 'ffhq'"):
            read_checkpoint(contents, files, {"data_set": "ffhq"})
    small = thin_generator(resolution=32)
    contents = {"generator": published_state(small), "ema": average_of(small)}
    with pytest.raises(CheckpointError, match="draw 32 px where 256, 512 or 1024"):
        read_checkpoint(contents, files, {"data_set": "ffhq256"})


class Shell:
    """Makes a file when it is unpickled by an ordinary reader."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("part", ["generator", "ema", "ema2", "discriminator", "config"])
def test_nothing_is_executed_and_damage_is_refused(
    tmp_path: Path, part: str, capsys: pytest.CaptureFixture[str]
):
    marker, parts, rng = tmp_path / "executed", whole(), random.Random(0)
    folder, out = write_folder(tmp_path / "old", **parts), tmp_path / "run"
    path = folder / f"{part}.pth"
    data = path.read_bytes()
    contents = [data[:length] for length in (0, 1, 100, len(data) - 1, rng.randrange(len(data)))]
    for bad in ({"shadow_params": [Shell(marker)]}, Shell(marker)):
        torch.save(bad, path)
        contents.append(path.read_bytes())
    for content in contents:
        path.write_bytes(content)
        assert main(["import", "gmpi", str(folder), "--run", str(out)]) == 1
        error = capsys.readouterr().err.strip()
        assert f"{part}.pth" in error and len(error.splitlines()) == 1 and "Traceback" not in error
        assert not out.exists() and not marker.exists()


def test_foreign_text_reaches_no_terminal(tmp_path: Path):
    parts = whole()
    parts["config"] = settings(torgba_cond_on_pos_enc="\x1b[2J\nevil")
    with pytest.raises(CheckpointError) as raised:
        imported(write_folder(tmp_path / "old", **parts))
    assert str(raised.value).isprintable()


def test_settings_that_hold_themselves_or_grow_are_read_once(tmp_path: Path):
    laughs: Any = ["x"]
    for _ in range(60):
        laughs = [laughs] * 10
    looped: dict[str, Any] = {"a": {"b": 1}, "laughs": laughs}
    looped["again"] = looped
    assert flat_settings(looped) == {"b": [1], "laughs": ["x"]}
    for text in ("a: [", "!!python/object/apply:os.system ['exit 1']", "[" * 5000, "\x00"):
        path = tmp_path / "gmpi.yml"
        path.write_text(text)
        with pytest.raises(CheckpointError, match="cannot be read as YAML"):
            imported(write_folder(tmp_path / "old", **whole()), config=str(path))


def test_options_of_another_family_and_other_places_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    other = tmp_path / "other.pth"
    torch.save({}, other)
    cases = [
        (["dve", str(other), "--w-avg", "compat"], 2, "--w-avg means nothing to checkpoints of dve"),
        (["gmpi", str(tmp_path / "none")], 1, "is not there"),
        (["gmpi", str(other)], 1, "is none of its generator*.pth"),
        (["gmpi", str(tmp_path)], 1, "has no generator.pth"),
    ]
    for arguments, code, words in cases:
        assert main(["import", *arguments, "--run", str(tmp_path / "run")]) == code
        error = capsys.readouterr().err.strip()
        assert words in error and len(error.splitlines()) == 1
