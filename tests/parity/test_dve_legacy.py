"""Imported checkpoints predict what the reference recorded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.dve.old_checkpoints import (
    SMALLNET_CONFIG,
    landmark_config,
    randomised,
    sequence_state,
    write_checkpoint,
)
from tests.parity.dve_goldens import (
    HOURGLASS_GAIN,
    SMALLNET_GAIN,
    Golden,
    fill_with_recipe_weights,
    golden_files,
)
from tests.parity.test_dve_protocol import assert_matches_equal
from torch import Tensor

from lineament.evaluation import published
from lineament.evaluation.matching import matching_errors
from lineament.faces.frame import Frame
from lineament.methods.dve.hourglass import Hourglass
from lineament.methods.dve.model import SmallNet, describe
from lineament.pipeline.import_checkpoint import import_checkpoint
from lineament.training.run import open_run


def recorded_state(golden: Golden) -> dict[str, Tensor]:
    return golden.starting("state.")


@pytest.mark.parametrize(
    ("pickled", "zipped", "prefix"),
    [(False, False, ""), (True, False, ""), (True, True, "module."), (False, True, "module.")],
)
def test_smallnet_states(goldens: Path, tmp_path: Path, pickled: bool, zipped: bool, prefix: str):
    for golden in golden_files(goldens, "smallnet_refinit_full_state*"):
        state = {prefix + key: value for key, value in recorded_state(golden).items()}
        path = tmp_path / "checkpoint-epoch100.pth"
        write_checkpoint(path, state, SMALLNET_CONFIG, pickled=pickled, zipped=zipped)
        import_checkpoint("dve", path, tmp_path / "run", overwrite=True)
        run = open_run(tmp_path / "run")
        network = run.load_networks()["descriptor"]
        with torch.no_grad():
            torch.testing.assert_close(network(golden["input"]), golden["output_eval"], rtol=0, atol=1e-5)
        assert run.config["channels"] == golden["output_eval"].shape[1]


@pytest.mark.parametrize("recorded", ["hourglass_*d_bn*", "hourglass_*d_gn*"])
def test_hourglasses(goldens: Path, tmp_path: Path, recorded: str):
    for golden in golden_files(goldens, recorded):
        group = "gn" in recorded
        original = Hourglass(int(golden["channels"]), group_norm=group, scaled_norm_output=group)
        fill_with_recipe_weights(original, int(golden["recipe_seed"]), HOURGLASS_GAIN)
        path = tmp_path / "old.pth"
        write_checkpoint(
            path, dict(original.state_dict()), {"loss": "dense_correlation_loss_dve"}, zipped=False
        )
        run = import_checkpoint("dve", path, tmp_path / "run", overwrite=True).run
        network = run.load_networks()["descriptor"]
        with torch.no_grad():
            seen = network(golden["input"])
        scale = float(golden["output_eval"].abs().max())
        torch.testing.assert_close(seen, golden["output_eval"], rtol=0, atol=1e-4 * scale)


def test_regressors_with_dead_weights(goldens: Path, tmp_path: Path):
    for number, golden in enumerate(golden_files(goldens, "keypoint_*")):
        features, landmarks, intermediate = golden["features"], *golden["intermediate"].shape[1:3]
        base = randomised(SmallNet(features.shape[1]))
        sharpness = float(golden["softargmax_mul"])
        config = landmark_config(features.shape[1], landmarks, intermediate, sharpness)
        for upsample in (False, True):
            state = sequence_state(dict(base.state_dict()), recorded_state(golden), upsample=upsample)
            path = write_checkpoint(tmp_path / f"{number}{upsample}.pth", state, config, pickled=True)
            done = import_checkpoint("dve", path, tmp_path / f"run{number}{upsample}")
            networks = done.run.load_networks()
            assert done.model is not None
            assert any(f"({landmarks} weights)" in name for name in done.model.ignored)
            with torch.no_grad():
                if upsample:
                    plain = networks["regressor"](features)[0]
                    # The recorded map is the enlarged first one; the imported regressor enlarges by itself.
                    networks["regressor"].upsample = False  # type: ignore[assignment]
                    enlarged = networks["regressor"](golden["upsampled_features"])[0]
                    torch.testing.assert_close(plain[:1], enlarged, rtol=0, atol=1e-4)
                else:
                    predicted, points = networks["regressor"](features)
                    torch.testing.assert_close(predicted, golden["pred"], rtol=0, atol=1e-4)
                    torch.testing.assert_close(points, golden["intermediate"], rtol=0, atol=1e-4)
                    seen = networks["descriptor"](torch.ones(1, 3, 24, 24))
                    torch.testing.assert_close(seen, base(torch.ones(1, 3, 24, 24)), rtol=0, atol=0)


def test_matching_of_an_imported_network(goldens: Path, tmp_path: Path):
    for golden in golden_files(goldens, "eval_matching_smallnet*"):
        original = SmallNet(int(golden["channels"]))
        fill_with_recipe_weights(original, int(golden["recipe_seed"]), SMALLNET_GAIN)
        args = {"imwidth": int(golden["imwidth"]), "crop": int(golden["crop"])}
        config = {**SMALLNET_CONFIG, "dataset": {"type": "MAFLAligned", "args": args}}
        path = write_checkpoint(tmp_path / "old.pth", dict(original.state_dict()), config, pickled=True)
        run = import_checkpoint("dve", path, tmp_path / "run", overwrite=True).run
        network = run.load_networks()["descriptor"]
        frame = run.build_recipe().config.frame
        assert (frame.size, frame.crop) == tuple(args.values())
        frame = Frame(frame.size, frame.crop, frame.view)
        samples = RecordedFaces(golden)
        faces = published.published_faces(samples, published.protocol_for(samples.name), frame.size)
        found = matching_errors(
            lambda x: describe(network, x),  # noqa: B023
            faces,
            frame,
            eight_bit=True,
        )
        assert_matches_equal(golden, list(faces), frame, network, found)


class RecordedFaces:
    """The recorded pictures as the MAFL reader gives them."""

    name = "mafl/test"
    fingerprint = "recorded"

    def __init__(self, golden: Golden) -> None:
        self.golden = golden

    def __len__(self) -> int:
        return len(self.golden["images_hwc_uint8"])

    def __getitem__(self, index: int) -> object:
        from lineament.data.sample import FaceSample

        picture = self.golden["images_hwc_uint8"][index].permute(2, 0, 1).float() / 255
        return FaceSample(
            str(index), picture, landmarks=self.golden["landmarks_raw"][index].float(), scheme="5"
        )
