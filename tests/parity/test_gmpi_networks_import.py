"""Published checkpoints of GMPI at full size: every weight of a list without names comes to its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.gmpi.old_gmpi import settings, write_folder
from tests.parity.gmpi_goldens import VARIANT_WORDS
from tests.parity.recorded import matching
from torch import Tensor

from lineament.cli.main import main
from lineament.errors import CheckpointError
from lineament.inference import load
from lineament.methods.gmpi.datasets import SCENES
from lineament.methods.gmpi.legacy import read_checkpoint
from lineament.methods.gmpi.reference_names import reference_name
from lineament.nn.upfirdn import TAPS, fir_filter
from lineament.training.run import open_run

Record = dict[str, Any]
SIZES = ("FFHQ256", "FFHQ512_AFHQCat", "FFHQ1024_MetFaces")


def record_of(goldens: Path, network: str, size: str) -> Record:
    """Names and shapes of a published network; skips where the recorded set has none of this size."""
    records = json.loads(matching(goldens, "gmpi_networks/full_size_keys.json")[0].read_text())
    if f"{network}/{size}" not in records:
        pytest.skip(f"no {network}/{size} is recorded")
    record: Record = records[f"{network}/{size}"]
    return record


def number_of(record: Record, name: str) -> float:
    """A number that no other weight of the network has."""
    names = [each for each, _ in [*record["parameters"], *record["buffers"]]]
    return (names.index(name) + 1) / 8


def state(record: Record, add: float = 0, *, memory: bool = False) -> dict[str, Tensor]:
    """A network's tensors, each filled with a number of its own; the constants as published."""
    made = {}
    for name, shape in [*record["parameters"], *record["buffers"]]:
        last = name.rpartition(".")[2]
        if last == "resample_filter":
            made[name] = fir_filter(TAPS)
            continue
        value = 0.0 if last.endswith("left_append") else number_of(record, name) + add
        filled = torch.full((), value).expand(shape)
        made[name] = filled.contiguous() if memory else filled
    return made


def average(record: Record, add: float, *, memory: bool = False) -> dict[str, Any]:
    values = state(record, add, memory=memory)
    shadow = [values[name] for name, _ in record["parameters"]]
    return {"decay": 0.999, "num_updates": 5000, "shadow_params": shadow, "collected_params": None}


def assert_weights(record: Record, weights: dict[str, Tensor], averaged: float) -> None:
    """Parameters have their number and what the average adds, buffers those of the generator."""
    parameters = {name for name, _ in record["parameters"]}
    seen = {reference_name(name.partition("/")[2]): value for name, value in weights.items()}
    shapes = dict([*record["parameters"], *record["buffers"]])
    kept = {name for name in shapes if not name.endswith(("resample_filter", "left_append"))}
    assert seen.keys() == kept
    for name, value in seen.items():
        assert list(value.shape) == shapes[name]
        expected = number_of(record, name) + (averaged if name in parameters else 0)
        assert float(value.min()) == float(value.max()) == expected, name


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("word", VARIANT_WORDS)
def test_every_weight_of_full_size_comes_to_its_name(goldens: Path, tmp_path: Path, word: str, size: str):
    record = record_of(goldens, f"G/{word}", size)
    variant = VARIANT_WORDS[word]
    for data_set in size.split("_"):
        contents = {
            "generator": state(record),
            "ema": average(record, 1000),
            "ema2": average(record, 2000),
            "config": settings(variant, data_set),
        }
        files = {part: tmp_path / f"{part}.pth" for part in contents}
        model = read_checkpoint(contents, files, {})
        scene = SCENES[data_set.lower()]
        assert (model.config["resolution"], model.config["near"]) == (scene.resolution, scene.near)
        assert (model.config["channel_max"], model.config["mapping_layers"]) == (512, 8)
        assert (model.config["variant"], model.step) == (variant, 5000)
    assert_weights(record, dict(model.weights), 0)
    assert_weights(record, dict(model.averages["ema"]), 1000)
    assert_weights(record, dict(model.averages["ema2"]), 2000)
    shapes = dict(record["parameters"])
    token = shapes.get("synthesis.b4.pos_enc_embed_learnable_param")
    fixed = token[1] if token else shapes.get("synthesis.b4.toalpha.weight", [1])[0]
    assert model.config["planes"] == (fixed if fixed > 1 else 32)


@pytest.mark.parametrize("size", SIZES)
def test_other_variants_settings_are_refused_at_full_size(goldens: Path, tmp_path: Path, size: str):
    record = record_of(goldens, "G/cond", size)
    contents = {"generator": state(record), "ema": average(record, 1)}
    named = {"data_set": size.split("_")[0].lower()}
    for word, variant in VARIANT_WORDS.items():
        if word == "cond":
            continue
        other = {**contents, "config": settings(variant, size.split("_")[0])}
        with pytest.raises(CheckpointError, match=f"say variant {variant}"):
            read_checkpoint(other, {part: tmp_path / f"{part}.pth" for part in other}, {})
        mixed = {**contents, "ema": average(record_of(goldens, f"G/{word}", size), 1)}
        with pytest.raises(CheckpointError, match=r"ema\.pth: "):
            read_checkpoint(mixed, {part: tmp_path / f"{part}.pth" for part in mixed}, named)


FILES_ON_DISK = [
    pytest.param(word, size, marks=[] if (word, size) == ("cond", "FFHQ256") else pytest.mark.slow)
    for word in VARIANT_WORDS
    for size in SIZES
]


@pytest.mark.parametrize(("word", "size"), FILES_ON_DISK)
def test_files_of_full_size_become_a_run(
    goldens: Path, tmp_path: Path, word: str, size: str, capsys: pytest.CaptureFixture[str]
):
    """As published: without a discriminator, but for the 512 px ones."""
    record, variant = record_of(goldens, f"G/{word}", size), VARIANT_WORDS[word]
    data_set = size.split("_")[-1]
    folder, out = tmp_path / data_set, tmp_path / "run"
    write_folder(folder, generator=state(record, memory=True), ema=average(record, 1000, memory=True))
    judged = "512" in size
    if judged:
        write_folder(folder, discriminator=state(record_of(goldens, "D", size), memory=True))
    write_folder(folder, config=settings(variant, data_set))
    assert main(["import", "gmpi", str(folder), "--run", str(out)]) == 0
    assert f"{data_set.lower()}, told by config.pth" in capsys.readouterr().out
    run = open_run(out)
    networks = run.load_networks()
    assert set(networks) == {"generator", "discriminator"} - (set() if judged else {"discriminator"})
    assert_weights(record, {f"generator/{k}": v for k, v in networks["generator"].state_dict().items()}, 1000)
    if judged:
        weights = networks["discriminator"].state_dict()
        assert_weights(
            record_of(goldens, "D", size), {f"discriminator/{k}": v for k, v in weights.items()}, 0
        )
    predictor = load(out).predictor
    assert (predictor.latent_size, predictor.renderer.scene) == (512, SCENES[data_set.lower()])
