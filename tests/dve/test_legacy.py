"""Old checkpoints: what they are taken for, what is left out, and what is refused in one sentence."""

from __future__ import annotations

import json
import random
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.dve.old_checkpoints import (
    SMALLNET_CONFIG,
    landmark_config,
    randomised,
    regressor_state,
    sequence_state,
    write_checkpoint,
)
from torch import Tensor

from lineament.data.order import sample_generator
from lineament.errors import CheckpointError, LineamentError
from lineament.interop.torch_file import TorchFile, read_torch_file
from lineament.methods.dve.legacy import read_legacy
from lineament.methods.dve.legacy_config import read_config, shown
from lineament.methods.dve.model import SmallNet, build_backbone
from lineament.methods.dve.predictor import LandmarkPredictor
from lineament.methods.dve.protocol import whole_view
from lineament.methods.dve.recipe_landmarks import LandmarkConfig, LandmarkRecipe
from lineament.pipeline.import_checkpoint import import_checkpoint
from lineament.training.imported import ImportedModel
from lineament.training.loop import resume


@pytest.fixture(scope="module")
def base() -> dict[str, Tensor]:
    return dict(randomised(SmallNet(16)).state_dict())


def read(state: dict[str, Tensor], config: Any = SMALLNET_CONFIG, **record: Any) -> ImportedModel:
    """Recognise a record without writing it."""
    return read_legacy(TorchFile({"arch": "SmallNet", "config": config, "state_dict": state, **record}, ()))


@pytest.mark.parametrize("channels", [1, 3, 5, 16, 64])
def test_dimensions_follow_from_shapes(channels: int):
    model = read(dict(SmallNet(channels).state_dict()))
    assert model.config["channels"] == channels
    assert model.recipe == (f"dve-smallnet-{channels}d" if channels in (3, 16, 64) else "dve-smallnet-16d")


@pytest.mark.parametrize("backbone", ["hourglass", "hourglass-gn", "hourglass-scaled", "hourglass-gn-scaled"])
def test_norm_and_output_follow_from_names(backbone: str):
    model = read(dict(build_backbone(backbone, 7).state_dict()), {})
    assert (model.config["backbone"], model.config["channels"]) == (backbone, 7)
    assert (model.config["image_size"], model.config["crop"]) == (136, 20)
    assert "imwidth" in model.found["assumed"]


def test_config_decides_what_weights_cannot_tell(base: dict[str, Tensor]):
    model = read(base)
    assert model.recipe == "dve-smallnet-16d"
    assert model.config["normalize"] is False and model.config["exchange"] is True
    assert model.config["learning_rate"] == 1e-3 and model.config["bias_learning_rate"] == 1e-5
    dense = read(base, {**SMALLNET_CONFIG, "loss": "dense_correlation_loss", "loss_args": {}})
    assert dense.recipe == "dve-smallnet-16d-dense"
    assert dense.config["normalize"] is True and dense.config["exchange"] is False
    for key in ("CelebAPrunedAligned_MAFLVal", "100", "15", "dense_correlation_loss_dve", "False"):
        assert key in model.found.values()


def test_steps_come_from_the_optimiser_else_the_epoch(base: dict[str, Tensor]):
    optimizer = {"state": {0: {"step": 5707}, 1: {"step": torch.tensor(5706.0)}}, "param_groups": []}
    assert read(base, epoch=3, optimizer=optimizer).step == 5707
    assert read(base, epoch=3).step == 3
    assert read(base).found["epoch"] == "not told"
    assert "optimizer" in read(base, optimizer=optimizer).ignored


@pytest.mark.parametrize("upsample", [False, True])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_whole_models(base: dict[str, Tensor], upsample: bool, prefix: str):
    state = sequence_state(base, regressor_state(16, 5, 6), upsample=upsample)
    model = read({prefix + key: value for key, value in state.items()}, landmark_config(16, 5, 6, 100))
    assert model.recipe == "dve-landmarks"
    fields = ("scheme", "intermediate", "softargmax", "upsample", "channels")
    assert [model.config[name] for name in fields] == ["5", 6, 100.0, upsample, 16]
    place = 2 if upsample else 1
    assert model.ignored == {
        f"{place}.descriptors (1 weight)": "never used by the published forward pass",
        f"{place}.linear.*.weight (5 weights)": "never used by the published forward pass",
    }
    assert not any("linear" in name or "descriptors" in name for name in model.weights)


def test_sharpness_of_the_class_where_the_config_names_none(base: dict[str, Tensor]):
    config = landmark_config(16, 5, 6, 100)
    del config["keypoint_regressor"]["args"]["softargmax_mul"]
    state = sequence_state(base, regressor_state(16))
    assert read(state, config).config["softargmax"] == 50
    assert read(state, {}).config["softargmax"] == 100


def test_imported_landmark_run_predicts_on_a_photograph(base: dict[str, Tensor], tmp_path: Path):
    state = sequence_state(base, regressor_state(16, 7, 4))
    path = write_checkpoint(tmp_path / "old.pth", state, landmark_config(16, 7, 4, 100))
    run = import_checkpoint("dve", path, tmp_path / "run").run
    predictor = LandmarkPredictor(run.build_recipe().config, run.load_networks())
    assert predictor.scheme.name == "points-7"
    image = torch.rand(3, 90, 120, generator=sample_generator(0, 0, 0))
    found = predictor.landmarks(image, torch.tensor([[20.0, 10.0, 90.0, 80.0]]))
    assert found.points.shape == (1, 7, 2)
    assert bool(found.points.isfinite().all())


def test_view_on_photographs_is_the_published_crop():
    # 178 of the 218 rows of an aligned picture, in which a face box is about 111 px high.
    side, shift = whole_view("celeba")
    assert side == pytest.approx(178 / 110.76, abs=1e-6)
    assert -0.06 < shift < 0
    assert whole_view("300w")[0] == pytest.approx(100 / 52)


def broken(base: dict[str, Tensor], how: str) -> tuple[dict[str, Tensor], Any]:
    """A state and a config with one thing wrong."""
    state, config = dict(base), SMALLNET_CONFIG
    whole = sequence_state(base, regressor_state(16))
    if how == "missing":
        del state["conv3.1.running_var"]
    elif how == "extra":
        state["conv7.weight"] = torch.zeros(3)
    elif how == "shape":
        state["conv2.0.weight"] = torch.zeros(48, 20, 3, 3)
    elif how == "nan":
        state["conv2.0.weight"] = torch.full((48, 20, 5, 5), torch.nan)
    elif how == "whole numbers":
        state["conv2.0.bias"] = torch.zeros(48, dtype=torch.int64)
    elif how == "other method":
        state = {"layer1.0.weight": torch.zeros(3), "fc.bias": torch.zeros(3)}
    elif how == "segmentation":
        state = {**whole, "1.classifier.weight": torch.zeros(11, 16, 1, 1)}
    elif how == "live weight named dead":
        state = {**whole, "1.linear.weight": torch.zeros(2)}
    elif how == "regressor":
        state = {**whole, "1.reg_conv.weight": torch.zeros(10, 14, 1, 1)}
    elif how == "two places":
        state = {**whole, "3.weight": torch.zeros(2)}
    elif how == "no regressor":
        state = {key: value for key, value in whole.items() if key.startswith("0.")}
    elif how == "stacks":
        state = {
            **build_backbone("hourglass", 3).state_dict(),
            "hg.1.layer1_1.0.conv1.weight": torch.zeros(1),
        }
    elif how == "do_maxpool=false":
        config = {**SMALLNET_CONFIG, "arch": {"args": {"do_maxpool": False}}}
    else:
        word, value = how.split("=")
        args = {**SMALLNET_CONFIG["dataset"]["args"], word: json.loads(value)}
        config = {**SMALLNET_CONFIG, "dataset": {"type": "MAFLAligned", "args": args}}
    return state, config


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("missing", r"lacks the weight 'conv3\.1\.running_var'"),
        ("extra", r"weight 'conv7\.weight' that does not belong"),
        ("shape", r"conv2\.0\.weight.*\(48, 20, 3, 3\).*\(48, 20, 5, 5\)"),
        ("nan", r"conv2\.0\.weight.*not finite"),
        ("whole numbers", r"conv2\.0\.bias.*int64"),
        ("other method", r"not a checkpoint of Descriptor Vector Exchange.*layer1\.0\.weight"),
        ("segmentation", "segmentation head"),
        ("live weight named dead", r"'linear\.weight' that does not belong"),
        ("regressor", "do not fit 16 dimensions"),
        ("two places", "places 1, 3"),
        ("no regressor", "places none"),
        ("stacks", "several stacks"),
        ('imwidth="wide"', "imwidth = wide"),
        ("imwidth=-3", "imwidth = -3"),
        ("imwidth=70.5", "not a whole number"),
        ("crop=49", "leaves nothing to see"),
        ("do_maxpool=false", "without max-pooling"),
    ],
)
def test_refusals_name_the_reason(base: dict[str, Tensor], how: str, words: str):
    state, config = broken(base, how)
    with pytest.raises(CheckpointError, match=words):
        read(state, config)


@pytest.mark.parametrize(
    "data", [[1, 2], {"epoch": 3}, {"state_dict": {}}, {"state_dict": [1]}, {"state_dict": 5}, 7]
)
def test_refuses_what_holds_no_weights(data: Any):
    with pytest.raises(CheckpointError, match=r"instead of a dictionary|state_dict"):
        read_legacy(TorchFile(data, ()))


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
PATHS = """
    arch arch.args arch.args.do_maxpool dataset dataset.type dataset.args.imwidth dataset.args.crop loss loss_args
    loss_args.normalize_vectors loss_args.pow optimizer.args.lr batch_size bias_lr keypoint_regressor.args
"""
paths = st.sampled_from(PATHS.split())


@given(st.lists(st.tuples(paths, json_like), max_size=4))
@settings(max_examples=60, deadline=None)
def test_any_config_is_read_or_refused_in_a_sentence(changes: list[tuple[str, Any]]):
    config: dict[str, Any] = {}
    for path, value in changes:
        here = config
        *outer, last = path.split(".")
        for word in outer:
            if not isinstance(here.get(word), dict):
                here[word] = {}
            here = here[word]
        here[last] = value
    try:
        model = read(STATE, config)
    except CheckpointError as error:
        assert "\n" not in str(error)
    else:
        assert all(text.isprintable() for text in model.found.values())


STATE = dict(SmallNet(3).state_dict())


def test_text_of_a_foreign_file_cannot_reach_the_terminal():
    assert shown("\x1b[2J\nevil\x07") == "?[2J?evil?"
    assert len(shown("x" * 10_000)) == 80
    assert shown(10**5000) == "a int too long to show"
    assert read_config(None).values == {} and read_config("text").origin.startswith("unusable")


def test_cut_files_are_refused(base: dict[str, Tensor], tmp_path: Path):
    rng = random.Random(0)
    for zipped in (True, False):
        path = write_checkpoint(tmp_path / "whole.pth", base, SMALLNET_CONFIG, pickled=True, zipped=zipped)
        data = path.read_bytes()
        for length in [0, 1, 100, len(data) - 1, *(rng.randrange(len(data)) for _ in range(22))]:
            cut = tmp_path / "cut.pth"
            cut.write_bytes(data[:length])
            with pytest.raises(CheckpointError):
                import_checkpoint("dve", cut, tmp_path / "run")
            assert not (tmp_path / "run").exists()


def test_flipped_bytes_never_escape_as_another_error(base: dict[str, Tensor], tmp_path: Path):
    rng = random.Random(1)
    path = write_checkpoint(tmp_path / "whole.pth", base, SMALLNET_CONFIG, pickled=True, zipped=False)
    data = bytearray(path.read_bytes())
    outcomes = set()
    for _ in range(40):
        place = rng.randrange(4000)
        kept, data[place] = data[place], rng.randrange(256)
        path.write_bytes(data)
        data[place] = kept
        try:
            read_legacy(read_torch_file(path))
            outcomes.add("read")
        except LineamentError as error:
            assert "\n" not in str(error)
            outcomes.add("refused")
    assert "refused" in outcomes


def test_the_same_file_twice_is_done_once(base: dict[str, Tensor], tmp_path: Path):
    path = write_checkpoint(tmp_path / "old.pth", base, SMALLNET_CONFIG)
    first = import_checkpoint("dve", path, tmp_path / "run")
    stamp = (first.run.folder / "config.yaml").stat().st_mtime_ns
    again = import_checkpoint("dve", path, tmp_path / "run")
    assert again.model is None and "nothing to do" in again.summary()
    assert (first.run.folder / "config.yaml").stat().st_mtime_ns == stamp
    other = write_checkpoint(tmp_path / "other.pth", base, SMALLNET_CONFIG, epoch=7)
    with pytest.raises(LineamentError, match="not empty"):
        import_checkpoint("dve", other, tmp_path / "run")
    assert import_checkpoint("dve", other, tmp_path / "run", overwrite=True).run.read_checkpoint().step == 7
    assert sorted(child.name for child in tmp_path.iterdir()) == ["old.pth", "other.pth", "run"]


def test_landmarks_can_be_fitted_on_an_imported_network(base: dict[str, Tensor], tmp_path: Path):
    path = write_checkpoint(tmp_path / "old.pth", base, SMALLNET_CONFIG)
    run = import_checkpoint("dve", path, tmp_path / "run").run
    recipe = LandmarkRecipe(LandmarkConfig(base=str(run.folder), scheme="5"))
    assert recipe.config.frame == run.build_recipe().config.frame
    descriptor = recipe.networks()["descriptor"]
    assert all(torch.equal(value, base[key]) for key, value in descriptor.state_dict().items())


def test_an_imported_run_does_not_resume_by_accident(base: dict[str, Tensor], tmp_path: Path):
    path = write_checkpoint(tmp_path / "old.pth", base, SMALLNET_CONFIG)
    run = import_checkpoint("dve", path, tmp_path / "run").run
    with pytest.raises(LineamentError):
        resume(run.folder)
    assert run.environment()[0]["imported"]["file"] == "old.pth"
    assert isinstance(run.load_networks()["descriptor"], SmallNet)


def test_bare_states_are_read(base: dict[str, Tensor], tmp_path: Path):
    torch.save(OrderedDict(base), tmp_path / "state.pth")
    assert read_legacy(read_torch_file(tmp_path / "state.pth")).config["channels"] == 16
