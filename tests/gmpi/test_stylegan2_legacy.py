"""Files of StyleGAN2-ADA: read into a run, refused in one sentence, never executed."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.gmpi.old_pickles import Persistent, networks, persistent, published, tensors, write

from lineament.cli.main import main
from lineament.errors import CheckpointError
from lineament.interop.torch_file import TorchFile, read_torch_file
from lineament.methods.gmpi.stylegan2_legacy import network, read_legacy
from lineament.nn.upfirdn import TAPS, fir_filter
from lineament.training.run import open_run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "faces.pkl", published(*networks(), 32))


def test_a_published_file_becomes_a_run_that_draws_the_same(file: Path, capsys: pytest.CaptureFixture[str]):
    out = file.parent / "run"
    assert main(["import", "stylegan2", str(file), "--run", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "32 px, latents of 12, the moving average G_ema" in printed
    assert "ignored G: its moving average G_ema is taken." in printed
    assert "ignored augment_pipe" in printed and "ignored training_set_kwargs" in printed
    run = open_run(out)
    assert {
        name: run.config[name] for name in ("resolution", "channel_base", "channel_max", "std_group")
    } == {
        "resolution": 32,
        "channel_base": 256,
        "channel_max": 16,
        "std_group": 2,
    }
    assert (run.config["conv_clamp"], run.config["latent"], run.config["mapping_layers"]) == (256, 12, 3)
    loaded, (generator, discriminator) = run.load_networks(), networks()
    latents = torch.randn(2, 12)
    for psi in (1.0, 0.5):
        made = loaded["generator"](latents, truncation_psi=psi, noise_mode="const")
        assert torch.equal(made, generator.eval()(latents, truncation_psi=psi, noise_mode="const"))
    assert torch.equal(loaded["discriminator"](made), discriminator(made))
    assert main(["import", "stylegan2", str(file), "--run", str(out)]) == 0
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize("saved", [True, False])
def test_dictionaries_of_tensors_are_read_too(tmp_path: Path, saved: bool):
    generator, discriminator = networks()
    content = {"G_ema": tensors(generator), "D": tensors(discriminator)}
    path = tmp_path / "plain.pkl"
    if saved:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    assert main(["import", "stylegan2", str(path), "--run", str(tmp_path / "run")]) == 0
    weights = open_run(tmp_path / "run").load_networks()["generator"].state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in tensors(generator).items())


def refused(tmp_path: Path, value: Any, capsys: pytest.CaptureFixture[str]) -> str:
    path = write(tmp_path / "bad.pkl", value)
    assert main(["import", "stylegan2", str(path), "--run", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1 and "Traceback" not in error and str(path) in error
    assert not (tmp_path / "run").exists()
    return error


def without(name: str) -> dict[str, Any]:
    content = published(*networks(), 32)
    del content[name]
    return content


def test_other_files_are_refused_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    generator, discriminator = networks()
    conditional = tensors(generator) | {"mapping.embed.weight": torch.zeros(12, 3)}
    other = tensors(generator) | {"synthesis.b32.conv1.weight": torch.zeros(4, 4, 3, 3)}
    lacking = {key: value for key, value in tensors(generator).items() if key != "synthesis.b8.conv0.bias"}
    odd_filter = tensors(generator) | {"synthesis.b8.conv0.resample_filter": torch.ones(4, 4) / 16}
    infinite = tensors(generator) | {"mapping.w_avg": torch.full((12,), torch.inf)}
    judge = tensors(discriminator)
    cases: list[tuple[Any, str]] = [
        ((1, 2, 3), "TensorFlow version"),
        ([persistent(generator, {})] * 3, "TensorFlow version"),
        ({"state_dict": {}}, "no dictionary with G_ema and D"),
        ("text", "no dictionary with G_ema and D"),
        (without("G_ema"), "no dictionary with G_ema and D"),
        (without("D"), "no discriminator D"),
        ({"G_ema": 3, "D": judge}, "its part G_ema is no network of StyleGAN2-ADA"),
        ({"G_ema": {"a": 3}, "D": judge}, "something else than tensors by name"),
        ({"G_ema": {"synthesis.L0_36_512.weight": torch.ones(2)}, "D": judge}, "is no StyleGAN2"),
        ({"G_ema": conditional, "D": judge}, "conditional on a class"),
        ({"G_ema": other, "D": judge}, "has the shape"),
        ({"G_ema": lacking, "D": judge}, "it lacks the weight 'synthesis.b8.conv0.bias'"),
        ({"G_ema": odd_filter, "D": judge}, "not the published constant"),
        ({"G_ema": infinite, "D": judge}, "not finite"),
        ({"G_ema": tensors(generator), "D": {}}, "it lacks the weight"),
    ]
    for value, words in cases:
        assert words in refused(tmp_path, value, capsys), words


def test_damaged_files_are_refused(file: Path, capsys: pytest.CaptureFixture[str]):
    file.write_bytes(file.read_bytes()[:-1000])
    assert main(["import", "stylegan2", str(file), "--run", str(file.parent / "run")]) == 1
    assert "cannot be read as a checkpoint" in capsys.readouterr().err


def test_a_network_that_holds_itself_is_refused(tmp_path: Path):
    made = Persistent()
    made.state["_modules"]["again"] = made
    path = write(tmp_path / "loop.pkl", {"G_ema": made, "D": {}})
    with pytest.raises(CheckpointError):
        read_torch_file(path, plain=True)


@pytest.mark.parametrize("size", ["FFHQ256", "FFHQ512_AFHQCat", "FFHQ1024_MetFaces"])
def test_full_sizes_are_recognised(size: str, goldens: Path):
    """Names and shapes of the published networks: GMPI's, less what it added to them."""
    keys = json.loads((goldens / "gmpi_networks" / "full_size_keys.json").read_text())

    def state(name: str) -> dict[str, torch.Tensor]:
        made = {}
        for key, shape in [*keys[f"{name}/{size}"]["parameters"], *keys[f"{name}/{size}"]["buffers"]]:
            if ".toalpha." in key or (name == "D" and key.startswith("mapping.")):
                continue
            shape = [1, *shape[1:]] if key.startswith("b4.out.") else shape
            made[key] = fir_filter(TAPS) if key.endswith("resample_filter") else torch.zeros(shape)
        return made

    model = read_legacy(TorchFile({"G_ema": state("G/vanilla"), "D": state("D")}, ()))
    resolution = int(size.partition("_")[0].removeprefix("FFHQ"))
    assert model.config["resolution"] == resolution
    assert model.config["channel_base"] == (16384 if resolution == 256 else 32768)
    assert (model.config["channel_max"], model.config["latent"], model.config["mapping_layers"]) == (
        512,
        512,
        8,
    )


def test_persistent_records_give_tensors_and_settings(file: Path):
    record = read_torch_file(file, plain=True).data
    found = network(record["G_ema"], "G_ema")
    assert found.settings["synthesis.b32.conv1.conv_clamp"] == 256
    generator = networks()[0]
    assert all(torch.equal(found.tensors[name], value) for name, value in generator.state_dict().items())
    assert "synthesis.b8.conv0.resample_filter" in found.tensors
